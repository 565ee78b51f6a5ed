/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `catnap advise` says how much KVM's halt polling costs and saves the VMs of this host, whoever
 * runs them, and which limit would be better.
 *
 * KVM tells each halt by its tracepoint kvm_vcpu_wakeup, and how it changes a window by
 * kvm_halt_poll_ns (trace.c), and counts what it has polled in debugfs (vms.c). Its rule is run again
 * over these halts with other limits (model.c): as the rule is known to the letter, that is what it
 * would have done. Which limit is best follows from that (choice.c). The module's parameters are
 * changed, and changed back, by parameters.c.
 */
#ifndef CLI_ADVISE_H
#define CLI_ADVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define ADVISE_FOLDER 400 /* bytes of the name of a folder of the kernel's, at most */
#define ADVISE_ERROR  1024

/* -- halts, trace.c --------------------------------------------------------------------------- */

/* One halt of a vCPU, or, just before that, the change of its window that followed from it. */
struct advise_halt {
	pid_t thread;
	bool window;		    /* it is a change */
	uint32_t before_ns, now_ns; /* of the window */
	uint64_t ns;		    /* poll and sleep */
	bool waited;		    /* it slept */
	bool valid;		    /* something for the guest ended it */
};

/* A source of halts. */
struct advise_trace {
	int fd;
	char instance[512]; /* the folder that was made; "": none */
	char line[1024];
	size_t used;   /* of line */
	bool too_long; /* what is being read is a line that does not fit: it is passed over */
	bool at_end;   /* of a file */
	uint64_t lost; /* halts that the kernel had no room for */
	bool told;     /* a line was of halts */
	bool other;    /* a line was something else, and no comment */
};

/* Has the kernel tell the halts of all VMs, in an instance of its own below @tracefs. 0 or -errno, and
 * @error is a sentence. */
int advise_trace_open(struct advise_trace *t, const char *tracefs, char error[ADVISE_ERROR]);
/* Reads the same from a file in the form of tracefs's trace. */
int advise_trace_file(struct advise_trace *t, const char *path, char error[ADVISE_ERROR]);
/* Takes the next halt that is there: 1; 0: none is there yet, or t->at_end; -errno. */
int advise_trace_next(struct advise_trace *t, struct advise_halt *halt);
void advise_trace_close(struct advise_trace *t);
/* Reads one line without its newline. False: it tells of no halt. *@lost: halts that it says are
 * missing. */
bool advise_trace_parse(const char *line, struct advise_halt *halt, uint64_t *lost);

/* -- virtual machines, vms.c ------------------------------------------------------------------ */

/* KVM's counters of a process's VMs. */
struct advise_counters {
	bool known;
	uint64_t polled_ns;
};

struct advise_thread {
	struct advise_thread *next;
	pid_t id;
	uint64_t *halts; /* ns * 4, and waited (2) and valid (1) */
	size_t n, room;
	uint32_t window_ns; /* as the changes tell it; 0 until the first one */
	bool told;	    /* there was one */
	bool changed;	    /* and what it will be after the next halt, which has had the other */
	uint32_t next_ns;
	uint64_t polled_ns; /* by these windows */
};

/* A process that has VMs: their threads cannot be told apart. */
struct advise_vm {
	pid_t pid;
	char name[17];
	unsigned int vms; /* by debugfs; 0: not known */
	struct advise_counters before, after;
	struct advise_thread *threads;
	size_t n_threads;
	uint64_t halts;
};

struct advise_vms {
	struct advise_vm *v;
	size_t n;
	bool live;	  /* threads are those of this host, and /proc knows their process */
	uint64_t dropped; /* halts for which there was no memory, or no process any more */
};

/* Adds it to the thread's. 0, or -ENOMEM: there are too many, or there is no memory. halts.c */
int advise_thread_keep(struct advise_thread *t, const struct advise_halt *halt);
/* Keeps a halt. */
void advise_vms_add(struct advise_vms *all, const struct advise_halt *halt);
/* Returns how long KVM has polled by the windows that it told. *@told: there were changes of them; a
 * window that never changes is not told. */
