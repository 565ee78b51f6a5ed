/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock of the poll loop: the TSC where it is invariant, CLOCK_MONOTONIC where it is not. Its
 * unit is the tick; conversions are one multiplication and a shift. A struct clock does not change
 * after clock_init*() and may be read from any thread.
 */
#ifndef POLL_CLOCK_H
#define POLL_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct clock {
	bool tsc;	   /* ticks are TSC ticks; otherwise nanoseconds of CLOCK_MONOTONIC */
	uint32_t khz;	   /* ticks per millisecond */
	uint64_t to_ns;	   /* ns per tick, 32.32 fixed point */
	uint64_t to_ticks; /* ticks per ns, 32.32 fixed point */
};

/* Sets *@c up. @tsc_khz: the TSC's frequency as the hypervisor interface tells it
 * (KVM_GET_TSC_KHZ); 0: find it out. */
void clock_init(struct clock *c, uint32_t tsc_khz);

/* Returns the time of clock @id, which is one that cannot fail: the system's, or the calling
 * thread's. */
static inline uint64_t clock_read_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline uint64_t clock_monotonic_ns(void)
{
	return clock_read_ns(CLOCK_MONOTONIC);
}

/* Returns @ns as a timespec. */
static inline struct timespec clock_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u),
				 .tv_nsec = (long)(ns % 1000000000u)};
}

/* Returns the time @ns from now on CLOCK_MONOTONIC, for a wait; some 290 years at most. */
static inline struct timespec clock_timespec_after(uint64_t ns)
{
	uint64_t now = clock_monotonic_ns();

	return clock_timespec(ns > INT64_MAX - now ? INT64_MAX : now + ns);
}

/* Makes a condition whose waits are until a time of CLOCK_MONOTONIC. Returns 0 or a negative errno
 * value. */
int clock_cond_init(pthread_cond_t *cond);

/* Returns the time in ticks. */
static inline uint64_t clock_now(const struct clock *c)
{
	if (__builtin_expect(c->tsc, 1))
		return __builtin_ia32_rdtsc();
	return clock_monotonic_ns();
}

static inline uint64_t clock_ticks_to_ns(const struct clock *c, uint64_t ticks)
{
	return (uint64_t)(((unsigned __int128)ticks * c->to_ns) >> 32);
}

/* Returns @ns in ticks. It saturates at UINT64_MAX, which stands for "never" wherever ticks are a
 * deadline. */
static inline uint64_t clock_ns_to_ticks(const struct clock *c, uint64_t ns)
{
	unsigned __int128 t = ((unsigned __int128)ns * c->to_ticks) >> 32;

	return t > UINT64_MAX ? UINT64_MAX : (uint64_t)t;
}

/* Returns @a + @b, or UINT64_MAX if that is too much. */
static inline uint64_t clock_add(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

/* The same from a moment that may lie before the clock's 0; then the sum is 0 at the least. */
static inline uint64_t clock_add_from(int64_t a, uint64_t b)
{
	uint64_t before = -(uint64_t)a;

	if (a >= 0)
		return clock_add((uint64_t)a, b);
	return b > before ? b - before : 0;
}

#endif
