/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode kernel:adaptive has a limit of KVM's polling learned. The owner's loop does that elsewhere,
 * and bench has no loop: it spins, or sleeps. So a thread of its own does. Its processor time is
 * part of what the mode costs.
 */
#ifndef CLI_BENCH_LEARNER_H
#define CLI_BENCH_LEARNER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <catnap/catnap.h>

struct bench_learner {
	struct catnap_vm *vm;
	pthread_t thread;
	int stop; /* eventfd(2) */
	bool runs;
};

/* Begins, if there is something to be learned of @vm. Returns 0 or -errno. */
int bench_learner_start(struct bench_learner *l, struct catnap_vm *vm);
/* Ends it, before the VM is destroyed. It may never have been started. */
void bench_learner_end(struct bench_learner *l);
/* Returns the processor time that it has taken. */
uint64_t bench_learner_cpu_ns(const struct bench_learner *l);

#endif