uint64_t advise_vm_told(const struct advise_vm *vm, bool *told);
/* Returns how long KVM has polled: as it has counted, *@counted, or by the windows that it told. */
uint64_t advise_vm_polled(const struct advise_vm *vm, bool *counted);
/* Reads KVM's counters below @debugfs, before and after. Counters that cannot be read are not
 * known. */
void advise_vms_count(struct advise_vms *all, const char *debugfs, bool after);
void advise_vms_free(struct advise_vms *all);

/* -- the rule, model.c ------------------------------------------------------------------------ */

/* KVM's parameters. */
struct advise_rule {
	uint32_t max_ns, grow, grow_start_ns, shrink;
};

/* The outcome of a rule. */
struct advise_cost {
	uint64_t polled_ns, in_vain_ns;
	uint64_t sleeps, found; /* halts that slept, and that polling has found */
	uint64_t cost_ns;	/* polled_ns, and the price of each sleep */
};

/* Runs @rule over the halts of @vm. 0 or -ENOMEM. */
int advise_model(const struct advise_vm *vm, const struct advise_rule *rule, uint64_t price_ns,
		 struct advise_cost *cost);
/* The limits that are tried. */
#define ADVISE_LIMITS 13
extern const uint32_t advise_limits[ADVISE_LIMITS];

/* -- the module's parameters, parameters.c ---------------------------------------------------- */

/* Reads those in @folder. 0 or -errno, and a sentence. */
int advise_rule_read(struct advise_rule *rule, const char *folder, char error[ADVISE_ERROR]);
/* Sets the limit. The same. */
int advise_limit_write(const char *folder, uint32_t max_ns, char error[ADVISE_ERROR]);

/* -- what follows, choice.c ------------------------------------------------------------------- */

struct advise_tried {
	/* For each limit, and behind them one for the present rule. */
	struct advise_cost cost[ADVISE_LIMITS + 1];
};

/* All that was found. */
struct advise_found {
	struct advise_vms *vms;
	struct advise_rule rule;
	uint64_t price_ns, lasted_ns, lost;
	struct advise_tried *vm;    /* of each VM */
	struct advise_tried all;    /* their sums */
	uint32_t least_ns, most_ns; /* limits outside are not recommended */
};

/* Returns the number of the limit that costs least, within the bounds. */
size_t advise_best(const struct advise_found *f, const struct advise_tried *t);
/* Returns whether it is worth changing: it costs a twentieth less than the present rule, at
 * least. */
bool advise_worth(const struct advise_found *f, const struct advise_tried *t);
/* Returns whether KVM polls another time for @vm than the module's parameters say. */
bool advise_another_rule(const struct advise_found *f, const struct advise_vm *vm,
			 const struct advise_tried *t);
/* Returns how long KVM has polled for all of them, ns. */
uint64_t advise_polled(const struct advise_found *f);
/* Returns how long it would have polled with limit number @limit, ns: what the rule says of that
 * limit, in the proportion in which KVM has polled what the rule says of today's. A poll ends a little
 * late, and sooner where others want the processor. A process with another rule keeps that. */
uint64_t advise_expected(const struct advise_found *f, size_t limit);

/* -- what is said, print.c -------------------------------------------------------------------- */

void advise_print(FILE *out, const struct advise_found *f);
/* 0, -1 with errno. @applied: what became of --apply; NULL: it was not given. */
struct advise_applied;
int advise_json(FILE *out, const struct advise_found *f, const struct advise_applied *applied);

/* The outcome of --apply. */
struct advise_applied {
	bool set;  /* the limit was changed */
	bool kept; /* and has not been taken back */
	uint32_t before_ns, now_ns;
	uint64_t lasted_ns;
	bool counted;			  /* by KVM, what was polled */
	double polled_before, polled_now; /* ns for each second */
	double polled_expected;
	double cost_before, cost_now; /* ns for each halt */
};

void advise_print_applied(FILE *out, const struct advise_applied *a);

#endif
