/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No wake-up is lost: several threads, deadlines and ring completions against one owner, which uses
 * its halter as a vCPU does (vcpu.c): take, reap, halt or enter, with a signal for a kick and a
 * flag for kvm_run->immediate_exit. The loop that stands in for KVM_RUN spins until the flag is
 * set, a completion is there (which ends KVM_RUN, too), or, in some rounds, a random time has
 * passed.
 *
 * The test is a sequence of rounds, each with its own mixture of wakers, delays, policies. A waker
 * numbers its wake-ups, publishes the number before it wakes, and at the end of each burst waits
 * until the owner has seen it. A lost wake-up may be covered by the next one from somebody else, so
 * about half of the rounds are decisive: one waker, no deadlines, nothing else that could wake;
 * there each burst's last wake-up is the only thing that can bring the owner back, and if it is
 * lost, the test hangs and fails.
 *
 * The state that a wake-up found is the one read just before it: off by a race now and then, but
 * what each wake-up really did is in the halter's own counters, which must add up.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "poll/halter.h"

#define WAKERS	     4
#define BIT_WAKER(i) (UINT32_C(1) << (i)) /* waker 0 sends IPIs */
#define BIT_END	     (UINT32_C(1) << 20)
#define STATES	     5
#define STATE_MIN    1000 /* wake-ups that must have met each state */
#define STUCK_NS     UINT64_C(2000000000)
#define HOPELESS_NS  UINT64_C(30000000000)
#define ROUND_NS     UINT64_C(2000000)	/* what a round is to last */
#define ROUND_MAX_NS UINT64_C(10000000) /* on a busy machine: then no new burst is begun */

enum mode { PLAIN, RING_FUTEX, RING_EVENTFD, NO_RING, MODES };

static const char *const mode_names[] = {"plain futex", "futex in the ring", "eventfd in the ring",
					 "no ring"};
static const char *const state_names[] = {"VMM", "GUEST", "KICKED", "POLLING", "SLEEPING"};

struct random {
	uint64_t x;
};

/* The settings of a round. The coordinator writes it while everybody waits at a barrier. */
struct round {
	bool over; /* no round: the end of this mode */
	bool decisive;
	bool timers;
	bool by_fd[WAKERS];	/* wakes through its eventfd */
	uint64_t wakes[WAKERS]; /* how many each waker is to send */
	uint32_t burst;		/* at most so many before it waits until they were seen */
	uint32_t delay_ns;	/* at most, before each */
	uint32_t guest_in_8;	/* enters the guest in so many of eight turns */
	uint32_t guest_ns;	/* and stays so long at most; 0: until it is kicked */
};

struct waker {
	_Alignas(64) _Atomic uint64_t announced; /* the waker's: the number of its last wake-up */
	uint64_t payload;		    /* decisive rounds: not atomic, guarded by the wake */
	_Alignas(64) _Atomic uint64_t seen; /* the owner's */
	int fd;
	bool fd_added; /* the coordinator's */
	int index;
	struct random random;
	uint64_t found[STATES]; /* by state, wakes through the word only */
	uint64_t by_word, by_fd, decisive;
	pthread_t thread;
	struct stress *s;
};

struct stress {
	struct catnap_halter h;
	struct clock clock;
	enum mode mode;
	struct round round;
	struct waker wakers[WAKERS];
	int churn_fd; /* an eventfd that comes and goes */
	bool churn_added;
	pthread_barrier_t begin, sent, ended;
	/* the owner's */
	pthread_t owner;
	_Atomic int tid;
	struct random random;
	_Atomic uint64_t turns;
	_Atomic uint32_t end_seen;
	_Atomic uint64_t kicks; /* calls of the callback */
	uint64_t enters, halts, expired, parks;
	uint64_t failures, rounds;
	uint64_t words; /* wakes of the coordinator: the end of a round, changed sources */
};

/* The flag that kvm_run has for a vCPU. */
static _Thread_local _Atomic uint8_t immediate_exit;

static uint64_t next(struct random *r)
{
	r->x ^= r->x << 13;
	r->x ^= r->x >> 7;
	r->x ^= r->x << 17;
	return r->x * UINT64_C(0x2545f4914f6cdd1d);
}

