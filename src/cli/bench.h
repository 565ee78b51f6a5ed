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

#include "cli/bench_stop.h"
#include "cli/now.h"
#include "cli/output.h"
#include "cli/replay.h"

enum bench_workload {
	BENCH_EVENT,  /* another thread signals the vCPU: signal to the handler's first instruction
		       */
	BENCH_TIMER,  /* the guest arms its APIC timer and halts: lateness */
	BENCH_IPI,    /* two vCPUs halt and wake each other: round trip */
	BENCH_IDLE,   /* processor time of a guest that does nothing, or ticks */
	BENCH_START,  /* process start to the guest's first output */
	BENCH_MEMORY, /* private memory beyond the guest's own */
	BENCH_BLK,    /* 4 KiB reads, one at a time: doorbell to the interrupt's handler */
	BENCH_ECHO,   /* packets to the guest and back */
	BENCH_NEIGHBOUR, /* what a hog on the vCPUs' processor loses to them */
	BENCH_MIX,	 /* event, with arrival processes as those of `catnap replay --generate` */
	BENCH_COMPUTE,	 /* the guest computes on all its vCPUs: completion to the handler */
	BENCH_WORKLOADS,
};

/* A way to run the guest. */
struct bench_mode {
	const char *name;
	bool peer; /* QEMU */
	uint32_t irqchip;
	uint32_t io; /* enum catnap_io; blk, echo, compute */
	/* The workloads that it is measured in: 1 << enum bench_workload. */
	uint32_t workloads;
	struct catnap_halt_poll halt_poll;
};

#define BENCH_MODES	16
#define BENCH_GAPS	8
#define BENCH_PROCESSES 16
#define BENCH_VCPUS	4 /* neighbour: that share a processor, at most */

/* mix: an arrival process. */
struct bench_process {
	char label[80]; /* as the user wrote it */
	struct generate generate;
};

struct bench_cfg {
	bool workloads[BENCH_WORKLOADS];
	struct bench_mode modes[BENCH_MODES];
	unsigned int n_modes;
	uint64_t gaps[BENCH_GAPS];
	unsigned int n_gaps;
	int arrivals; /* enum bench_arrivals */
	uint32_t samples, rounds;
	uint64_t duration_ns; /* idle, neighbour */
	bool realtime;	      /* neighbour: the VMs are in a real-time class, the hog is not */
	bool vcpus_given;
	bool vcpus[BENCH_VCPUS + 1]; /* neighbour, compute: how many are tried */
	struct bench_process processes[BENCH_PROCESSES];
	unsigned int n_processes;
	const char *json, *html;
	bool peer_qemu;
	int pin; /* enum bench_pin */
};

enum bench_pin { PIN_OFF, PIN_ON, PIN_ONE };

enum bench_arrivals { ARRIVALS_BOTH, ARRIVALS_CONSTANT, ARRIVALS_RANDOM };

/* blk: what is read. */
enum bench_disk {
	DISK_ID,     /* the id, which takes no I/O: the guest's own share, and the device's exits */
	DISK_TMPFS,  /* a file in memory */
	DISK_DIRECT, /* a file on disk, past the page cache */
};

/* compute: what completes. */
enum bench_completes {
	COMPLETES_EVENT, /* an eventfd that another thread writes, with a read in flight as well */
	COMPLETES_READ,	 /* a read of a file on disk, past the page cache: from the doorbell */
};

/* A list of nanoseconds that grows. */
struct series {
	uint64_t *v;
	size_t n, room;
	size_t sorted; /* so many from the first on are in order */
};

/* A halt and the window that it found, for the picture of both. */
struct window_sample {
	uint64_t at_ns, halt_ns, window_ns;
};

#define BENCH_WINDOWS 200

/* Everything measured of one mode under one condition; the rounds add to it. */
struct cell {
	enum bench_workload workload;
	const struct bench_mode *mode;
	uint64_t gap_ns; /* event, timer, ipi: gap; idle: tick rate in Hz */
	bool random;
	enum bench_disk disk;
	enum bench_completes completes;
	uint32_t vcpus;			     /* neighbour, compute */
	const struct bench_process *process; /* mix; else NULL */
	struct series latency;		     /* of all rounds; memory: bytes */
	struct series signal;		     /* event: what the signal cost its sender */
	struct series share;		     /* echo: the guest's own part of each */
	struct series round_p50;	     /* each round's median */
	struct series progress;		     /* neighbour: the hog's, a second, in each round */
	struct series alone;		     /* the same without the VM */
	struct series hog_cpu;		     /* its processor time beside the VM, in ns a second */
	struct window_sample windows[BENCH_WINDOWS]; /* mix: after the samples of one round */
	uint32_t n_windows;
	/* What each vCPU's policy had learned at the end of the last round; contexts 0: nothing. */
	struct catnap_policy_stats learned[BENCH_VCPUS];
	uint64_t cpu_ns, events, wall_ns; /* of the vCPU threads, over the events */
	uint64_t polled_ns;		  /* in all halts */
	uint64_t vain_ns;		  /* of that, in halts that slept in the end */
	uint64_t missed;		  /* neighbour: events that found the last one unhandled */
	uint64_t kicks, futex_wakes;	  /* wakes that cost a system call */
	bool has_cpu;			  /* the clocks told cpu_ns */
	bool has_polled; /* polled_ns and vain_ns are known: KVM does not always tell */
	bool has_kicks;	 /* kicks and futex_wakes are counted */
	bool failed;
};

