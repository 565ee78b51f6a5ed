/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measuring with a VM in this process. The probe guest and this file meet in
 * guest-images/probe/probe.h: a shared page, and an array of samples.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "cli/bench.h"
#include "cli/bench_guest.h"
#include "probe_image.h"

#define MSI_ADDRESS UINT64_C(0xfee00000)

bool bench_processors(int32_t *affinity, uint32_t vcpus, int32_t *sender)
{
	int32_t list[CPU_SETSIZE], n = 0;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return false;
	for (int32_t i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET((size_t)i, &set))
			list[n++] = i;
	if (n < 2)
		return false;
	*sender = list[0];
	for (uint32_t i = 0; i < vcpus; i++)
		affinity[i] = list[(i + 1) % (uint32_t)n];
	return true;
}

void probe_config(const struct bench_run *run, struct catnap_vm_config *cfg, const char *cmdline)
{
	const struct bench_mode *mode = run->cell->mode;

	catnap_vm_config_init(cfg);
	cfg->memory_size = GUEST_MEMORY;
	cfg->irqchip = mode->irqchip;
	cfg->halt_poll = mode->halt_poll;
	cfg->kernel_data = probe_image;
	cfg->kernel_size = probe_image_size;
	cfg->cmdline = cmdline;
	cfg->debug_exit_port = EXIT_PORT;
}

/* Its threads are where those of a program are that was started by chrt(1). */
static int start_in_class(struct bench_run *run, struct catnap_vm *vm)
{
	struct sched_param param = {.sched_priority = 2};
	int ret;

	if (run->cfg->realtime && sched_setscheduler(0, SCHED_FIFO, &param) < 0)
		return bench_fail(run, "--realtime: SCHED_FIFO: %s", strerror(errno));
	ret = catnap_vm_start(vm);
	param.sched_priority = 0;
	if (run->cfg->realtime)
		sched_setscheduler(0, SCHED_OTHER, &param);
	return ret < 0 ? bench_fail(run, "%s", catnap_vm_last_error(vm)) : 0;
}

int guest_start(struct bench_run *run, struct guest *g, uint32_t vcpus, int32_t processor,
		const char *cmdline)
{
	int32_t affinity[CATNAP_MAX_VCPUS], sender;
	struct catnap_vm_config cfg;
	void *shared;

	memset(g, 0, sizeof(*g));
	probe_config(run, &cfg, cmdline);
	cfg.vcpus = vcpus;
	for (uint32_t i = 0; i < vcpus; i++)
		affinity[i] = processor;
	if (processor >= 0)
		cfg.vcpu_affinity = affinity;
	else if (run->cfg->pin == PIN_ON && bench_processors(affinity, vcpus, &sender))
		cfg.vcpu_affinity = affinity;
	g->vcpus = vcpus;
	g->counted = cfg.irqchip == CATNAP_IRQCHIP_USER;
	if (catnap_vm_create(&cfg, &g->vm) < 0)
		return bench_fail(run, "%s", catnap_vm_last_error(NULL));
	catnap_vm_guest_memory(g->vm, PROBE_SHARED_GPA, sizeof(*g->shared), &shared);
	g->shared = shared;
	if (start_in_class(run, g->vm) < 0) {
		catnap_vm_destroy(&g->vm);
		return -1;
	}
	return 0;
}

int guest_end(struct bench_run *run, struct guest *g)
{
	struct catnap_exit e = {.size = sizeof(e)};
	int ret = 0;

	catnap_vm_stop(g->vm);
	catnap_vm_wait(g->vm, UINT64_MAX, &e);
	for (uint32_t i = 0; i < BENCH_VCPUS && i < g->vcpus; i++) {
		struct catnap_policy_stats s = {.size = sizeof(s)};

		if (catnap_vm_get_policy_stats(g->vm, i, &s) == 0)
			run->cell->learned[i] = s;
	}
	if (e.reason != CATNAP_EXIT_STOPPED &&
	    !(e.reason == CATNAP_EXIT_DEBUG && e.code == PROBE_EXIT_OK))
		ret = bench_fail(run, "the probe guest failed (reason %u, code %d) %s", e.reason,
				 e.code, e.report);
	catnap_vm_destroy(&g->vm);
	return ret;
}

struct usage guest_usage(const struct guest *g)
{
	struct usage u = {.wall_ns = now_ns(), .has_polled = true};

	for (uint32_t i = 0; i < g->vcpus; i++) {
		struct catnap_vcpu_stats s = {.size = sizeof(s)};

		catnap_vm_get_stats(g->vm, i, &s);
		u.cpu_ns += s.cpu_ns;
		u.polled_ns += s.halt.halt_poll_success_ns + s.halt.halt_poll_fail_ns;
		u.vain_ns += s.halt.halt_poll_fail_ns;
		u.has_polled &= g->counted || s.halt.halt_exits;
		u.kicks += s.halt.kicks_sent;
		u.futex_wakes += s.halt.futex_wakes;
	}
	return u;
}