/* Uniform in [0, n). */
static uint32_t below(struct random *r, uint32_t n)
{
	return (uint32_t)((next(r) >> 32) * n >> 32);
}

static void spin_ns(const struct clock *c, uint64_t ns)
{
	uint64_t end = clock_now(c) + clock_ns_to_ticks(c, ns);

	while (ns && clock_now(c) < end)
		__builtin_ia32_pause();
}

static void on_kick(int signo)
{
	atomic_store_explicit(&immediate_exit, 1, memory_order_relaxed);
}

static void kick(void *ctx)
{
	struct stress *s = ctx;

	atomic_fetch_add_explicit(&s->kicks, 1, memory_order_relaxed);
	syscall(SYS_tgkill, getpid(), atomic_load(&s->tid), SIGRTMIN);
}

/* -- somebody waits for the owner ------------------------------------------------------------- */

static void lost(struct stress *s, const char *who, uint64_t want, uint64_t have)
{
	fprintf(stderr,
		"stress_wake: LOST WAKE-UP (%s): %s waits for %" PRIu64
		", the owner has seen %" PRIu64
		"\n  state %u (%s), pending 0x%08x, wake_fd %d, turns %" PRIu64 "\n",
		mode_names[s->mode], who, want, have, atomic_load(&s->h.wake.state),
		state_names[atomic_load(&s->h.wake.state) % STATES],
		atomic_load(&s->h.wake.pending), atomic_load(&s->h.wake.wake_fd),
		atomic_load(&s->turns));
	fprintf(stderr,
		"  round: decisive %d, timers %d, burst %u, delay %u ns, guest %u/8 for %u ns\n",
		s->round.decisive, s->round.timers, s->round.burst, s->round.delay_ns,
		s->round.guest_in_8, s->round.guest_ns);
	for (int i = 0; i < WAKERS; i++)
		fprintf(stderr, "  waker %d: announced %" PRIu64 ", seen %" PRIu64 "%s\n", i,
			atomic_load(&s->wakers[i].announced), atomic_load(&s->wakers[i].seen),
			s->round.by_fd[i] ? ", by eventfd" : "");
	exit(1);
}

/* Waits until *word has reached @want. Two seconds in which the owner sleeps, or stays in the
 * guest, and makes no turn, are a lost wake-up. */
static void wait_seen(struct stress *s, const char *who, _Atomic uint64_t *word, uint64_t want)
{
	uint64_t begin = 0, since = 0, turns = 0;

	for (uint32_t i = 0;; i++) {
		uint64_t have = atomic_load_explicit(word, memory_order_acquire), now;

		if (have >= want)
			return;
		__builtin_ia32_pause();
		if (i % 32 != 31)
			continue;
		sched_yield();
		if (i % 4096 != 4095)
			continue;
		now = clock_monotonic_ns();
		if (!begin)
			begin = now;
		if (!since || turns != atomic_load(&s->turns)) {
			since = now;
			turns = atomic_load(&s->turns);
		}
		switch (atomic_load(&s->h.wake.state)) {
		case WAKE_SLEEPING:
		case WAKE_GUEST:
		case WAKE_KICKED:
			if (now - since > STUCK_NS)
				lost(s, who, want, have);
		}
		if (now - begin > HOPELESS_NS)
			lost(s, who, want, have);
	}
}

/* -- wakers ----------------------------------------------------------------------------------- */

static void wake_once(struct waker *w)
{
	struct stress *s = w->s;
	uint64_t n = atomic_load_explicit(&w->announced, memory_order_relaxed) + 1;

	spin_ns(&s->clock, s->round.delay_ns ? below(&w->random, s->round.delay_ns + 1) : 0);
	if (s->round.decisive && s->round.burst == 1)
		w->payload = n;
	/* Relaxed: that the owner sees it is what the wake is for. */
	atomic_store_explicit(&w->announced, n, memory_order_relaxed);
	if (s->round.by_fd[w->index]) {
		if (write(w->fd, &(uint64_t){1}, 8) != 8)
			abort();
		w->by_fd++;
	} else {
		uint32_t state = atomic_load_explicit(&s->h.wake.state, memory_order_relaxed);

		halter_wake(&s->h, BIT_WAKER(w->index));
		w->found[state]++;
		w->by_word++;
	}
}

