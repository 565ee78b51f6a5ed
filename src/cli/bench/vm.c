/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measuring with a VM in this process. The probe guest and this file meet in
 * guest-images/probe/probe.h: a shared page, and an array of samples.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench/bench.h"
#include "cli/bench/guest.h"
#include "cli/bench/polling.h"
#include "cli/bench/workload.h"
#include "cli/snapshot_files.h"
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

void bench_probe_config(struct bench_run *run, struct catnap_vm_config *cfg, const char *cmdline)
{
	const struct bench_mode *mode = run->cell->mode;

	snprintf(run->cmdline, sizeof(run->cmdline), "%s", cmdline);
	bench_polling_cmdline(mode, run->tsc_khz, run->cmdline, sizeof(run->cmdline));
	catnap_vm_config_init(cfg);
	cfg->memory_size = GUEST_MEMORY;
	cfg->irqchip = mode->irqchip;
	cfg->halt_poll = mode->halt_poll;
	cfg->guest_hlt = mode->guest_hlt;
	cfg->kernel_data = probe_image;
	cfg->kernel_size = probe_image_size;
	cfg->cmdline = run->cmdline;
	if (mode->polls)
		cfg->poll_after_guest = (uint32_t)mode->guest.host;
	cfg->debug_exit_port = EXIT_PORT;
}

/* Starts it with its threads in a class, as those of a program that was started by chrt(1). */
static int start_in_class(struct bench_run *run, struct bench_guest *g)
{
	struct sched_param param = {.sched_priority = 2};
	struct catnap_vm *vm = g->vm;
	int ret;

	if (run->cfg->realtime && sched_setscheduler(0, SCHED_FIFO, &param) < 0)
		return bench_fail(run, "--realtime: SCHED_FIFO: %s", strerror(errno));
	ret = catnap_vm_start(vm);
	param.sched_priority = 0;
	if (run->cfg->realtime)
		sched_setscheduler(0, SCHED_OTHER, &param);
	if (ret < 0)
		return bench_fail(run, "%s", catnap_vm_last_error(vm));
	ret = bench_learner_start(&g->learner, vm);
	return ret < 0 ? bench_fail(run, "the thread that learns: %s", strerror(-ret)) : 0;
}

/* Says who @g is, and how it is to be made. @affinity: room for that of the vCPUs. */
static void configure(struct bench_run *run, struct bench_guest *g, uint32_t vcpus,
		      int32_t processor, struct catnap_vm_config *cfg, int32_t *affinity)
{
	int32_t sender;

	memset(g, 0, sizeof(*g));
	cfg->vcpus = vcpus;
	for (uint32_t i = 0; i < vcpus; i++)
		affinity[i] = processor;
	if (processor >= 0)
		cfg->vcpu_affinity = affinity;
	else if (run->cfg->pin == BENCH_PIN_ON && bench_processors(affinity, vcpus, &sender))
		cfg->vcpu_affinity = affinity;
	g->vcpus = vcpus;
	g->counted = cfg->irqchip == CATNAP_IRQCHIP_USER;
}

/* Starts what was made, or destroys it. */
static int start(struct bench_run *run, struct bench_guest *g)
{
	void *shared;

	catnap_vm_guest_memory(g->vm, PROBE_SHARED_GPA, sizeof(*g->shared), &shared);
	g->shared = shared;
	if (start_in_class(run, g) < 0) {
		catnap_vm_destroy(&g->vm);
		return -1;
	}
	bench_counters_open(&g->counters, 0);
	return 0;
}

int bench_guest_start(struct bench_run *run, struct bench_guest *g, uint32_t vcpus,
		      int32_t processor, const char *cmdline)
{
	int32_t affinity[CATNAP_MAX_VCPUS];
	struct catnap_vm_config cfg;

	bench_probe_config(run, &cfg, cmdline);
	configure(run, g, vcpus, processor, &cfg, affinity);
	if (catnap_vm_create(&cfg, &g->vm) < 0)
		return bench_fail(run, "%s", catnap_vm_last_error(NULL));
	return start(run, g);
}