void cell_account(struct cell *c, const struct usage *before, const struct usage *after,
		  uint64_t events)
{
	c->cpu_ns += after->cpu_ns - before->cpu_ns;
	c->wall_ns += after->wall_ns - before->wall_ns;
	c->polled_ns += after->polled_ns - before->polled_ns;
	c->vain_ns += after->vain_ns - before->vain_ns;
	c->kicks += after->kicks - before->kicks;
	c->futex_wakes += after->futex_wakes - before->futex_wakes;
	c->events += events;
	c->has_cpu = after->cpu_ns != 0;
	c->has_polled = after->has_polled;
	c->has_kicks = c->mode->irqchip == CATNAP_IRQCHIP_USER;
}

int spin_until(struct bench_run *run, const uint32_t *word, uint32_t value, const char *what)
{
	uint64_t start = ticks(), patience = PATIENCE_NS / 1000000 * run->tsc_khz;

	while ((int32_t)(load(word) - value) < 0) {
		if (ticks() - start > patience)
			return bench_fail(run, "the guest does not %s", what);
		if (bench_stopped(run))
			return bench_nothing(run);
		__builtin_ia32_pause();
	}
	return 0;
}

uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t gap_ticks(const struct bench_run *run, uint64_t *state)
{
	uint64_t gap = run->cell->gap_ns;

	if (run->cell->random)
		gap = gap / 2 + next_random(state) % (gap + 1);
	return (uint64_t)((unsigned __int128)gap * run->tsc_khz / 1000000);
}

int spin_gap(struct bench_run *run, uint64_t until)
{
	while ((int64_t)(until - ticks()) > 0) {
		if (bench_stopped(run))
			return bench_nothing(run);
		__builtin_ia32_pause();
	}
	return 0;
}

int guest_signal(struct bench_run *run, struct guest *g)
{
	if (catnap_vm_signal_msi(g->vm, MSI_ADDRESS, PROBE_VECTOR_EVENT) < 0)
		return bench_fail(run, "the event cannot be signalled");
	return 0;
}

void pin(struct pinned *p, int32_t processor)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((size_t)processor, &one);
	p->on = sched_getaffinity(0, sizeof(p->saved), &p->saved) == 0 &&
		sched_setaffinity(0, sizeof(one), &one) == 0;
}

void unpin(const struct pinned *p)
{
	if (p->on)
		sched_setaffinity(0, sizeof(p->saved), &p->saved);
}

/* Signals event number @n and waits for its handler; with @latency both times are kept. */
int guest_event(struct bench_run *run, struct guest *g, uint32_t n, struct series *latency)
{
	uint64_t t0 = ticks(), t1, t2;

	if (guest_signal(run, g) < 0)
		return -1;
	t1 = ticks();
	if (spin_until(run, &g->shared->handled, n, "handle an event") < 0)
		return -1;
	t2 = ticks();
	if (latency && (series_add(latency, bench_to_ns(run, t2 - t0)) < 0 ||
			series_add(&run->cell->signal, bench_to_ns(run, t1 - t0)) < 0))
		return bench_fail(run, "out of memory");
	return 0;
}

static int event_samples(struct bench_run *run, struct guest *g, struct series *latency)
{
	uint64_t random = (UINT64_C(0x9e3779b97f4a7c15) ^ run->seed) | 1;
	uint32_t total = run->cfg->samples + WARMUP;
	struct usage before = guest_usage(g), after;

	for (uint32_t n = 1; n <= total; n++) {
		if (spin_until(run, &g->shared->halting, n, "halt") < 0 ||
		    spin_gap(run, ticks() + gap_ticks(run, &random)) < 0 ||
		    guest_event(run, g, n, n > WARMUP ? latency : NULL) < 0) {
			if (bench_stopped(run) && latency->n)
				break;
			return -1;
		}
		if (n == WARMUP)
			before = guest_usage(g);
	}
	after = guest_usage(g);
	cell_account(run->cell, &before, &after, latency->n);
	return 0;
}

int bench_keep(struct bench_run *run, struct series *round)
{
	int ret = 0;

	if (!bench_stopped(run))
		ret = series_add(&run->cell->round_p50, series_quantile(round, 0.5));
	for (size_t i = 0; i < round->n && ret == 0; i++)
		ret = series_add(&run->cell->latency, round->v[i]);
	series_free(round);
	return ret < 0 ? bench_fail(run, "out of memory") : 0;
}

