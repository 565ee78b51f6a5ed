/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four owners that share a poller, and wake-ups of random ones: each is counted where it was sent
 * and where it arrived, and none may be missing. Policies, windows, deadlines and ways to sleep
 * change all the time, so that the poller hands over, leaves, comes back; an owner may have an
 * event source armed, and so sleep in its ring.
 *
 *   stress_group [--wakes N] [--seconds N]           counts; exit status 1 if one is lost
 *   stress_group --measure [--wakes N] [--gap-us N]  latency and processor time, alone and in turn
 *
 * A lost wake-up could be covered by the next one to the same owner. So one thread sends all, in
 * bursts, and waits at the end of each until all were seen; half of the bursts are of one.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "poll/halter.h"

#define OWNERS	    4
#define BIT_WAKE    UINT32_C(1)
#define BIT_END	    UINT32_C(2)
#define HOPELESS_NS UINT64_C(20000000000)
#define MEASURE_MAX 200000
/* Where four poll on fewer processors, each wake-up takes milliseconds. */
#define MEASURE_WAKES 2000

struct random {
	uint64_t x;
};

struct owner {
	_Alignas(64) _Atomic uint64_t sent; /* the sender's */
	_Alignas(64) _Atomic uint64_t seen; /* the owner's */
	_Atomic uint64_t seen_at;	    /* ticks */
	_Atomic bool timers;		    /* halts with deadlines */
	_Atomic uint64_t expired;
	struct catnap_halter *h;
	struct random random;
	int fd;
	bool armed;
	pthread_t thread;
};

struct stress {
	struct clock clock;
	struct wake_group group;
	struct pressure pressure;
	struct owner owners[OWNERS];
	struct random random;
};

static uint64_t next_random(struct random *r)
{
	r->x ^= r->x << 13;
	r->x ^= r->x >> 7;
	r->x ^= r->x << 17;
	return r->x * UINT64_C(0x2545f4914f6cdd1d);
}

/* Uniform in [0, n). */
static uint32_t below(struct random *r, uint32_t n)
{
	return (uint32_t)((next_random(r) >> 32) * n >> 32);
}

static void die(const char *what)
{
	fprintf(stderr, "stress_group: %s\n", what);
	exit(1);
}

static void on_eventfd(void *ctx, int fd)
{
}

/* -- owners ----------------------------------------------------------------------------------- */

static void *run_owner(void *arg)
{
	struct owner *o = arg;
	struct catnap_halter *h = o->h;

	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	for (;;) {
		uint32_t work = halter_take(h);
		uint64_t deadline = UINT64_MAX;
		int cause;

		if (halter_serve(h, work) < 0)
			die("serve failed");
		if (work & BIT_WAKE) {
			uint64_t sent = atomic_load_explicit(&o->sent, memory_order_relaxed);

			atomic_store_explicit(&o->seen_at, clock_now(&h->clock),
					      memory_order_relaxed);
			atomic_store_explicit(&o->seen, sent, memory_order_release);
		}
		if (work & BIT_END)
			return NULL;
		if (atomic_load_explicit(&o->timers, memory_order_relaxed))
			deadline = clock_now(&h->clock) +
				   clock_ns_to_ticks(&h->clock, 1000 + below(&o->random, 300000));
		if (halter_halt(h, deadline, &cause) < 0)
			die("halt failed");
		if (cause == CATNAP_CAUSE_TIMER) {
			atomic_fetch_add_explicit(&o->expired, 1, memory_order_relaxed);
			if (clock_now(&h->clock) < deadline)
				die("a deadline came early");
		}
	}
}