static void *waker_thread(void *arg)
{
	struct waker *w = arg;
	struct stress *s = w->s;
	char name[16];

	snprintf(name, sizeof(name), "waker %d", w->index);
	for (;;) {
		uint64_t left, until;

		pthread_barrier_wait(&s->begin);
		if (s->round.over)
			return NULL;
		left = s->round.wakes[w->index];
		until = clock_monotonic_ns() + ROUND_MAX_NS;
		while (left && clock_monotonic_ns() < until) {
			uint32_t burst = 1 + below(&w->random, s->round.burst);

			if (burst > left)
				burst = (uint32_t)left;
			left -= burst;
			while (burst--)
				wake_once(w);
			wait_seen(s, name, &w->seen,
				  atomic_load_explicit(&w->announced, memory_order_relaxed));
			if (s->round.decisive)
				w->decisive++;
		}
		pthread_barrier_wait(&s->sent);
	}
}

/* -- the owner -------------------------------------------------------------------------------- */

static void look_at(struct stress *s, struct waker *w)
{
	uint64_t n = atomic_load_explicit(&w->announced, memory_order_relaxed);

	if (n < atomic_load_explicit(&w->seen, memory_order_relaxed)) {
		fprintf(stderr, "stress_wake: waker %d went backwards\n", w->index);
		s->failures++;
	}
	if (s->round.decisive && s->round.burst == 1 && w->payload != n) {
		fprintf(stderr,
			"stress_wake: waker %d: payload %" PRIu64 " with number %" PRIu64 "\n",
			w->index, w->payload, n);
		s->failures++;
	}
	atomic_store_explicit(&w->seen, n, memory_order_release);
}

static void on_eventfd(void *ctx, int fd)
{
	struct stress *s = ctx;
	uint64_t n;

	if (!pthread_equal(pthread_self(), s->owner)) {
		fprintf(stderr, "stress_wake: on_eventfd on somebody else's thread\n");
		s->failures++;
	}
	for (int i = 0; i < WAKERS; i++) {
		if (s->wakers[i].fd != fd)
			continue;
		if (read(fd, &n, sizeof(n)) == sizeof(n))
			look_at(s, &s->wakers[i]);
	}
}

static void must(int ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "stress_wake: %s: %s\n", what, strerror(-ret));
	exit(1);
}

/* As vcpu.c's take_work(). */
static void take_work(struct stress *s, uint32_t work)
{
	for (int i = 0; i < WAKERS; i++)
		if (work & BIT_WAKER(i))
			look_at(s, &s->wakers[i]);
	if (work & HALTER_WORK_ENGINE)
		must(halter_serve(&s->h, work), "halter_serve");
}

/* As vcpu.c's enter(), with a KVM_RUN of our own. */
static void enter(struct stress *s)
{
	uint64_t end = UINT64_MAX;

	if (s->round.guest_ns)
		end = clock_now(&s->clock) +
		      clock_ns_to_ticks(&s->clock, below(&s->random, s->round.guest_ns));
	atomic_store_explicit(&immediate_exit, 0, memory_order_relaxed);
	s->enters++; /* refused ones count: a kick may have met those as well */
	if (!halter_enter(&s->h))
		return;
	for (uint32_t i = 0; !atomic_load_explicit(&immediate_exit, memory_order_relaxed); i++) {
		if (ring_ready(&s->h.ring) || clock_now(&s->clock) >= end)
			break;
		__builtin_ia32_pause();
		if (i % 256 == 255)
			sched_yield(); /* two processors, more threads */
	}
	halter_leave(&s->h);
}

