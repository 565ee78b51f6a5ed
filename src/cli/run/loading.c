/* SPDX-License-Identifier: Apache-2.0 */
/* See loading.h. */
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/now.h"
#include "cli/printable.h"
#include "cli/run/loading.h"
#include "cli/run/run.h"

#define DAY_MS 86400000

/* Ends the process by a signal. The handler that removes what is left behind runs here: the main
 * thread may not get to it. */
static void end_by_signal(const struct loading *l)
{
	struct signalfd_siginfo si;
	sigset_t one;

	if (read(l->signals, &si, sizeof(si)) != sizeof(si))
		return;
	sigemptyset(&one);
	sigaddset(&one, (int)si.ssi_signo);
	pthread_sigmask(SIG_UNBLOCK, &one, NULL);
	raise((int)si.ssi_signo);
}

static _Noreturn void end_by_timeout(const struct loading *l)
{
	complain("catnap run: --timeout: the time is over\n");
	leftovers_now(l->left);
	_exit(RUN_TIMEOUT);
}

static int wait_ms(uint64_t deadline)
{
	uint64_t now = now_ns(), ms;

	if (deadline == UINT64_MAX)
		return -1;
	ms = deadline > now ? (deadline - now + 999999) / 1000000 : 0;
	return ms > DAY_MS ? DAY_MS : (int)ms;
}

static void *watch(void *arg)
{
	const struct loading *l = arg;
	struct pollfd p[2] = {{.fd = l->done, .events = POLLIN},
			      {.fd = l->signals, .events = POLLIN}};

	for (;;) {
		int n = poll(p, 2, wait_ms(l->deadline));

		if (n > 0 && p[0].revents)
			return NULL;
		if (n > 0 && p[1].revents)
			end_by_signal(l);
		if (n == 0 && now_ns() >= l->deadline)
			end_by_timeout(l);
	}
}

static void close_all(const struct loading *l)
{
	if (l->signals >= 0)
		close(l->signals);
	if (l->done >= 0)
		close(l->done);
}

void loading_begin(struct loading *l, struct leftovers *left, uint64_t deadline)
{
	sigset_t set;

	*l = (struct loading){.left = left, .deadline = deadline};
	ending_signals(&set);
	l->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	l->done = eventfd(0, EFD_CLOEXEC);
	sigprocmask(SIG_BLOCK, &set, &l->before);
	l->on = l->signals >= 0 && l->done >= 0 && pthread_create(&l->thread, NULL, watch, l) == 0;
	if (l->on)
		return;
	sigprocmask(SIG_SETMASK, &l->before, NULL);
	close_all(l);
}

void loading_end(struct loading *l)
{
	const uint64_t one = 1;

	if (!l->on)
		return;
	while (write(l->done, &one, sizeof(one)) < 0)
		;
	pthread_join(l->thread, NULL);
	close_all(l);
	sigprocmask(SIG_SETMASK, &l->before, NULL);
	l->on = false;
}