static void make(struct stress *s, uint32_t flags, const struct catnap_halt_poll *p)
{
	const struct halter_env env = {
		.clock = &s->clock, .pressure = &s->pressure, .group = &s->group};

	memset(&s->group, 0, sizeof(s->group));
	pressure_open(&s->pressure, &s->clock, "/nowhere");
	for (int i = 0; i < OWNERS; i++) {
		struct owner *o = &s->owners[i];
		struct catnap_halter_config cfg;

		memset(o, 0, sizeof(*o));
		o->random.x = next_random(&s->random) | 1;
		o->h = aligned_alloc(_Alignof(struct catnap_halter), sizeof(*o->h));
		o->fd = eventfd(0, EFD_NONBLOCK);
		catnap_halter_config_init(&cfg);
		cfg.flags = flags;
		cfg.halt_poll = *p;
		cfg.on_eventfd = on_eventfd;
		if (!o->h || o->fd < 0 || halter_init(o->h, &cfg, &env, NULL) < 0)
			die("an owner cannot be made");
	}
	for (int i = 0; i < OWNERS; i++)
		if (pthread_create(&s->owners[i].thread, NULL, run_owner, &s->owners[i]))
			die("no thread");
}

static void unmake(struct stress *s, struct catnap_halt_stats *sum)
{
	for (int i = 0; i < OWNERS; i++)
		halter_wake(s->owners[i].h, BIT_END);
	for (int i = 0; i < OWNERS; i++)
		pthread_join(s->owners[i].thread, NULL);
	for (int i = 0; i < OWNERS; i++) {
		struct catnap_halt_stats st = {.size = sizeof(st)};
		struct owner *o = &s->owners[i];

		halter_get_stats(o->h, &st);
		sum->halt_exits += st.halt_exits;
		sum->halt_attempted_poll += st.halt_attempted_poll;
		sum->halt_poll_success_ns += st.halt_poll_success_ns;
		sum->halt_poll_fail_ns += st.halt_poll_fail_ns;
		sum->futex_wakes += st.futex_wakes;
		sum->kicks_saved += st.kicks_saved;
		sum->group_watched += st.group_watched;
		sum->group_wakes += st.group_wakes;
		sum->group_handovers += st.group_handovers;
		sum->wakeups[CATNAP_CAUSE_TIMER] += atomic_load(&o->expired);
		halter_fini(o->h);
		free(o->h);
		close(o->fd);
	}
}

/* -- sending ---------------------------------------------------------------------------------- */