int bench_guest_restore(struct bench_run *run, struct bench_guest *g, const char *folder,
			bool forget)
{
	struct snapshot_files files;
	struct catnap_vm_config cfg;
	struct catnap_restore how;
	char why[SNAPSHOT_WHY];
	int32_t affinity[1];
	int ret;

	bench_probe_config(run, &cfg, "");
	configure(run, g, 1, -1, &cfg, affinity);
	ret = snapshot_open(&files, folder, why);
	if (ret < 0) {
		bench_fail(run, "%.200s", why);
	} else {
		catnap_restore_init(&how);
		how.memory_fds = files.memory;
		how.memory_count = files.count;
		how.forget = forget;
		ret = catnap_vm_restore(&cfg, files.snapshot, &how, &g->vm);
		if (ret < 0)
			bench_fail(run, "%s", catnap_vm_last_error(NULL));
	}
	snapshot_close(&files);
	return ret < 0 ? -1 : start(run, g);
}

int bench_guest_end(struct bench_run *run, struct bench_guest *g)
{
	struct catnap_exit e = {.size = sizeof(e)};
	int ret = 0;

	bench_learner_end(&g->learner);
	bench_counters_close(&g->counters);
	catnap_vm_stop(g->vm);
	catnap_vm_wait(g->vm, UINT64_MAX, &e);
	for (uint32_t i = 0; i < BENCH_VCPUS && i < g->vcpus; i++) {
		struct catnap_policy_stats s = {.size = sizeof(s),
						.context_size = sizeof(s.context[0])};

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

struct bench_usage bench_guest_usage(const struct bench_guest *g)
{
	struct bench_usage u = {.wall_ns = now_ns(), .has_polled = !g->there};

	bench_costs_read(&u.costs, &g->counters);
	if (g->there) {
		u.cpu_ns = clock_ns(g->clock);
		return u;
	}
	u.cpu_ns = bench_learner_cpu_ns(&g->learner);
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
	bench_polling_read(&u.polling, g->shared, g->vm, g->vcpus);
	return u;
}

void bench_cell_account(struct bench_cell *c, const struct bench_usage *before,
			const struct bench_usage *after, uint64_t events)
{
	c->cpu_ns += after->cpu_ns - before->cpu_ns;
	c->wall_ns += after->wall_ns - before->wall_ns;
	c->polled_ns += after->polled_ns - before->polled_ns;
	c->vain_ns += after->vain_ns - before->vain_ns;
	c->kicks += after->kicks - before->kicks;
	c->futex_wakes += after->futex_wakes - before->futex_wakes;
	bench_polling_add(&c->polling, &before->polling, &after->polling);
	bench_costs_add(&c->costs, &before->costs, &after->costs);
	c->events += events;
	c->has_cpu = after->cpu_ns != 0;
	c->has_polled = after->has_polled;
	c->has_kicks = c->mode->irqchip == CATNAP_IRQCHIP_USER;
}

int bench_spin_until(struct bench_run *run, const uint32_t *word, uint32_t value, const char *what)
{
	uint64_t start = bench_ticks(), patience = PATIENCE_NS / 1000000 * run->tsc_khz;

	while ((int32_t)(bench_load(word) - value) < 0) {
		if (bench_ticks() - start > patience)
			return bench_fail(run, "the guest does not %s", what);
		if (bench_stopped(run))
			return bench_nothing(run);
		__builtin_ia32_pause();
	}
	return 0;
}

/* A process may have a tail of hours, and the sender spins. */
#define LONGEST_GAP_NS UINT64_C(1000000000)

int bench_guest_gap(struct bench_run *run, const struct bench_guest *g, uint32_t n, uint64_t gap_ns,
		    uint64_t *halted)
{
	if (bench_spin_until(run, &g->shared->halting, n, "halt") < 0)
		return -1;
	if (gap_ns > LONGEST_GAP_NS)
		gap_ns = LONGEST_GAP_NS;
	*halted = bench_ticks();
	return bench_spin_gap(run, *halted + bench_to_ticks(run, gap_ns));
}

uint64_t bench_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t bench_gap_ticks(const struct bench_run *run, uint64_t *state)
{
	uint64_t gap = run->cell->gap_ns;

	if (run->cell->random)
		gap = gap / 2 + bench_random(state) % (gap + 1);
	return (uint64_t)((unsigned __int128)gap * run->tsc_khz / 1000000);
}

int bench_spin_gap(struct bench_run *run, uint64_t until)
{
	while ((int64_t)(until - bench_ticks()) > 0) {
		if (bench_stopped(run))
			return bench_nothing(run);
		__builtin_ia32_pause();
	}
	return 0;
}

int bench_guest_signal(struct bench_run *run, struct bench_guest *g)
{
	const uint64_t one = 1;

	if (g->there ? write(g->event_fd, &one, sizeof(one)) < 0
		     : catnap_vm_signal_msi(g->vm, MSI_ADDRESS, PROBE_VECTOR_EVENT) < 0)
		return bench_fail(run, "the event cannot be signalled");
	return 0;
}

void bench_pin(struct bench_pinned *p, int32_t processor)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((size_t)processor, &one);
	p->on = sched_getaffinity(0, sizeof(p->saved), &p->saved) == 0 &&
		sched_setaffinity(0, sizeof(one), &one) == 0;
}

void bench_unpin(const struct bench_pinned *p)
{
	if (p->on)
		sched_setaffinity(0, sizeof(p->saved), &p->saved);
}

int bench_guest_event(struct bench_run *run, struct bench_guest *g, uint32_t n,
		      struct bench_series *latency)
{
	uint64_t t0 = bench_ticks(), t1, t2;

	if (bench_guest_signal(run, g) < 0)
		return -1;
	t1 = bench_ticks();
	if (bench_spin_until(run, &g->shared->handled, n, "handle an event") < 0)
		return -1;
	t2 = bench_ticks();
	if (latency &&
	    (bench_series_add(latency, bench_to_ns(run, t2 - t0)) < 0 ||
	     bench_series_add(&run->cell->own[BENCH_SIGNAL], bench_to_ns(run, t1 - t0)) < 0))
		return bench_fail(run, "out of memory");
	return 0;
}

int bench_keep(struct bench_run *run, struct bench_series *round)
{
	int ret = 0;

	if (!bench_stopped(run))
		ret = bench_series_add(&run->cell->round_p50, bench_series_quantile(round, 0.5));
	for (size_t i = 0; i < round->n && ret == 0; i++)
		ret = bench_series_add(&run->cell->latency, round->v[i]);
	bench_series_free(round);
	return ret < 0 ? bench_fail(run, "out of memory") : 0;
}

int bench_take(struct bench_run *run, const uint64_t *array, struct bench_series *round)
{
	for (uint32_t i = 0; i < run->cfg->samples; i++) {
		uint64_t sample = __atomic_load_n(&array[i], __ATOMIC_RELAXED);

		/* A sample that the guest has not come to is 0 still; each takes some ticks at
		 * least. */
		if (!sample && bench_stopped(run))
			break;
		if (bench_series_add(round, bench_to_ns(run, sample)) < 0)
			return bench_fail(run, "out of memory");
	}
	return round->n ? 0 : bench_nothing(run);
}

int bench_guest_samples(struct bench_run *run, uint32_t vcpus)
{
	uint32_t samples = run->cfg->samples;
	struct timespec nap = {.tv_nsec = 1000000};
	struct bench_series round = {0};
	struct bench_usage before, after;
	uint64_t deadline;
	char cmdline[256];
	struct bench_guest g;
	uint64_t *array;
	void *at;
	int ret = 0;

	/* Its calibration would measure nothing that is not known: the APIC timer's clock is 1
	 * GHz. */
	snprintf(cmdline, sizeof(cmdline),
		 "workload=%s samples=%u warmup=%u gap_ns=%llu random=%d seed=%u tsc_khz=%u "
		 "apic_hz=1000000000 pv_eoi=1 cpus=%u print=0 wait=1 exit=244",
		 run->cell->workload->name, samples, WARMUP, (unsigned long long)run->cell->gap_ns,
		 run->cell->random, run->seed + 1, run->tsc_khz, vcpus);
	if (bench_guest_start(run, &g, vcpus, -1, cmdline) < 0)
		return -1;
	deadline = now_ns() + PATIENCE_NS;
	while (bench_load(&g.shared->magic) != PROBE_MAGIC && now_ns() < deadline)
		nanosleep(&nap, NULL);
	before = bench_guest_usage(&g);
	__atomic_store_n(&g.shared->go, 1, __ATOMIC_RELEASE);
	/* This thread sleeps: both processors are the guest's. */
	deadline = now_ns() + PATIENCE_NS +
		   (samples + WARMUP) * (run->cell->gap_ns * 2 + UINT64_C(1000000));
	while (!bench_load(&g.shared->done) && now_ns() < deadline && !bench_stopped(run) &&
	       catnap_vm_wait(g.vm, 0, NULL) != 0)
		nanosleep(&nap, NULL);
	after = bench_guest_usage(&g);
	if (!bench_load(&g.shared->done) && !bench_stopped(run))
		ret = bench_fail(run, "the guest did not finish");
	else if (catnap_vm_guest_memory(g.vm, PROBE_SAMPLES_GPA, samples * sizeof(*array), &at) < 0)
		ret = bench_fail(run, "too many samples");
	else
		ret = bench_take(run, at, &round);
	if (ret == 0)
		bench_cell_account(run->cell, &before, &after, round.n + WARMUP);
	if (bench_guest_end(run, &g) < 0)
		ret = -1;
	if (ret == 0)
		return bench_keep(run, &round);
	bench_series_free(&round);
	return -1;
}

int bench_probe_prices(struct bench_run *run, struct bench_guest *g,
		       const struct bench_probe_price *price, uint32_t n, uint64_t **ticks)
{
	const bool ipi = price->op == PROBE_PRICE_IPI || price->extra == PROBE_PRICE_IPI;
	const uint64_t each = price->gap_ns + (price->per_halt + 1) * UINT64_C(200000);
	struct timespec nap = {.tv_nsec = 1000000};
	char cmdline[256];
	uint64_t deadline;
	void *at;

	snprintf(cmdline, sizeof(cmdline),
		 "workload=prices op=%u extra=%u per_halt=%u samples=%u warmup=%u gap_ns=%llu "
		 "tsc_khz=%u apic_hz=1000000000 pv_eoi=%d print=0 exit=244",
		 price->op, price->extra, price->per_halt, n, n < WARMUP ? n : WARMUP,
		 (unsigned long long)(price->gap_ns ? price->gap_ns : 1000), run->tsc_khz,
		 price->pv_eoi && !ipi);
	g->vm = NULL;
	if (bench_guest_start(run, g, ipi ? 2 : 1, -1, cmdline) < 0)
		return -1;
	deadline = now_ns() + PATIENCE_NS + (n + WARMUP) * each;
	while (!bench_load(&g->shared->done) && now_ns() < deadline && !bench_stopped(run) &&
	       catnap_vm_wait(g->vm, 0, NULL) != 0)
		nanosleep(&nap, NULL);
	if (bench_stopped(run) && !bench_load(&g->shared->done))
		return bench_nothing(run);
	if (!bench_load(&g->shared->done))
		return bench_fail(run, "the guest did not finish");
	if (catnap_vm_guest_memory(g->vm, PROBE_SAMPLES_GPA, 2 * n * sizeof(**ticks), &at) < 0)
		return bench_fail(run, "too many samples");
	*ticks = at;
	return 0;
}
