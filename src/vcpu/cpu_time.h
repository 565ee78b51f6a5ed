/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processor time of one of the VM's threads, for any thread to read. While the thread runs, its
 * clock tells; when it has ended, the time that it had then. The time never goes back. A reading
 * that was taken while the thread ended may be later than the thread's own last one. Then it
 * counts.
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

/* Begins and ends the count. The thread itself calls each once. */
void cpu_time_begin(struct cpu_time *t);
void cpu_time_end(struct cpu_time *t);
/* Returns the time in ns. Any thread, until @t is freed. */
uint64_t cpu_time_read(struct cpu_time *t);

#endif