static void wake_up(struct owner *o)
{
	/* One sender: the number is published before the bit. */
	atomic_store_explicit(&o->sent, atomic_load_explicit(&o->sent, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	halter_wake(o->h, BIT_WAKE);
}

/* Until @o has seen all that was sent. */
static void await(struct stress *s, struct owner *o)
{
	uint64_t want = atomic_load_explicit(&o->sent, memory_order_relaxed), start = 0;
	uint32_t spins = 0;

	while (atomic_load_explicit(&o->seen, memory_order_acquire) < want) {
		__builtin_ia32_pause();
		if (++spins % 1024)
			continue;
		sched_yield();
		if (!start)
			start = clock_monotonic_ns();
		if (clock_monotonic_ns() - start < HOPELESS_NS)
			continue;
		fprintf(stderr, "lost: owner %d, wake-up %" PRIu64 ", seen %" PRIu64 "\n",
			(int)(o - s->owners), want, atomic_load(&o->seen));
		for (int i = 0; i < OWNERS; i++)
			fprintf(stderr, "owner %d: state %u, pending %x%s\n", i,
				atomic_load(&s->owners[i].h->wake.state),
				atomic_load(&s->owners[i].h->wake.pending),
				atomic_load(&s->group.poller) == &s->owners[i].h->wake ? ", polls"
										       : "");
		exit(1);
	}
}

static void pause_ns(struct stress *s, uint64_t ns)
{
	uint64_t end = clock_now(&s->clock) + clock_ns_to_ticks(&s->clock, ns);

	while (clock_now(&s->clock) < end)
		__builtin_ia32_pause();
}

/* Other parameters for one of them, or for all. */
static void change(struct stress *s)
{
	static const uint32_t windows[] = {0, 2000, 20000, 100000, 1000000};
	struct owner *o = &s->owners[below(&s->random, OWNERS)];
	struct catnap_halt_poll p;

	catnap_halt_poll_init(&p);
	p.policy = below(&s->random, CATNAP_POLICY_ADAPTIVE + 1);
	p.max_ns = windows[below(&s->random, 5)];
	p.group = below(&s->random, 8) != 0;
	p.cpu_max = below(&s->random, 4) ? 0 : 500;
	policy_set(&o->h->policy, &p);
	atomic_store(&o->timers, below(&s->random, 4) == 0);
	/* A source that never fires: then it sleeps in its ring. */
	if (below(&s->random, 4) == 0) {
		int ret = o->armed ? catnap_halter_del_eventfd(o->h, o->fd)
				   : catnap_halter_add_eventfd(o->h, o->fd);

		if (ret < 0)
			die("an event source cannot be changed");
		o->armed = !o->armed;
	}
}

static uint64_t count(struct stress *s, uint32_t flags, uint64_t wakes, uint64_t until)
{
	struct catnap_halt_stats sum = {.size = sizeof(sum)};
	struct catnap_halt_poll p;
	uint64_t sent = 0, bursts = 0;

	catnap_halt_poll_init(&p);
	p.policy = CATNAP_POLICY_FIXED;
	p.max_ns = CATNAP_KERNEL_MAX_NS;
	p.group = 1;
	make(s, flags, &p);
	while (sent < wakes && clock_monotonic_ns() < until) {
		uint32_t burst = bursts % 2 ? 1 + below(&s->random, 200) : 1;

		if (bursts++ % 16 == 0)
			change(s);
		for (uint32_t i = 0; i < burst; i++) {
			wake_up(&s->owners[below(&s->random, OWNERS)]);
			if (below(&s->random, 8) == 0)
				pause_ns(s, below(&s->random, 5000));
		}
		sent += burst;
		for (int i = 0; i < OWNERS; i++)
			await(s, &s->owners[i]);
		/* Now and then long enough for windows to end. */
		if (below(&s->random, 8) == 0)
			pause_ns(s, below(&s->random, 50000));
	}
	unmake(s, &sum);
	printf("%s: %" PRIu64 " wake-ups in %" PRIu64 " bursts, none lost; %" PRIu64
	       " halts, %" PRIu64 " of them watched; wakes: %" PRIu64
	       " found a word that is looked "
	       "at, %" PRIu64 " by futex, %" PRIu64 " by the poller; handed over %" PRIu64
	       " times; %" PRIu64 " deadlines\n",
	       flags ? "eventfd in the ring" : "futex in the ring", sent, bursts, sum.halt_exits,
	       sum.group_watched, sum.kicks_saved, sum.futex_wakes, sum.group_wakes,
	       sum.group_handovers, sum.wakeups[CATNAP_CAUSE_TIMER]);
	if (sent >= 100000 &&
	    (!sum.group_watched || !sum.group_wakes || !sum.group_handovers || !sum.futex_wakes))
		die("something never happened");
	return sent;
}

/* -- measuring -------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t owners_cpu(struct stress *s)
{
	uint64_t ns = 0;

	for (int i = 0; i < OWNERS; i++) {
		struct timespec ts = {0};
		clockid_t clock;

		if (pthread_getcpuclockid(s->owners[i].thread, &clock) == 0)
			clock_gettime(clock, &ts);
		ns += (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	}
	return ns;
}

/* Wakes random owners at random gaps; the sender sleeps between, so that processors are free. */
static void measure(struct stress *s, const char *name, uint32_t policy, bool group, uint32_t wakes,
		    uint64_t gap_ns)
{
	static uint64_t latency[MEASURE_MAX];
	struct catnap_halt_stats sum = {.size = sizeof(sum)};
	struct catnap_halt_poll p;
	uint64_t cpu, wall, sending = 0;

	catnap_halt_poll_init(&p);
	p.policy = policy;
	p.max_ns = policy == CATNAP_POLICY_ADAPTIVE ? CATNAP_ADAPTIVE_MAX_NS : 2000000;
	p.group = group;
	make(s, 0, &p);
	pause_ns(s, 10000000);
	cpu = owners_cpu(s);
	wall = clock_monotonic_ns();
	for (uint32_t i = 0; i < wakes; i++) {
		uint64_t gap = gap_ns / 2 + below(&s->random, (uint32_t)gap_ns), at, done;
		struct timespec ts = {.tv_nsec = (long)gap};
		struct owner *o = &s->owners[below(&s->random, OWNERS)];

		clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
		at = clock_now(&s->clock);
		wake_up(o);
		done = clock_now(&s->clock);
		await(s, o);
		latency[i] = clock_ticks_to_ns(&s->clock, atomic_load(&o->seen_at) - at);
		sending += clock_ticks_to_ns(&s->clock, done - at);
	}
	cpu = owners_cpu(s) - cpu;
	wall = clock_monotonic_ns() - wall;
	unmake(s, &sum);
	qsort(latency, wakes, sizeof(latency[0]), compare);
	printf("%-10s %-8s p50 %7.2f us  p90 %7.2f us  p99 %7.2f us  send %5.2f us  cpu of the "
	       "four "
	       "%6.1f %%  watched %" PRIu64 " of %" PRIu64 ", handed over %" PRIu64 "\n",
	       name, group ? "group" : "alone", (double)latency[wakes / 2] / 1000,
	       (double)latency[wakes - 1 - wakes / 10] / 1000,
	       (double)latency[wakes - 1 - wakes / 100] / 1000, (double)sending / wakes / 1000,
	       100 * (double)cpu / (double)wall, sum.group_watched, sum.halt_exits,
	       sum.group_handovers);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static struct stress s;
	uint64_t wakes = 0, seconds = 60, gap_us = 100, until, sent;
	bool measuring = false;

	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "0";

		if (strcmp(argv[i], "--measure") == 0) {
			measuring = true;
			continue;
		}
		if (strcmp(argv[i], "--wakes") == 0)
			wakes = strtoull(value, NULL, 10);
		else if (strcmp(argv[i], "--seconds") == 0)
			seconds = strtoull(value, NULL, 10);
		else if (strcmp(argv[i], "--gap-us") == 0)
			gap_us = strtoull(value, NULL, 10);
		else
			die("expected --measure, --wakes N, --seconds N, --gap-us N");
		i++;
	}
	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	clock_init(&s.clock, 0);
	s.random.x = clock_monotonic_ns() | 1;
	if (measuring) {
		uint32_t n = wakes < MEASURE_MAX ? (uint32_t)wakes : MEASURE_MAX;

		if (!n)
			n = MEASURE_WAKES;
		for (int round = 0; round < 3; round++)
			for (int group = 0; group < 2; group++) {
				measure(&s, "always", CATNAP_POLICY_ALWAYS, group, n,
					gap_us * 1000);
				measure(&s, "fixed,2ms", CATNAP_POLICY_FIXED, group, n,
					gap_us * 1000);
				measure(&s, "adaptive", CATNAP_POLICY_ADAPTIVE, group, n,
					gap_us * 1000);
			}
		return 0;
	}
	if (!wakes)
		wakes = 300000;
	/* Half of them on hosts with the futex in the ring, half as if there were none. */
	until = clock_monotonic_ns() + seconds * 1000000000u;
	sent = count(&s, 0, wakes / 2, clock_monotonic_ns() + seconds * 500000000u);
	sent += count(&s, CATNAP_HALTER_NO_RING_FUTEX, wakes - wakes / 2, until);
	if (sent < wakes)
		printf("the time was over\n");
	return 0;
}
