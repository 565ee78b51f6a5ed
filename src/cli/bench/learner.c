/* SPDX-License-Identifier: Apache-2.0 */
/* See learner.h. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench/learner.h"

static void *learn(void *arg)
{
	struct bench_learner *l = arg;
	struct pollfd p[] = {{.fd = l->stop, .events = POLLIN},
			     {.fd = catnap_vm_get_poll_limit_fd(l->vm), .events = POLLIN}};

	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (p[0].revents)
			return NULL;
		if (p[1].revents)
			(void)catnap_vm_learn_poll_limit(l->vm);
	}
}

int bench_learner_start(struct bench_learner *l, struct catnap_vm *vm)
{
	struct catnap_poll_limit_stats s = {.size = sizeof(s)};
	int ret;

	memset(l, 0, sizeof(*l));
	if (catnap_vm_get_poll_limit_stats(vm, &s) < 0 || !s.learned)
		return 0;
	l->vm = vm;
	l->stop = eventfd(0, EFD_CLOEXEC);
	if (l->stop < 0)
		return -errno;
	ret = -pthread_create(&l->thread, NULL, learn, l);
	l->runs = ret == 0;
	if (!l->runs)
		close(l->stop);
	return ret;
}

void bench_learner_end(struct bench_learner *l)
{
	ssize_t n;

	if (!l->runs)
		return;
	n = write(l->stop, &(uint64_t){1}, sizeof(uint64_t));
	(void)n;
	pthread_join(l->thread, NULL);
	close(l->stop);
	l->runs = false;
}

uint64_t bench_learner_cpu_ns(const struct bench_learner *l)
{
	struct timespec ts;
	clockid_t clock;

	if (!l->runs || pthread_getcpuclockid(l->thread, &clock) || clock_gettime(clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
