/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A halter as an event loop beside epoll_wait(2): how long after an event its callback runs, and
 * what processor time the loop takes for one. Another thread signals an eventfd every 20, 200 and
 * 2,000 us: at even intervals, and at random ones of that mean (exponential). Both loops read the
 * eventfd by level. Runs alternate, and a ratio is of two that follow on each other. Prints
 * medians; neither passes nor fails. It wants two idle processors.
 *
 * Usage: bench_loop [RUNS [MILLISECONDS [plain]]]     7 runs of 500 ms; plain: without io_uring
 */
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <catnap/poll.h>

#define RUNS_MAX 100
#define STAMPS	 65536 /* sent and not yet seen: more than there can be */
#define SAMPLES	 (1u << 20)
#define SPIN_NS	 UINT64_C(80000)     /* the sender does not trust a timer closer than this */
#define WARM_NS	 UINT64_C(100000000) /* not counted: the policy learns */

enum side { EPOLL, CATNAP, SIDES };

/* The figures of a run, in us. */
enum figure { P50, P99, LOOP_CPU, SEND, FIGURES };

static const char *const names[FIGURES] = {"latency p50", "latency p99", "loop's CPU an event",
					   "sending an event"};

struct run {
	uint64_t interval_ns, ends_ns, warm_ns;
	bool random;
	uint32_t flags; /* of the halter */
	int fd;
	_Atomic uint64_t stamps[STAMPS];
	_Atomic bool sender_done;
	uint64_t sent, send_ns; /* the sender's: how many, and how long write() took for all */
	uint64_t seen;		/* the loop's, as all below */
	uint64_t cpu_from, cpu_to, counted;
	uint32_t samples[SAMPLES]; /* ns */
};

static struct run run;
static double results[SIDES][FIGURES][RUNS_MAX];

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* Returns how long it is to the next event. */
static uint64_t next_interval(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	if (!run.random)
		return run.interval_ns;
	return (uint64_t)((double)run.interval_ns *
			  -log((double)(*seed >> 11 | 1) / 9007199254740992.0));
}

static void wait_until(uint64_t at)
{
	uint64_t now = now_ns();

	if (at > now + SPIN_NS) {
		uint64_t to = at - SPIN_NS;
		const struct timespec ts = {.tv_sec = (time_t)(to / 1000000000u),
					    .tv_nsec = (long)(to % 1000000000u)};

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	}
	while (now_ns() < at)
		__builtin_ia32_pause();
}

static void *sender(void *arg)
{
	uint64_t seed = 88172645463325252u, at = now_ns();

	while (at < run.ends_ns) {
		uint64_t from;

		at += next_interval(&seed);
		wait_until(at);
		from = now_ns();
		/* One that was held up does not send all that it has missed at once. */
		if (from > at + run.interval_ns)
			at = from;
		atomic_store(&run.stamps[run.sent++ % STAMPS], from);
		if (write(run.fd, &(uint64_t){1}, sizeof(uint64_t)) < 0)
			exit(1);
		run.send_ns += now_ns() - from;
	}
	atomic_store(&run.sender_done, true);
	if (write(run.fd, &(uint64_t){1}, sizeof(uint64_t)) < 0) /* the end */
		exit(1);
	return NULL;
}

/* Takes the events that have come. */
static void ready(void *ctx, int fd, uint32_t events)
{
	uint64_t now, n;

	if (read(fd, &n, sizeof(n)) != sizeof(n))
		return;
	now = now_ns(); /* after all of their stamps */
	for (; n && run.seen < SAMPLES; n--, run.seen++) {
		uint64_t stamp = atomic_load(&run.stamps[run.seen % STAMPS]);

		if (stamp < run.warm_ns)
			continue;
		if (!run.counted)
			run.cpu_from = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		run.samples[run.counted++] = (uint32_t)(now - stamp);
	}
}

static void loop_epoll(void)
{
	struct epoll_event e = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, run.fd, &e) < 0)
		exit(1);
	while (!atomic_load(&run.sender_done))
		if (epoll_wait(epoll, &e, 1, -1) == 1)
			ready(NULL, run.fd, e.events);
	close(epoll);
}

