/* SPDX-License-Identifier: Apache-2.0 */
/* Two threads, each on a processor of its own where there are two; see host_price.h. */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/bench/crossover.h"
#include "cli/bench/guest.h"
#include "cli/bench/host_price.h"

#define SLEEP_NS 50000 /* until the other one is surely asleep */

struct other {
	pthread_t thread;
	int what, fd;
	int32_t processor; /* -1: any */
	uint32_t word;	   /* asked for; FUTEX: what is waited for */
	uint32_t answered;
	uint32_t ready;
	bool end;
};

/* Of the one thread that is sent the signal while a price is measured. */
static __thread uint32_t *signals;

static void on_signal(int number)
{
	__atomic_add_fetch(signals, 1, __ATOMIC_RELEASE);
}

static void wait_futex(struct other *o, uint32_t seen)
{
	while (bench_load(&o->word) == seen)
		syscall(SYS_futex, &o->word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void *other_main(void *arg)
{
	struct other *o = arg;
	struct bench_pinned pinned;
	uint64_t count;

	if (o->processor >= 0)
		bench_pin(&pinned, o->processor);
	signals = &o->answered;
	__atomic_store_n(&o->ready, 1, __ATOMIC_RELEASE);
	for (uint32_t n = 0; !__atomic_load_n(&o->end, __ATOMIC_ACQUIRE); n++) {
		if (o->what == BENCH_PRICE_SIGNAL) {
			__builtin_ia32_pause();
			continue;
		}
		if (o->what == BENCH_PRICE_FUTEX)
			wait_futex(o, n);
		else if (read(o->fd, &count, sizeof(count)) < 0)
			break;
		__atomic_store_n(&o->answered, n + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void reach(struct other *o, uint32_t n)
{
	const uint64_t one = 1;

	if (o->what == BENCH_PRICE_SIGNAL) {
		pthread_kill(o->thread, SIGURG);
	} else if (o->what == BENCH_PRICE_FUTEX) {
		__atomic_store_n(&o->word, n, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, &o->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	} else if (write(o->fd, &one, sizeof(one)) < 0) {
		return; /* it does not answer, which is said */
	}
}

static int measure(struct bench_run *run, struct other *o, uint64_t *took, uint32_t n)
{
	uint64_t gap = (uint64_t)SLEEP_NS * run->tsc_khz / 1000000, from;

	if (bench_spin_until(run, &o->ready, 1, "begin") < 0)
		return -1;
	for (uint32_t i = 1; i <= n + WARMUP; i++) {
		if (bench_spin_gap(run, bench_ticks() + gap) < 0)
			return -1;
		from = bench_ticks();
		reach(o, i);
		if (i > WARMUP)
			took[i - WARMUP - 1] = bench_ticks() - from;
		if (bench_spin_until(run, &o->answered, i, "answer") < 0)
			return -1;
	}
	return 0;
}

int bench_host_price(struct bench_run *run, int what, uint64_t *took, uint32_t n)
{
	struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
	struct other o = {.what = what, .processor = -1};
	struct bench_pinned pinned = {0};
	int32_t sender;
	int ret;

	o.fd = eventfd(0, EFD_CLOEXEC);
	if (o.fd < 0)
		return bench_fail(run, "eventfd: %s", strerror(errno));
	if (run->cfg->pin == BENCH_PIN_ON && bench_processors(&o.processor, 1, &sender))
		bench_pin(&pinned, sender);
	sigaction(SIGURG, &act, &before);
	ret = pthread_create(&o.thread, NULL, other_main, &o);
	if (ret == 0) {
		ret = measure(run, &o, took, n);
		__atomic_store_n(&o.end, true, __ATOMIC_RELEASE);
		if (what != BENCH_PRICE_SIGNAL)
			reach(&o, UINT32_MAX);
		pthread_join(o.thread, NULL);
	} else {
		ret = bench_fail(run, "pthread_create: %s", strerror(ret));
	}
	sigaction(SIGURG, &before, NULL);
	bench_unpin(&pinned);
	close(o.fd);
	return ret;
}