static void halt(struct stress *s)
{
	uint64_t deadline = UINT64_MAX;
	int cause = -1;

	if (!s->round.timers && below(&s->random, 32) == 0) {
		s->parks++;
		must(halter_park(&s->h), "halter_park");
		return;
	}
	if (s->round.timers)
		deadline = clock_now(&s->clock) +
			   clock_ns_to_ticks(&s->clock,
					     below(&s->random, 1u << below(&s->random, 18)));
	must(halter_halt(&s->h, deadline, &cause), "halter_halt");
	s->halts++;
	if (cause == CATNAP_CAUSE_TIMER) {
		s->expired++;
		if (clock_now(&s->clock) < deadline) {
			fprintf(stderr, "stress_wake: a halt ended before its deadline\n");
			s->failures++;
		}
	} else if (cause < 0 || cause >= CATNAP_CAUSES) {
		fprintf(stderr, "stress_wake: a halt ended for no cause\n");
		s->failures++;
	}
}

static void *owner_thread(void *arg)
{
	struct stress *s = arg;

	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	atomic_store(&s->tid, (int)syscall(SYS_gettid));
	for (;;) {
		uint32_t work = 0;

		pthread_barrier_wait(&s->begin);
		if (s->round.over)
			return NULL;
		while (!(work & BIT_END)) {
			atomic_fetch_add_explicit(&s->turns, 1, memory_order_relaxed);
			work = halter_take(&s->h);
			if (work)
				take_work(s, work);
			if (ring_ready(&s->h.ring))
				must(halter_reap(&s->h), "halter_reap");
			if (below(&s->random, 4) == 0)
				spin_ns(&s->clock, below(&s->random, 1500));
			if (work & BIT_END)
				break;
			if (below(&s->random, 8) < s->round.guest_in_8)
				enter(s);
			else
				halt(s);
		}
		pthread_barrier_wait(&s->ended);
	}
}

/* -- the coordinator -------------------------------------------------------------------------- */

static void set_policy(struct stress *s, struct random *r)
{
	struct catnap_halt_poll p;

	catnap_halt_poll_init(&p);
	p.policy = below(r, 5);
	p.max_ns = 1u << below(r, 19);
	must(catnap_halter_set_halt_poll(&s->h, &p), "set_halt_poll");
	catnap_halter_set_poll_allowed(&s->h, below(r, 8) != 0);
}

static void add_or_del(struct stress *s, int fd, bool *added)
{
	must(*added ? catnap_halter_del_eventfd(&s->h, fd) : catnap_halter_add_eventfd(&s->h, fd),
	     "eventfd");
	*added = !*added;
	s->words++;
}

static uint64_t sent(struct stress *s)
{
	uint64_t n = 0;

	for (int i = 0; i < WAKERS; i++)
		n += atomic_load(&s->wakers[i].announced);
	return n;
}

/* The next round, of @left wake-ups at most. */
static void plan(struct stress *s, struct random *r, uint64_t left)
{
	static const uint32_t delays[] = {0, 0, 100, 1000, 10000, 100000};
	static const uint32_t bursts[] = {1, 1, 4, 64, 1024};
	static const uint32_t guests[] = {0, 2, 4, 8};
	struct round *c = &s->round;
	uint64_t each, sum = 0;
	uint32_t active;
	bool no_fds;

	memset(c, 0, sizeof(*c));
	c->decisive = below(r, 2);
	c->timers = !c->decisive && below(r, 2);
	c->delay_ns = delays[below(r, 6)];
	c->burst = bursts[below(r, 5)];
	c->guest_in_8 = guests[below(r, 4)];
	c->guest_ns = c->decisive || below(r, 2) ? 0 : 1u << below(r, 16);
	/* In the ring, at times with nothing armed there, so that the owner goes back to the plain
	 * futex. */
	no_fds = below(r, 4) == 0;
	active = c->decisive ? 1u << below(r, WAKERS) : 1 + below(r, (1u << WAKERS) - 1);
	/* So many that the round lasts about as long as it is to. */
	each = ROUND_NS / (c->delay_ns / 2 + 2000 / c->burst + 100);
	if (no_fds && s->churn_added)
		add_or_del(s, s->churn_fd, &s->churn_added);
	for (int i = 0; i < WAKERS; i++) {
		if (s->mode != PLAIN && (no_fds ? s->wakers[i].fd_added : below(r, 4) == 0))
			add_or_del(s, s->wakers[i].fd, &s->wakers[i].fd_added);
		if (!(active & 1u << i))
			continue;
		c->by_fd[i] = s->wakers[i].fd_added && below(r, 2);
		c->wakes[i] = 1 + below(r, (uint32_t)(c->by_fd[i] ? each / 4 + 1 : each));
		if (c->wakes[i] > left - sum)
			c->wakes[i] = left - sum;
		sum += c->wakes[i];
	}
}

