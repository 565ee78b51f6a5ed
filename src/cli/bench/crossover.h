/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prices of single things (workload prices), and their consequence: up to how many interrupts, IPIs or
 * timers for each halt halting in user space is the better choice on this host.
 *
 * A halt's wake-up costs u in a user mode and k in the kernel mode beside it; each thing more costs
 * v and w. With n of them a halt costs u + n v and k + n w, which cross at (k - u) / (v - w).
 */
#ifndef CLI_BENCH_CROSSOVER_H
#define CLI_BENCH_CROSSOVER_H

#include "cli/bench/bench.h"

struct json_object;

/* In the order of the table. */
enum bench_price {
	BENCH_PRICE_CPUID, /* an exit that KVM handles */
	BENCH_PRICE_MSR,
	BENCH_PRICE_PORT, /* one to user space, and back */
	BENCH_PRICE_APIC,
	BENCH_PRICE_EOI,
	BENCH_PRICE_ARM,
	BENCH_PRICE_IRQ,
	BENCH_PRICE_IRQ_PV,
	BENCH_PRICE_HALT,
	BENCH_PRICE_IPI,
	BENCH_PRICE_LATE,	 /* a halt that the timer ends */
	BENCH_PRICE_LATE_OF_TWO, /* the same beside a vCPU that halts, and without PV EOI, as IPI */
	BENCH_PRICE_WAKE,	 /* one that another thread ends */
	BENCH_PRICE_WAKE_OF_TWO,
	BENCH_PRICE_SEND,
	BENCH_PRICE_KICK,
	BENCH_PRICE_KVM_RUN, /* those of the host, from here on */
	BENCH_PRICE_SIGNAL,
	BENCH_PRICE_FUTEX,
	BENCH_PRICE_EVENTFD,
	BENCH_PRICES
};

/* Return the name of a price in JSON, and in words. */
const char *bench_price_name(int what);
const char *bench_price_title(int what);
bool bench_price_of_host(int what);

/* The modes that are compared; NULL ends the list. */
extern const char *const bench_crossover_modes[];

/* Things that are done beside a halt. */
enum bench_extra { BENCH_EXTRA_IRQ, BENCH_EXTRA_IPI, BENCH_EXTRA_TIMER, BENCH_EXTRAS };

/* Return the price of @extra, an enum bench_price, and its name. */
int bench_extra_price(enum bench_extra extra);
const char *bench_extra_name(enum bench_extra extra);

/* Two lines, in any unit. */
struct bench_lines {
	double user, kernel;	       /* a halt */
	double user_each, kernel_each; /* each thing more */
};

enum bench_better {
	BENCH_BETTER_USER, /* whatever n is */
	BENCH_BETTER_KERNEL,
	BENCH_BETTER_USER_BELOW, /* *at */
	BENCH_BETTER_USER_ABOVE,
};

/* Finds where they cross, if they do. */
enum bench_better bench_lines_cross(const struct bench_lines *l, double *at);
/* Writes "user below 2.3", or "kernel". Returns @buf. */
const char *bench_better_text(char *buf, size_t size, const struct bench_lines *l);

/* Finds the lines of halts that a timer (BENCH_PRICE_LATE) or another thread (BENCH_PRICE_WAKE)
 * ends, in ticks, by what @r has of prices. @polls: of modes that poll; else of those that sleep.
 * All of a line's prices are of the same guest: beside IPIs a halt is one of two vCPUs. False: not
 * measured. */
bool bench_crossover(const struct bench_results *r, int halt, bool polls, enum bench_extra extra,
		     struct bench_lines *lines);

/*
 * Finds the better irqchip for a guest as Linux is: with each halt it arms its timer once, and with
 * several vCPUs it sends an IPI as well; half of its halts are ended by a timer, half by others.
 * All of them are polled for. @user: whether that is irqchip user. False: not measured.
 */
bool bench_irqchip_choice(const struct bench_results *r, bool several, bool *user);

/* Print the table, what follows below it, and the same in JSON, for workload prices. */
void bench_prices_table(FILE *out, const struct bench_results *r, struct bench_cell *cells,
			size_t n);
void bench_crossover_print(FILE *out, const struct bench_results *r);
void bench_crossover_json(struct json_object *root, const struct bench_results *r);

#endif
