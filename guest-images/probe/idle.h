/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that polls: its idle loop, as Linux has it with the haltpoll driver and governor. A
 * processor without work polls for the governor's window and then executes HLT. While it polls, its
 * flags say so, and who has work for it writes its flag and sends no interrupt (Linux:
 * TIF_POLLING_NRFLAG, TIF_NEED_RESCHED and set_nr_if_polling()).
 *
 * All of it runs in user mode (user.h), so that on a host that emulates a guest's kernel mode a
 * poll takes what it takes elsewhere. Without haltpoll=1 nothing of it is used.
 */
#ifndef PROBE_IDLE_H
#define PROBE_IDLE_H

#include "governor.h"

#include <stddef.h>

#include "layout.h"
#include "user.h"

/* One that polls; the first is the boot processor. Owned by it, but for flags. */
struct idle {
	uint32_t flags; /* IDLE_WORK: by anybody; IDLE_POLLING: by the processor itself */
	uint64_t stamp; /* the TSC at an interrupt handler's first instruction; 0: none */
	/* The times of the last wait as idle_wait has left them, by the TSC. */
	uint64_t before; /* it did what it had to first */
	uint64_t began;	 /* to poll; 0: it did not */
	uint64_t polled; /* until then, and nothing came */
	uint64_t halted; /* it executed HLT; 0: it did not */
	uint64_t woken;
	struct governor governor;
};

_Static_assert(sizeof(struct idle) <= IDLE_SIZE, "hot code has it");
_Static_assert(offsetof(struct idle, stamp) == IDLE_STAMP, "");
_Static_assert(offsetof(struct idle, before) == IDLE_BEFORE, "");
_Static_assert(offsetof(struct idle, began) == IDLE_BEGAN, "");
_Static_assert(offsetof(struct idle, polled) == IDLE_POLLED, "");
_Static_assert(offsetof(struct idle, halted) == IDLE_HALTED, "");
_Static_assert(offsetof(struct idle, woken) == IDLE_WOKEN, "");

/* In kernel mode, before any processor polls. */
void idle_init(const struct governor_params *params, uint64_t tsc_khz);

/* The rest is for user mode. */
/* Processor @cpu idles until there is work. */
void idle(uint32_t cpu);
/* The boot processor does @op, and idles until the interrupt that it brings. The TSC before @op,
 * and that at the first instruction of the interrupt's handler (user_stamp, user_stamp_kept). */
uint64_t idle_shot(const struct user_op *op, uint64_t *before);
/* Work for another processor: by its flag if it polls, else by @ipi. */
void idle_wake(uint32_t from, uint32_t to, const struct user_op *ipi);
/* The boot processor gives the other one work, and idles until it is given some: the TSC before
 * that, and that at the end, be it seen in memory or by the handler of an interrupt. */
uint64_t idle_round_trip(const struct user_op *ipi, uint64_t *before);

#endif