static void run_mode(struct stress *s, struct random *r, uint64_t total, uint64_t end_ns)
{
	while (sent(s) < total && clock_monotonic_ns() < end_ns && !s->failures) {
		set_policy(s, r);
		plan(s, r, total - sent(s));
		s->rounds++;
		atomic_store(&s->end_seen, 0);
		pthread_barrier_wait(&s->begin);
		/* None of this wakes the owner in a decisive round. */
		set_policy(s, r);
		if (!s->round.decisive && s->mode != PLAIN)
			for (uint32_t i = below(r, 8); i; i--)
				add_or_del(s, s->churn_fd, &s->churn_added);
		if (below(r, 4) == 0)
			spin_ns(&s->clock, below(r, 100000));
		set_policy(s, r);
		pthread_barrier_wait(&s->sent);
		s->words++;
		halter_wake(&s->h, BIT_END); /* decisive, too: nothing else is left */
		pthread_barrier_wait(&s->ended);
	}
	s->round.over = true;
	pthread_barrier_wait(&s->begin);
}

static uint64_t check(struct stress *s, uint64_t found[STATES])
{
	struct catnap_halt_stats st = {.size = sizeof(st)};
	uint64_t by_word = 0, by_fd = 0, decisive = 0, slept = 0;

	for (int i = 0; i < WAKERS; i++) {
		struct waker *w = &s->wakers[i];

		if (atomic_load(&w->announced) != atomic_load(&w->seen) ||
		    atomic_load(&w->announced) != w->by_word + w->by_fd) {
			fprintf(stderr, "stress_wake: waker %d: sent and seen differ\n", i);
			s->failures++;
		}
		by_word += w->by_word;
		by_fd += w->by_fd;
		decisive += w->decisive;
		for (int k = 0; k < STATES; k++)
			found[k] += w->found[k];
	}
	must(halter_get_stats(&s->h, &st), "get_stats");
	for (int k = 0; k < CATNAP_HIST_BUCKETS; k++)
		slept += st.halt_wait_hist[k];
	printf("%s: %" PRIu64 " rounds\n  %" PRIu64 " wake-ups, %" PRIu64
	       " of them by eventfd; %" PRIu64 " alone could bring the owner back\n"
	       "  %" PRIu64 " kicks, %" PRIu64 " futex wakes, %" PRIu64 " with no system call\n"
	       "  owner: %" PRIu64 " turns, %" PRIu64 " entries, %" PRIu64 " halts (%" PRIu64
	       " slept, %" PRIu64 " by deadline), %" PRIu64 " parks\n",
	       mode_names[s->mode], s->rounds, by_word + by_fd, by_fd, decisive, st.kicks_sent,
	       st.futex_wakes, st.kicks_saved, atomic_load(&s->turns), s->enters, s->halts, slept,
	       s->expired, s->parks);
	/* Each wake counts once at most; not at all if somebody else has just done what it would
	 * have. */
	if (st.kicks_sent != atomic_load(&s->kicks) || st.kicks_sent > s->enters ||
	    st.halt_exits != s->halts || st.wakeups[CATNAP_CAUSE_TIMER] != s->expired ||
	    st.kicks_sent + st.kicks_saved + st.futex_wakes > by_word + s->words) {
		fprintf(stderr, "stress_wake: the counters do not add up\n");
		s->failures++;
	}
	return by_word + by_fd;
}