/* What one run of the guest needs to know. */
struct bench_run {
	const struct bench_cfg *cfg;
	const struct bench_stop *stop;
	struct cell *cell;
	uint32_t tsc_khz;
	uint32_t seed;
	bool for_all;	 /* no mode of this workload can do better: said once */
	char error[256]; /* one sentence if it failed */
};

/* A signal has asked for the end: what is measured is kept as far as it is, or, if that is nothing,
 * the run fails. */
static inline bool bench_stopped(const struct bench_run *run)
{
	return bench_stop_number(run->stop) != 0;
}

/* bench_effect.c: -EINVAL (o->error) if an option was given that has no effect in what is measured;
 * what is harmless is said on standard error. */
int bench_check_effects(struct opts *o, const struct bench_cfg *cfg);

/* bench_plan.c: the cells that @cfg asks for, those of a condition together; *cells is the caller's
 * to free, also if this fails: -1, out of memory. */
int bench_plan(const struct bench_cfg *cfg, struct cell **cells, size_t *n);

/* bench_vm.c: in this process. 0 or -1 with run->error. */
int bench_event(struct bench_run *run);
int bench_guest_samples(struct bench_run *run); /* timer, ipi */
int bench_idle(struct bench_run *run);
int bench_neighbour(struct bench_run *run); /* bench_neighbour.c */
int bench_mix(struct bench_run *run);	    /* bench_mix.c */
/* bench_io.c: in this process and in the peer. */
int bench_blk(struct bench_run *run);
int bench_echo(struct bench_run *run);
int bench_compute(struct bench_run *run); /* bench_compute.c */
/* A file of BENCH_DISK_SIZE bytes that are not all the same, in @folder, but without a name there:
 * it is gone when this process is, however that ends. @direct: it can be read past the page cache.
 * @path is how to open it until then, here and in children. Its descriptor, or -1. */
#define BENCH_DISK_SIZE (UINT64_C(64) << 20)
#define BENCH_DISK_PATH 40
int bench_make_disk(struct bench_run *run, const char *folder, bool direct,
		    char path[BENCH_DISK_PATH]);
/* bench_child.c: other processes, also the peer's timer and ipi. */
int bench_start(struct bench_run *run);
int bench_memory(struct bench_run *run);
int bench_peer(struct bench_run *run);
bool bench_peer_exists(void);

/* bench_child.c: a process that is measured. */
struct bench_child {
	pid_t pid;
	int out; /* its standard output */
	uint64_t started_ns;
};

/* The probe as a memory file that children inherit; -1. */
int bench_image_file(void);
/* The peer's program and the arguments that all its runs share, into @argv from @n; returns how
 * many there are then. */
unsigned int bench_peer_args(char **argv, unsigned int n);
int bench_spawn(struct bench_run *run, struct bench_child *c, char *const argv[]);
/* Waits for its end and closes its output. */
void bench_reap(struct bench_child *c, bool kill_it);

/* bench_vm.c */
/* The first processor is the sender's, the others in turn the vCPUs'. False: there is only one. */
bool bench_processors(int32_t *affinity, uint32_t vcpus, int32_t *sender);
/* Moves a round's samples to the cell, and its median beside them unless the round was stopped
 * before its end; frees @round. */
int bench_keep(struct bench_run *run, struct series *round);
/* The ticks that a guest has left, one for each sample, as far as it has come if it was stopped. */
int bench_take(struct bench_run *run, const uint64_t *array, struct series *round);

