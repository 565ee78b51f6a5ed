/* SPDX-License-Identifier: Apache-2.0 */
/* How signals end a measurement, see stop.h. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench/stop.h"

/* A sleep that is shorter is not worth another call than the one that it always was. */
#define SHORT_NS 50000000

static const struct {
	int number;
	const char *name;
} ending[] = {{SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}, {SIGHUP, "SIGHUP"}};

#define N_ENDING (sizeof(ending) / sizeof(ending[0]))

const char *bench_stop_name(int number)
{
	for (size_t i = 0; i < N_ENDING; i++)
		if (ending[i].number == number)
			return ending[i].name;
	return "a signal";
}

/* Dies of the signal, as it would have done without us: what leftovers.h is told of goes. */
static void die_of(int number)
{
	sigset_t one;

	sigemptyset(&one);
	sigaddset(&one, number);
	pthread_sigmask(SIG_UNBLOCK, &one, NULL);
	raise(number);
}

static void *wait_for_signals(void *arg)
{
	struct bench_stop *stop = arg;
	int number;

	while (sigwait(&stop->signals, &number) != 0)
		;
	__atomic_store_n(&stop->number, number, __ATOMIC_RELAXED);
	if (write(stop->fd, &(uint64_t){1}, sizeof(uint64_t)) < 0)
		die_of(number);
	while (sigwait(&stop->signals, &number) != 0)
		;
	die_of(number);
	return NULL;
}

int bench_stop_begin(struct bench_stop *stop)
{
	struct sigaction now;
	int ret;

	*stop = (struct bench_stop){.fd = eventfd(0, EFD_CLOEXEC)};
	if (stop->fd < 0)
		return -errno;
	sigemptyset(&stop->signals);
	for (size_t i = 0; i < N_ENDING; i++)
		if (sigaction(ending[i].number, NULL, &now) == 0 && now.sa_handler != SIG_IGN)
			sigaddset(&stop->signals, ending[i].number);
	pthread_sigmask(SIG_BLOCK, &stop->signals, &stop->before);
	ret = pthread_create(&stop->thread, NULL, wait_for_signals, stop);
	if (ret == 0)
		return 0;
	pthread_sigmask(SIG_SETMASK, &stop->before, NULL);
	close(stop->fd);
	return -ret;
}

void bench_stop_end(struct bench_stop *stop)
{
	pthread_cancel(stop->thread);
	pthread_join(stop->thread, NULL);
	pthread_sigmask(SIG_SETMASK, &stop->before, NULL);
	close(stop->fd);
}

void bench_stop_sleep(const struct bench_stop *stop, uint64_t ns)
{
	struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u),
			      .tv_nsec = (long)(ns % 1000000000u)};
	struct pollfd p = {.fd = stop->fd, .events = POLLIN};

	if (ns < SHORT_NS)
		nanosleep(&ts, NULL);
	else
		ppoll(&p, 1, &ts, NULL);
}