static void loop_catnap(void)
{
	struct catnap_halter_config cfg;
	struct catnap_halter *halter;
	struct catnap_source source;

	catnap_halter_config_init(&cfg);
	cfg.flags = run.flags;
	catnap_source_init(&source);
	source.fd = run.fd;
	source.ready = ready;
	if (catnap_halter_create(&cfg, &halter) < 0 ||
	    catnap_halter_add_source(halter, &source) < 0)
		exit(1);
	while (!atomic_load(&run.sender_done))
		if (catnap_halter_halt(halter, CATNAP_NO_DEADLINE, NULL) < 0)
			exit(1);
	catnap_halter_destroy(&halter);
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(enum side side, int number, uint64_t length_ns)
{
	pthread_t thread;

	run.warm_ns = now_ns() + WARM_NS;
	run.ends_ns = run.warm_ns + length_ns;
	run.sent = run.seen = run.send_ns = run.counted = 0;
	atomic_store(&run.sender_done, false);
	run.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (run.fd < 0 || pthread_create(&thread, NULL, sender, NULL) != 0)
		exit(1);
	if (side == EPOLL)
		loop_epoll();
	else
		loop_catnap();
	run.cpu_to = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	pthread_join(thread, NULL);
	close(run.fd);
	if (!run.counted)
		exit(1);
	qsort(run.samples, run.counted, sizeof(run.samples[0]), compare_u32);
	results[side][P50][number] = run.samples[run.counted / 2] / 1e3;
	results[side][P99][number] = run.samples[run.counted * 99 / 100] / 1e3;
	results[side][LOOP_CPU][number] =
		(double)(run.cpu_to - run.cpu_from) / 1e3 / (double)run.counted;
	results[side][SEND][number] = (double)run.send_ns / 1e3 / (double)run.sent;
}

static double median(const double *values, int n)
{
	double sorted[RUNS_MAX];

	memcpy(sorted, values, (size_t)n * sizeof(*values));
	qsort(sorted, (size_t)n, sizeof(*sorted), compare_double);
	return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

static void print(int runs)
{
	for (int f = 0; f < FIGURES; f++) {
		double ratios[RUNS_MAX];

		for (int i = 0; i < runs; i++)
			ratios[i] = results[CATNAP][f][i] / results[EPOLL][f][i];
		printf("  %-20s %10.2f %10.2f %10.2f\n", names[f], median(results[EPOLL][f], runs),
		       median(results[CATNAP][f], runs), median(ratios, runs));
	}
}

int main(int argc, char **argv)
{
	static const uint64_t intervals_us[] = {20, 200, 2000};
	int runs = argc > 1 ? atoi(argv[1]) : 7;
	uint64_t length_ns = (argc > 2 ? strtoull(argv[2], NULL, 10) : 500) * 1000000;

	if (runs < 1 || runs > RUNS_MAX || length_ns == 0 || length_ns > UINT64_C(10000000000)) {
		fprintf(stderr, "usage: bench_loop [RUNS (1 to 100) [MILLISECONDS (1 to 10000) "
				"[plain]]]\n");
		return 2;
	}
	if (argc > 3 && strcmp(argv[3], "plain") == 0)
		run.flags = CATNAP_HALTER_NO_RING;
	printf("us, medians of %d runs in turn    epoll     catnap      ratio\n", runs);
	for (int random = 0; random < 2; random++)
		for (size_t i = 0; i < sizeof(intervals_us) / sizeof(intervals_us[0]); i++) {
			run.random = random;
			run.interval_ns = intervals_us[i] * 1000;
			for (int n = 0; n < runs; n++) {
				measure(EPOLL, n, length_ns);
				measure(CATNAP, n, length_ns);
			}
			printf("every %llu us, %s\n", (unsigned long long)intervals_us[i],
			       random ? "at random" : "evenly");
			print(runs);
		}
	return 0;
}
