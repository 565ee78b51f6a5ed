/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap bench`: between its files. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <catnap/catnap.h>

#include "cli/bench/costs.h"
#include "cli/bench/exits.h"
#include "cli/bench/stop.h"
#include "cli/now.h"
#include "cli/output.h"
#include "cli/generate.h"

struct bench_workload; /* workload.h */

/* How a guest polls before it halts: the parameters of Linux's module haltpoll, guest_halt_poll_ns
 * and so on; and what its host does then. */
struct bench_haltpoll {
	uint32_t ns, grow, grow_start_ns, shrink;
	int allow_shrink; /* 0, 1 */
	int host;	  /* enum catnap_after_guest */
};

/* Another monitor, whose figures stand beside ours. */
enum bench_peer { BENCH_PEER_NONE, BENCH_PEER_QEMU, BENCH_PEER_KVMTOOL, BENCH_PEERS };

/* A way to run the guest. */
struct bench_mode {
	const char *name;
	enum bench_peer peer;
	uint32_t irqchip;
	uint32_t io;	 /* enum catnap_io; in workloads with devices */
	bool by_default; /* nobody named it: measured in the workloads that list it */
	struct catnap_halt_poll halt_poll;
	bool guest_hlt;	     /* HLT stays in the guest */
	const char *io_word; /* in the name: who runs the devices; NULL: it does not say */
	bool polls;	     /* the guest does, before it halts */
	struct bench_haltpoll guest;
};

#define BENCH_NAMED	   15 /* modes that are named */
#define BENCH_MODES	   (BENCH_NAMED + BENCH_PEERS - 1)
#define BENCH_GAPS	   8
#define BENCH_RATES	   16
#define BENCH_PROCESSES	   16
#define BENCH_SIZES	   8
#define BENCH_LEAST_MEMORY (UINT64_C(128) << 20) /* restore */
#define BENCH_MOST_MEMORY  (UINT64_C(8) << 30)
#define BENCH_MEMORY_STEP  (UINT64_C(1) << 20)
#define BENCH_VCPUS	   4  /* neighbour: that share a processor, at most */
#define BENCH_MOST_VCPUS   64 /* idle */
#define BENCH_LINUX_LOADS  10

/* mix: an arrival process. */
struct bench_process {
	char label[80]; /* as the user wrote it */
	struct generate generate;
};

struct bench_cfg {
	uint32_t workloads; /* those chosen: 1 << bench_workload_row() */
	struct bench_mode modes[BENCH_MODES];
	unsigned int n_modes;
	uint64_t gaps[BENCH_GAPS];
	unsigned int n_gaps;
	uint32_t rates[BENCH_RATES]; /* events offered in a second */
	unsigned int n_rates;
	uint64_t stall_ns; /* 0: none */
	int arrivals;	   /* enum bench_arrivals */
	uint32_t samples, rounds;
	uint64_t duration_ns; /* idle, neighbour */
	bool realtime;	      /* neighbour: the VMs are in a real-time class, the hog is not */
	bool sibling;	      /* neighbour: the hog is on the SMT sibling of the vCPUs' processor */
	bool vcpus_given;
	bool vcpus[BENCH_MOST_VCPUS + 1]; /* neighbour, compute, idle: how many are tried */
	struct bench_process processes[BENCH_PROCESSES];
	unsigned int n_processes;
	const char *kernel, *initramfs; /* linux; NULL: those of the cache */
	uint32_t disks;			/* blk: 1 << bench_blk_disk(); 0: the usual ones */
	uint32_t loads;			/* linux: 1 << bench_linux_load(); 0: all */
	bool exits;			/* linux: KVM's counters are read */
	const char *json, *html;
	bool peers[BENCH_PEERS];     /* by enum bench_peer: those that are measured, too */
	int pin;		     /* enum bench_pin */
	uint32_t clones;	     /* restore: how many at once; 0: none */
	uint64_t sizes[BENCH_SIZES]; /* restore: of the guest's memory */
	unsigned int n_sizes;
	bool all_of_each_size; /* copy and clones, too: the sizes were given */
};

enum bench_pin { BENCH_PIN_OFF, BENCH_PIN_ON, BENCH_PIN_ONE };

enum bench_arrivals { BENCH_ARRIVALS_BOTH, BENCH_ARRIVALS_CONSTANT, BENCH_ARRIVALS_RANDOM };

/* A list of nanoseconds that grows. */
struct bench_series {
	uint64_t *v;
	size_t n, room;
	size_t sorted; /* so many from the first on are in order */
};

/* A halt and the window that it found, for the picture of both. */
struct bench_window {
	uint64_t at_ns, halt_ns, window_ns;
};

#define BENCH_WINDOWS 200
#define BENCH_OWN     4

/* The work of a guest that polls (struct probe_idle), and of its host for it. */
struct bench_polling {
	uint64_t polls, found, ticks;
	uint64_t hlt_exits;
	uint64_t host_polls, host_found; /* halts polled for all the same, and that did not sleep */
	uint64_t contended;		 /* halts at which others wanted the processor */
	uint64_t ipis_saved, ipis_sent;
};

/* Everything measured of one mode under one condition; the rounds add to it. */
struct bench_cell {
	const struct bench_workload *workload;
	const struct bench_mode *mode;
	uint64_t gap_ns; /* event, timer, ipi: gap; idle: tick rate in Hz */
	bool random;
	uint32_t rate;			     /* offered in a second; 0: gaps */
	int what;			     /* chosen by the workload's file: blk: the disk */
	uint32_t vcpus;			     /* neighbour, compute */
	uint64_t memory;		     /* restore: the guest's, bytes */
	const struct bench_process *process; /* mix; else NULL */
	struct bench_series latency;	     /* of all rounds; memory: bytes */
	struct bench_series round_p50;	     /* each round's median */
	struct bench_series own[BENCH_OWN];  /* numbered by the workload's file */
	struct bench_window windows[BENCH_WINDOWS]; /* mix: after the samples of one round */
	uint32_t n_windows;
	/* The knowledge of each vCPU's policy at the end of the last round; contexts 0: none. */
	struct catnap_policy_stats learned[BENCH_VCPUS];
	uint64_t cpu_ns, events, wall_ns; /* of the vCPU threads, over the events */
	uint64_t back_ns;		  /* of cpu_ns, a back end's in another process */
	uint64_t polled_ns;		  /* in all halts */
	uint64_t vain_ns;		  /* of that, in halts that slept in the end */
	uint64_t missed;		  /* neighbour: events that found the last one unhandled */
	uint64_t kicks, futex_wakes;	  /* wakes that cost a system call */
	struct bench_polling polling;
	struct bench_costs costs;
	struct bench_exits exits;
	bool has_cpu;	 /* the clocks told cpu_ns */
	bool has_back;	 /* there is a back end */
	bool has_polled; /* polled_ns and vain_ns are known: KVM does not always tell */
	bool has_kicks;	 /* kicks and futex_wakes are counted */
	bool failed;
};

/* The facts that one run of the guest needs to know. */
struct bench_run {
	const struct bench_cfg *cfg;
	const struct bench_stop *stop;
	struct bench_cell *cell;
	uint32_t tsc_khz;
	uint32_t seed;
	char cmdline[512]; /* the probe's */
	bool for_all;	   /* no mode of this workload can do better: said once */
	char error[256];   /* one sentence if it failed */
};

/* Returns whether a signal has asked for the end: what is measured is kept as far as it is, or, if
 * that is nothing, the run fails. */
static inline bool bench_stopped(const struct bench_run *run)
{
	return bench_stop_number(run->stop) != 0;
}

/* effect.c: returns -EINVAL (o->error) if an option was given that has no effect in what is
 * measured; a harmless one is said on standard error. */
int bench_check_effects(struct opts *o, const struct bench_cfg *cfg);

/* mode.c: parses @name, one of the modes of --mode, into @mode: 0 or -EINVAL with o->error. */
int bench_mode_parse(struct opts *o, const struct opt_arg *arg, const char *name,
		     struct bench_mode *mode);
/* Adds the modes that are measured if none is named. 0 or -EINVAL with o->error. */
int bench_modes_default(struct opts *o, struct bench_cfg *cfg);
/* Returns the names of those that are measured by default in @w; NULL ends them. */
const char *const *bench_modes_of(const struct bench_workload *w);
/* Returns whether @mode is measured in @w. */
bool bench_mode_applies(const struct bench_mode *mode, const struct bench_workload *w);

/* options.c: parses the command line into @cfg. -1, or the exit status after a message or the
 * help. opts_free() must follow, and not before the last use of @cfg. */
int bench_options(struct opts *o, int argc, char **argv, struct bench_cfg *cfg);

/* plan.c: makes the cells that @cfg asks for, those of a condition together; *cells is the caller's
 * to free, also if this fails: -1, out of memory. */
int bench_plan(const struct bench_cfg *cfg, struct bench_cell **cells, size_t *n);

/* disk.c: a file of BENCH_DISK_SIZE bytes that are not all the same, in @folder, but without a name
 * there: it is gone when this process is, however that ends. @direct: it can be read past the page
 * cache. @path is how to open it until then, here and in children. Returns its descriptor, or -1 with
 * run->error. */
#define BENCH_DISK_SIZE (UINT64_C(64) << 20)
#define BENCH_DISK_PATH 40
int bench_make_disk(struct bench_run *run, const char *folder, bool direct,
		    char path[BENCH_DISK_PATH]);

/* peer.c */
/* Returns its name, as --peer takes it; NULL: there is no such one. */
const char *bench_peer_name(enum bench_peer peer);
const char *bench_peer_program(enum bench_peer peer);
/* Returns whether its program is in PATH. */
bool bench_peer_exists(enum bench_peer peer);
/* Returns the bit (enum bench_option) of the workloads that it can be measured in. */
uint32_t bench_peer_option(enum bench_peer peer);

/* vm.c */
/* Gives the first processor to the sender, and the others in turn to the vCPUs. Returns false if
 * there is only one. */
bool bench_processors(int32_t *affinity, uint32_t vcpus, int32_t *sender);
/* Moves a round's samples to the cell, and its median beside them unless the round was stopped
 * before its end; frees @round. */
int bench_keep(struct bench_run *run, struct bench_series *round);
/* Takes the ticks that a guest has left, one for each sample, as far as it has come if it was
 * stopped. */
int bench_take(struct bench_run *run, const uint64_t *array, struct bench_series *round);

/* util.c */
uint64_t bench_to_ns(const struct bench_run *run, uint64_t ticks);
uint64_t bench_to_ticks(const struct bench_run *run, uint64_t ns);
/* Keeps the sentence in run->error and returns -1. */
int bench_fail(struct bench_run *run, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Says the same of a failure that does not depend on the mode. */
int bench_fail_all(struct bench_run *run, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Fails a run that was stopped before it had anything to keep. */
int bench_nothing(struct bench_run *run);
/* Sleeps so long, or until the run is stopped. */
void bench_sleep(const struct bench_run *run, uint64_t ns);
void bench_cell_free(struct bench_cell *c);
/* Returns whether both were measured of the same thing, and so can be compared. */
bool bench_cell_same_condition(const struct bench_cell *a, const struct bench_cell *b);
int bench_series_add(struct bench_series *s, uint64_t value); /* 0, -1 no memory */
void bench_series_free(struct bench_series *s);
/* Sorts in place; the @q quantile, 0 if empty. */
uint64_t bench_series_quantile(struct bench_series *s, double q);
/* Returns the mean without the highest hundredth, which is the host's. */
uint64_t bench_series_mean(struct bench_series *s);
/* Returns the median, and keeps the order. */
uint64_t bench_series_median(const struct bench_series *s);

/* The probe guest in a VM of this process. */
#define GUEST_MEMORY (UINT64_C(16) << 20)
#define EXIT_PORT    0xf4

/* vm.c: fills in the configuration of the probe with this command line, which must outlive the
 * creation, halting as the cell's mode says. */
void bench_probe_config(struct bench_run *run, struct catnap_vm_config *cfg, const char *cmdline);

/* The results that a report is made from. */
struct bench_results {
	const struct bench_cfg *cfg;
	struct bench_cell *cells; /* those of one condition lie together */
	size_t n;
	uint32_t tsc_khz;
	uint64_t kvm_run_ns; /* catnap_host_kvm_run_ns() */
	double load;	 /* of the host, before it began: tasks that wanted to run; -1: unknown */
	int interrupted; /* the signal that ended it before its end; 0: none */
};

/* summary.c: what follows from the samples; the same in every report. */
/* Writes the condition's name, "random gap of 50 us"; "" if the workload has but one. Returns
 * @buf. */
const char *bench_condition_name(char *buf, size_t size, const struct bench_cell *c);
/* The mode that ratios of this workload are to, and that of most. */
#define BENCH_BASELINE "kernel:200us"
const char *bench_baseline_name(const struct bench_workload *w);
/* Of the ratios of what belongs to the same round, this mode's over the baseline's. */
struct bench_ratio {
	double median, least, most;
	size_t rounds;
};
/* Returns the values that the ratios of this workload are of; the list ends with a member of
 * NULL. */
struct bench_compared;
const struct bench_compared *bench_workload_compared(const struct bench_workload *w);
/* Reckons the ratio of @what. Returns false if there is none. */
bool bench_cell_ratio(const struct bench_results *r, const struct bench_compared *what,
		      const struct bench_cell *c, struct bench_ratio *ratio);
/* Reckons the ratio over the rounds that both have. Returns false if there is none. */
bool bench_series_ratio(const struct bench_series *own, const struct bench_series *other,
			struct bench_ratio *r);
/* Returns the values that the first of the ratios is of: one for each round. */
const struct bench_series *bench_cell_rounds(const struct bench_cell *c);
/* Tells how far apart the rounds are, in per cent of the middle one. Returns false if there are not
 * two. */
bool bench_cell_spread(const struct bench_cell *c, double *percent);
/* Returns whether it failed, or there is nothing in it. */
bool bench_cell_empty(const struct bench_cell *c);
/* Returns whether a run that was interrupted had come to any of them. */
bool bench_cells_begun(const struct bench_cell *cells, size_t n);
/* Returns whether more else was going on than should be on a host to be measured. */
bool bench_host_was_busy(const struct bench_results *r);
void bench_host_cpu_model(char *model, size_t size);

/* report.c */
void bench_report_table(FILE *out, const struct bench_results *r);
/* json.c: writes the report. Returns 0, or -1 with errno. */
int bench_report_json(FILE *out, const struct bench_results *r);
/* html.c: writes the report. Returns 0, or -1 with errno. */
int bench_report_html(FILE *out, const struct bench_results *r);

/* outputs.c: where the results go. */
struct bench_outputs {
	struct outputs all;
	struct output json, html;
	bool table; /* standard output is not one of them */
};

/* Opens the outputs before anything is measured. Returns a status, after a message;
 * bench_outputs_close() must follow. */
int bench_outputs_open(struct bench_outputs *o, const struct bench_cfg *cfg);
/* Writes the outputs. Returns the same. */
int bench_outputs_write(struct bench_outputs *o, const struct bench_results *r);
void bench_outputs_close(struct bench_outputs *o);

#endif