static void start(struct stress *s, enum mode mode, uint64_t seed)
{
	struct catnap_halter_config cfg;

	memset(s, 0, sizeof(*s));
	s->mode = mode;
	clock_init(&s->clock, 0);
	catnap_halter_config_init(&cfg);
	cfg.kick = kick;
	cfg.on_eventfd = on_eventfd;
	cfg.ctx = s;
	if (mode == RING_EVENTFD)
		cfg.flags = CATNAP_HALTER_NO_RING_FUTEX;
	if (mode == NO_RING)
		cfg.flags = CATNAP_HALTER_NO_RING;
	must(halter_init(&s->h, &cfg, &(struct halter_env){.clock = &s->clock}, NULL),
	     "halter_init");
	s->churn_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pthread_barrier_init(&s->begin, NULL, WAKERS + 2);
	pthread_barrier_init(&s->sent, NULL, WAKERS + 1);
	pthread_barrier_init(&s->ended, NULL, 2);
	s->random.x = seed * 7919 + 1;
	for (int i = 0; i < WAKERS; i++) {
		struct waker *w = &s->wakers[i];

		w->s = s;
		w->index = i;
		w->random.x = seed * 7919 + 100 + (uint64_t)i;
		w->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		must(w->fd < 0 ? -errno : 0, "eventfd");
	}
	must(-pthread_create(&s->owner, NULL, owner_thread, s), "pthread_create");
	for (int i = 0; i < WAKERS; i++)
		must(-pthread_create(&s->wakers[i].thread, NULL, waker_thread, &s->wakers[i]),
		     "pthread_create");
}

static void finish(struct stress *s)
{
	pthread_join(s->owner, NULL);
	for (int i = 0; i < WAKERS; i++)
		pthread_join(s->wakers[i].thread, NULL);
	halter_fini(&s->h);
	for (int i = 0; i < WAKERS; i++)
		close(s->wakers[i].fd);
	close(s->churn_fd);
	pthread_barrier_destroy(&s->begin);
	pthread_barrier_destroy(&s->sent);
	pthread_barrier_destroy(&s->ended);
}

int main(int argc, char **argv)
{
	uint64_t wakes = 1000000, seed = 1, seconds = 600, sum = 0, begin, failures = 0;
	uint64_t found[STATES] = {0};
	struct sigaction sa = {.sa_handler = on_kick, .sa_flags = SA_RESTART};
	struct random random;
	struct stress *s;

	for (int i = 1; i + 1 < argc; i += 2) {
		uint64_t n = strtoull(argv[i + 1], NULL, 0);

		if (strcmp(argv[i], "--wakes") == 0)
			wakes = n;
		else if (strcmp(argv[i], "--seed") == 0)
			seed = n;
		else if (strcmp(argv[i], "--seconds") == 0)
			seconds = n;
		else
			argc = 0;
	}
	if (argc % 2 == 0) {
		fprintf(stderr, "usage: stress_wake [--wakes N] [--seed N] [--seconds LIMIT]\n");
		return 2;
	}
	sigaction(SIGRTMIN, &sa, NULL);
	s = aligned_alloc(_Alignof(struct stress), sizeof(*s));
	if (!s)
		return 1;
	random.x = seed * 104729 + 7;
	begin = clock_monotonic_ns();
	for (int m = 0; m < MODES; m++) {
		uint64_t part = m == MODES - 1 ? wakes - sum : wakes / MODES;

		start(s, (enum mode)m, seed + (uint64_t)m);
		run_mode(s, &random, part, begin + seconds * 1000000000u);
		sum += check(s, found);
		finish(s);
		failures += s->failures;
	}
	free(s);
	printf("all: %" PRIu64 " wake-ups in %.1f s, seed %" PRIu64 "; the owner was found in\n",
	       sum, (double)(clock_monotonic_ns() - begin) / 1e9, seed);
	for (int k = 0; k < STATES; k++) {
		printf("  %-9s %" PRIu64 "\n", state_names[k], found[k]);
		if (found[k] < STATE_MIN) {
			fprintf(stderr, "stress_wake: state %s was met too seldom\n",
				state_names[k]);
			failures++;
		}
	}
	if (sum < wakes) {
		fprintf(stderr, "stress_wake: the time was over before the wake-ups were\n");
		failures++;
	}
	return failures ? 1 : 0;
}