int bench_event(struct bench_run *run)
{
	struct series round = {0};
	struct pinned pinned = {0};
	int32_t unused[1], sender;
	struct guest g;
	int ret;

	if (guest_start(run, &g, 1, -1, EVENT_GUEST) < 0)
		return -1;
	if (run->cfg->pin == PIN_ON && bench_processors(unused, 1, &sender))
		pin(&pinned, sender);
	ret = event_samples(run, &g, &round);
	unpin(&pinned);
	if (guest_end(run, &g) < 0)
		ret = -1;
	if (ret == 0)
		return bench_keep(run, &round);
	series_free(&round);
	return -1;
}

int bench_take(struct bench_run *run, const uint64_t *array, struct series *round)
{
	for (uint32_t i = 0; i < run->cfg->samples; i++) {
		uint64_t sample = __atomic_load_n(&array[i], __ATOMIC_RELAXED);

		/* What the guest has not come to is 0 still; it takes some ticks at least. */
		if (!sample && bench_stopped(run))
			break;
		if (series_add(round, bench_to_ns(run, sample)) < 0)
			return bench_fail(run, "out of memory");
	}
	return round->n ? 0 : bench_nothing(run);
}

int bench_guest_samples(struct bench_run *run)
{
	bool ipi = run->cell->workload == BENCH_IPI;
	uint32_t vcpus = ipi ? 2 : 1, samples = run->cfg->samples;
	struct timespec nap = {.tv_nsec = 1000000};
	struct series round = {0};
	struct usage before, after;
	uint64_t deadline;
	char cmdline[256];
	struct guest g;
	uint64_t *array;
	void *at;
	int ret = 0;

	/* Its calibration would measure nothing that is not known: the APIC timer's clock is 1 GHz.
	 */
	snprintf(cmdline, sizeof(cmdline),
		 "workload=%s samples=%u warmup=%u gap_ns=%llu random=%d seed=%u tsc_khz=%u "
		 "apic_hz=1000000000 pv_eoi=1 cpus=%u print=0 exit=244",
		 ipi ? "ipi" : "timer", samples, WARMUP, (unsigned long long)run->cell->gap_ns,
		 run->cell->random, run->seed + 1, run->tsc_khz, vcpus);
	if (guest_start(run, &g, vcpus, -1, cmdline) < 0)
		return -1;
	deadline = now_ns() + PATIENCE_NS;
	while (load(&g.shared->magic) != PROBE_MAGIC && now_ns() < deadline)
		nanosleep(&nap, NULL);
	before = guest_usage(&g);
	/* This thread sleeps: both processors are the guest's. */
	deadline = now_ns() + PATIENCE_NS +
		   (samples + WARMUP) * (run->cell->gap_ns * 2 + UINT64_C(1000000));
	while (!load(&g.shared->done) && now_ns() < deadline && !bench_stopped(run) &&
	       catnap_vm_wait(g.vm, 0, NULL) != 0)
		nanosleep(&nap, NULL);
	after = guest_usage(&g);
	if (!load(&g.shared->done) && !bench_stopped(run))
		ret = bench_fail(run, "the guest did not finish");
	else if (catnap_vm_guest_memory(g.vm, PROBE_SAMPLES_GPA, samples * sizeof(*array), &at) < 0)
		ret = bench_fail(run, "too many samples");
	else
		ret = bench_take(run, at, &round);
	if (ret == 0)
		cell_account(run->cell, &before, &after, round.n + WARMUP);
	if (guest_end(run, &g) < 0)
		ret = -1;
	if (ret == 0)
		return bench_keep(run, &round);
	series_free(&round);
	return -1;
}

int bench_idle(struct bench_run *run)
{
	struct usage before, after;
	struct guest g;
	char cmdline[128];
	uint32_t first;

	snprintf(cmdline, sizeof(cmdline),
		 "workload=idle tick_hz=%llu tsc_khz=%u apic_hz=1000000000 pv_eoi=1 exit=244",
		 (unsigned long long)run->cell->gap_ns, run->tsc_khz);
	if (guest_start(run, &g, 1, -1, cmdline) < 0)
		return -1;
	bench_sleep(run, SETTLE_NS);
	first = load(&g.shared->ticks);
	before = guest_usage(&g);
	bench_sleep(run, run->cfg->duration_ns);
	after = guest_usage(&g);
	if (bench_stopped(run) && after.wall_ns - before.wall_ns < WORTH_KEEPING_NS) {
		guest_end(run, &g);
		return bench_nothing(run);
	}
	cell_account(run->cell, &before, &after, load(&g.shared->ticks) - first);
	if (!bench_stopped(run))
		series_add(&run->cell->round_p50, after.cpu_ns - before.cpu_ns);
	series_add(&run->cell->latency, after.cpu_ns - before.cpu_ns);
	if (run->cell->gap_ns && load(&g.shared->ticks) == first && !bench_stopped(run)) {
		guest_end(run, &g);
		return bench_fail(run, "the guest does not tick");
	}
	return guest_end(run, &g);
}
