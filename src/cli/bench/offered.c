/* SPDX-License-Identifier: Apache-2.0 */
/* When events are due, and a guest that is stopped on purpose; see offered.h. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "cli/bench/offered.h"

void bench_offered_init(struct bench_offered *o, const struct bench_run *run)
{
	uint64_t gap = UINT64_C(1000000000) / run->cell->rate;
	uint64_t n = run->cfg->duration_ns / gap;

	*o = (struct bench_offered){.gap_ns = run->cell->random ? 0 : gap,
				    .process = {.kind = GENERATE_POISSON, .mean_ns = gap},
				    .n = n > UINT32_MAX ? UINT32_MAX : (uint32_t)n};
	if (!o->n)
		o->n = 1;
	generator_init(&o->generator, &o->process, run->seed + 1);
}

uint64_t bench_offered_next(struct bench_offered *o)
{
	/* The generator has a pointer to what it generates: *o may have moved. */
	o->generator.g = &o->process;
	o->at_ns += o->gap_ns ? o->gap_ns : generator_next(&o->generator);
	return o->at_ns;
}

static int stand_still(struct bench_stall *s)
{
	int ret;

	if (s->vm)
		ret = catnap_vm_pause(s->vm);
	else
		ret = kill(s->pid, SIGSTOP) < 0 ? -errno : 0;
	if (ret < 0)
		return ret;
	bench_sleep(s->run, s->run->cfg->stall_ns);
	if (s->vm)
		return catnap_vm_resume(s->vm);
	return kill(s->pid, SIGCONT) < 0 ? -errno : 0;
}

static void *stall_main(void *arg)
{
	struct bench_stall *s = arg;

	bench_sleep(s->run, s->run->cfg->duration_ns / 2);
	s->error = bench_stopped(s->run) ? 0 : stand_still(s);
	return NULL;
}

int bench_stall_begin(struct bench_stall *s, struct bench_run *run, struct catnap_vm *vm, pid_t pid)
{
	int ret;

	*s = (struct bench_stall){.run = run, .vm = vm, .pid = pid};
	if (!run->cfg->stall_ns)
		return 0;
	ret = pthread_create(&s->thread, NULL, stall_main, s);
	s->on = ret == 0;
	return ret ? bench_fail(run, "pthread_create: %s", strerror(ret)) : 0;
}

int bench_stall_end(struct bench_stall *s, struct bench_run *run, int ret)
{
	if (!s->on)
		return ret;
	pthread_join(s->thread, NULL);
	if (ret == 0 && s->error < 0)
		return bench_fail(run, "the guest cannot be stopped: %s", strerror(-s->error));
	return ret;
}