/* bench_util.c */
uint64_t bench_to_ns(const struct bench_run *run, uint64_t ticks);
/* Keeps the sentence in run->error and returns -1. */
int bench_fail(struct bench_run *run, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same of what does not depend on the mode. */
int bench_fail_all(struct bench_run *run, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The same for a run that was stopped before it had anything to keep. */
int bench_nothing(struct bench_run *run);
/* Sleeps so long, or until the run is stopped. */
void bench_sleep(const struct bench_run *run, uint64_t ns);
/* Measured of the same thing, so comparable? */
bool cell_same_condition(const struct cell *a, const struct cell *b);
int series_add(struct series *s, uint64_t value); /* 0, -1 no memory */
void series_free(struct series *s);
/* Sorts in place; the @q quantile, 0 if empty. */
uint64_t series_quantile(struct series *s, double q);
/* Without the highest hundredth, which is the host's. */
uint64_t series_mean(struct series *s);
/* The median, and the order is kept. */
uint64_t series_median(const struct series *s);

/* The probe guest in a VM of this process. */
#define GUEST_MEMORY (UINT64_C(16) << 20)
#define EXIT_PORT    0xf4

/* bench_vm.c: the probe with this command line, which must outlive the creation, halting as the
 * cell's mode says. */
void probe_config(const struct bench_run *run, struct catnap_vm_config *cfg, const char *cmdline);

/* What a report is made from. */
struct bench_results {
	const struct bench_cfg *cfg;
	struct cell *cells; /* those of one condition lie together */
	size_t n;
	uint32_t tsc_khz;
	uint64_t kvm_run_ns; /* catnap_host_kvm_run_ns() */
	double load;	 /* of the host, before it began: tasks that wanted to run; -1: unknown */
	int interrupted; /* the signal that ended it before its end; 0: none */
};

/* bench_summary.c: what follows from the samples; the same in every report. */
const char *workload_name(enum bench_workload w);
/* "signal to the guest's handler". */
const char *workload_title(enum bench_workload w);
/* "random gap of 50 us"; "" if the workload has but one. Returns @buf. */
const char *condition_name(char *buf, size_t size, const struct cell *c);
/* The mode that ratios of this workload are to. */
const char *baseline_name(enum bench_workload w);
/* Whether a larger ratio is a better one. */
bool higher_is_better(enum bench_workload w);
/* Of the ratios of what belongs to the same round, this mode's over the baseline's. */
struct ratio {
	double median, least, most;
	size_t rounds;
};
/* Of the medians (neighbour: of the hog's progress). False: there is none. */
bool cell_ratio(const struct cell *cells, size_t n, const struct cell *c, struct ratio *r);
/* What the ratios are of: a value for each round. */
const struct series *cell_rounds(const struct cell *c);
/* How far apart the rounds are, in per cent of the middle one. False: there are not two. */
bool cell_spread(const struct cell *c, double *percent);
/* blk, echo: the median beyond the guest's own share, which may be nothing; false: not known. */
bool cell_net_p50(struct cell *cells, size_t n, struct cell *c, uint64_t *ns);
bool cell_has_net(const struct cell *c);
/* It failed, or there is nothing in it. */
bool cell_empty(const struct cell *c);
/* Whether a run that was interrupted had come to any of them. */
bool cells_begun(const struct cell *cells, size_t n);
/* The figures that a cell may not have: false, and nothing is to be shown for them. */
/* neighbour: the hog's progress, in per cent of what it makes alone. */
bool cell_progress(const struct cell *c, double *percent);
/* neighbour: the hog's processor time, to that beside the baseline, as cell_ratio(). And in per
 * cent of one processor. */
bool cell_hog_ratio(const struct cell *cells, size_t n, const struct cell *c, struct ratio *r);
bool cell_hog_percent(const struct cell *c, double *percent);
/* In per cent of one processor: what the vCPUs took, and what of that they polled. */
bool cell_cpu_percent(const struct cell *c, double *percent);
bool cell_polled_percent(const struct cell *c, double *percent);
/* For each event, in ns: processor time, and time polled in halts that slept all the same. */
bool cell_event_cpu(const struct cell *c, double *ns);
bool cell_event_vain(const struct cell *c, double *ns);
/* Events in a second. */
bool cell_event_rate(const struct cell *c, double *rate);
/* What else was going on: busier than a host to be measured should be. */
bool host_was_busy(const struct bench_results *r);
void host_cpu_model(char *model, size_t size);

/* bench_report.c */
void report_table(FILE *out, const struct bench_results *r);
/* bench_json.c; 0, -1 with errno. */
int report_json(FILE *out, const struct bench_results *r);
/* bench_html.c; 0, -1 with errno. */
int report_html(FILE *out, const struct bench_results *r);

/* bench_outputs.c: where the results go. */
struct bench_outputs {
	struct outputs all;
	struct output json, html;
	bool table; /* standard output is not one of them */
};

/* Before anything is measured. A status, after a message; bench_outputs_close() must follow. */
int bench_outputs_open(struct bench_outputs *o, const struct bench_cfg *cfg);
/* The same. */
int bench_outputs_write(struct bench_outputs *o, const struct bench_results *r);
void bench_outputs_close(struct bench_outputs *o);

#endif
