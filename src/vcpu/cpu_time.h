/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processor time of one of the VM's threads, for any thread to read: while it runs, by its
 * clock; when it has ended, what it had then. It never goes back: a reading that was taken while
 * the thread ended may be later than the thread's own last word, and counts if it is.
 */
#ifndef VCPU_CPU_TIME_H
#define VCPU_CPU_TIME_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

/* Zeroed memory: the thread has not begun. */
struct cpu_time {
	clockid_t clock;
	_Atomic int state;
	_Atomic uint64_t ns; /* the most that was read */
};

/* The thread itself, once each. */
void cpu_time_begin(struct cpu_time *t);
void cpu_time_end(struct cpu_time *t);
/* Any thread, until @t is freed: ns. */
uint64_t cpu_time_read(struct cpu_time *t);

#endif
