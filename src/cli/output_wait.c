/* SPDX-License-Identifier: Apache-2.0 */
/* See output.h: waiting for a reader, or for an answer, with a way out. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/now.h"
#include "cli/output.h"

/* Returns until when to wait, in ns. */
static uint64_t give_up_at(const struct way_out *w)
{
	uint64_t now = now_ns();
	uint64_t at = w->patience_ns > UINT64_MAX - now ? UINT64_MAX : now + w->patience_ns;

	return w->deadline < at ? w->deadline : at;
}

static int timeout_ms(uint64_t at)
{
	uint64_t now = now_ns();

	if (at == UINT64_MAX)
		return -1;
	if (at <= now)
		return 0;
	return at - now > UINT64_C(1000000000000) ? 1000000 : (int)((at - now + 999999) / 1000000);
}

/* Returns whether a signal came; one that changes nothing, as a window's size or a helper's end, does
 * not count. */
static bool ended(struct way_out *w)
{
	struct signalfd_siginfo si;

	while (read(w->signals, &si, sizeof(si)) == sizeof(si))
		if (si.ssi_signo != SIGWINCH && si.ssi_signo != SIGTSTP &&
		    si.ssi_signo != SIGCONT && si.ssi_signo != SIGCHLD)
			w->signal = (int)si.ssi_signo;
	return w->signal != 0;
}

static int wait_for(int fd, short events, struct way_out *w)
{
	uint64_t at = give_up_at(w);

	for (;;) {
		struct pollfd p[2] = {{.fd = fd, .events = events},
				      {.fd = w->signals, .events = POLLIN}};
		int n = poll(p, 2, timeout_ms(at));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && p[0].revents)
			return 0; /* or an error, which writing or reading tells */
		if (n > 0 && p[1].revents && ended(w))
			return -EINTR;
		if (now_ns() >= at)
			return -ETIMEDOUT;
	}
}

int output_wait(int fd, struct way_out *w)
{
	return wait_for(fd, POLLOUT, w);
}

int output_await(int fd, struct way_out *w)
{
	return wait_for(fd, POLLIN, w);
}
