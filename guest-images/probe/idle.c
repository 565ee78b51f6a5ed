/* SPDX-License-Identifier: Apache-2.0 */
/* The idle loop of a guest that polls; see idle.h. idle_wait in user.S does the waiting. */
#include "idle.h"
#include "hot.h"
#include "probe.h"
#include "x86.h"

_Static_assert(USER_CPUS == PROBE_POLLERS, "");

/* Each on lines of its own, at IDLE_SIZE: user.S finds them. */
union padded {
	struct idle idle;
	char size[IDLE_SIZE];
} __attribute__((aligned(IDLE_SIZE)));

union padded idle_cpus[USER_CPUS];

static uint64_t tsc_khz;

static struct probe_idle *counters(uint32_t cpu)
{
	return &((struct probe_shared *)(uintptr_t)PROBE_SHARED_GPA)->idle[cpu];
}

/* One writer, and a host that may look at any time. */
static void count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

void idle_init(const struct governor_params *params, uint64_t khz)
{
	tsc_khz = khz;
	for (uint32_t i = 0; i < USER_CPUS; i++)
		idle_cpus[i].idle.governor.params = *params;
}

static uint64_t to_ns(uint64_t ticks)
{
	return muldiv(ticks, 1000000, tsc_khz);
}

/* For how many ticks it polls now, if it does; then it says so from here on. */
static uint64_t begin(struct idle *c)
{
	if (!governor_polls(&c->governor))
		return 0;
	__atomic_fetch_or(&c->flags, IDLE_POLLING, __ATOMIC_SEQ_CST);
	return muldiv(c->governor.window_ns, tsc_khz, 1000000);
}

/* Gives what idle_wait has left to the governor, and counts it. */
static void end(struct idle *c, struct probe_idle *n)
{
	if (c->began) {
		count(&n->polls, 1);
		count(&n->found, !c->halted);
		count(&n->polled_ticks, (c->halted ? c->polled : c->woken) - c->began);
		governor_polled(&c->governor, !c->halted);
	}
	if (c->halted) {
		count(&n->halts, 1);
		governor_halted(&c->governor, to_ns(c->woken - c->halted));
		__atomic_store_n(&n->window_ns, c->governor.window_ns, __ATOMIC_RELAXED);
	}
}

static void wait(uint32_t cpu, const struct user_op *op, uint64_t window)
{
	struct idle *c = &idle_cpus[cpu].idle;

	idle_wait(c, op, window);
	end(c, counters(cpu));
}

void idle(uint32_t cpu)
{
	wait(cpu, NULL, begin(&idle_cpus[cpu].idle));
}

/* When its interrupt came; work that was there before it began to wait has none. */
static uint64_t take_stamp(struct idle *c)
{
	uint64_t stamp = c->stamp;

	c->stamp = 0;
	return stamp ? stamp : c->woken;
}

uint64_t idle_shot(const struct user_op *op, uint64_t *before)
{
	struct idle *c = &idle_cpus[0].idle;

	wait(0, op, begin(c));
	*before = c->before;
	return take_stamp(c);
}

/* Linux's set_nr_if_polling(): whether it polls, and so sees what is written. */
static bool wake_by_memory(struct idle *c)
{
	uint32_t flags = __atomic_load_n(&c->flags, __ATOMIC_RELAXED);

	do {
		if (!(flags & IDLE_POLLING))
			return false;
	} while (!__atomic_compare_exchange_n(&c->flags, &flags, flags | IDLE_WORK, true,
					      __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
	return true;
}

void idle_wake(uint32_t from, uint32_t to, const struct user_op *ipi)
{
	uint64_t ignored;

	if (wake_by_memory(&idle_cpus[to].idle)) {
		count(&counters(from)->ipis_saved, 1);
		return;
	}
	count(&counters(from)->ipis_sent, 1);
	user_call(ipi, &ignored);
}

uint64_t idle_round_trip(const struct user_op *ipi, uint64_t *before)
{
	struct idle *c = &idle_cpus[0].idle;
	uint64_t window = begin(c);

	*before = rdtsc();
	idle_wake(0, 1, ipi);
	wait(0, NULL, window);
	return take_stamp(c);
}
