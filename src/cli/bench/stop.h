/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGINT, SIGTERM and SIGHUP end the measuring of `catnap bench`, and not the process: what has
 * been measured until then is reported. A second one ends the process. The signals are blocked in
 * all threads and one thread waits for them, so that no call is interrupted that is measured.
 */
#ifndef CLI_BENCH_STOP_H
#define CLI_BENCH_STOP_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct bench_stop {
	sigset_t before; /* this thread's mask as it was, for children */
	sigset_t signals;
	pthread_t thread;
	int fd;		       /* an eventfd that can be read once a signal has come */
	int signal_fd, end_fd; /* the thread's: the signals, and its end */
	int number;	       /* atomic: that signal; 0: none yet */
};

/* Begins to take signals, before the first thread is made. Signals that are ignored stay so.
 * Returns 0 or -errno. */
int bench_stop_begin(struct bench_stop *stop);
/* Lets the signals do what they did before. */
void bench_stop_end(struct bench_stop *stop);

/* Returns the signal that came; 0: none. Cheap enough for a loop that spins. */
static inline int bench_stop_number(const struct bench_stop *stop)
{
	return __atomic_load_n(&stop->number, __ATOMIC_RELAXED);
}

/* Returns a signal's name, "SIGINT". */
const char *bench_stop_name(int number);
/* Sleeps so long, or until a signal comes. */
void bench_stop_sleep(const struct bench_stop *stop, uint64_t ns);

#endif
