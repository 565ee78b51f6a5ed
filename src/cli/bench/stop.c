/* SPDX-License-Identifier: Apache-2.0 */
/* How signals end a measurement, see stop.h. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
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

/* Waits for a signal and returns it; 0: no more are waited for. */
static int next_signal(const struct bench_stop *stop)
{
	struct pollfd p[] = {{.fd = stop->end_fd, .events = POLLIN},
			     {.fd = stop->signal_fd, .events = POLLIN}};
	struct signalfd_siginfo info;

	for (;;) {
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[0].revents)
			return 0;
		if (read(stop->signal_fd, &info, sizeof(info)) == sizeof(info))
			return (int)info.ssi_signo;
	}
}

/* Is ended by a descriptor: pthread_cancel() would need libgcc_s.so, which an empty root lacks. */
static void *wait_for_signals(void *arg)
{
	struct bench_stop *stop = arg;
	int number = next_signal(stop);

	if (!number)
		return NULL;
	__atomic_store_n(&stop->number, number, __ATOMIC_RELAXED);
	if (write(stop->fd, &(uint64_t){1}, sizeof(uint64_t)) < 0)
		die_of(number);
	number = next_signal(stop);
	if (number)
		die_of(number);
	return NULL;
}

static void close_all(struct bench_stop *stop)
{
	const int fds[] = {stop->fd, stop->end_fd, stop->signal_fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* Opens what is waited for. Returns 0 or -errno. */
static int open_all(struct bench_stop *stop)
{
	int ret;

	stop->fd = eventfd(0, EFD_CLOEXEC);
	stop->end_fd = eventfd(0, EFD_CLOEXEC);
	stop->signal_fd = signalfd(-1, &stop->signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (stop->fd >= 0 && stop->end_fd >= 0 && stop->signal_fd >= 0)
		return 0;
	ret = -errno;
	close_all(stop);
	return ret;
}

int bench_stop_begin(struct bench_stop *stop)
{
	struct sigaction now;
	int ret;

	*stop = (struct bench_stop){.number = 0};
	sigemptyset(&stop->signals);
	for (size_t i = 0; i < N_ENDING; i++)
		if (sigaction(ending[i].number, NULL, &now) == 0 && now.sa_handler != SIG_IGN)
			sigaddset(&stop->signals, ending[i].number);
	ret = open_all(stop);
	if (ret < 0)
		return ret;
	pthread_sigmask(SIG_BLOCK, &stop->signals, &stop->before);
	ret = pthread_create(&stop->thread, NULL, wait_for_signals, stop);
	if (ret == 0)
		return 0;
	pthread_sigmask(SIG_SETMASK, &stop->before, NULL);
	close_all(stop);
	return -ret;
}

void bench_stop_end(struct bench_stop *stop)
{
	ssize_t n = write(stop->end_fd, &(uint64_t){1}, sizeof(uint64_t));

	(void)n;
	pthread_join(stop->thread, NULL);
	pthread_sigmask(SIG_SETMASK, &stop->before, NULL);
	close_all(stop);
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
