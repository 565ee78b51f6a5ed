/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pseudo-terminal as the serial port's other end (pty(7)). Programs open and close it as they
 * like. While none has it open, the master is hung up, which poll(2) reports all the time: then not
 * the master is waited for but, with inotify(7), that somebody opens the slave; or it is looked at
 * from time to time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/run/port.h"

/* Looks at what a reader has left, and how many of them must see nothing, or no progress. */
#define DRAIN_STEP_NS 10000000
#define LOOK_MS	      100 /* whether somebody has opened it, where inotify does not tell */
#define DRAIN_EMPTY   5	  /* 50 ms */
#define DRAIN_STANDS  40  /* 400 ms */
#define DRAIN_LOOKS   1000

/* Watches the pty. There may be no instance to be had, or no watch (a limit for each user): then it
 * is looked at from time to time. */
static void watch(struct run_port *p)
{
	p->watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (p->watch >= 0 && inotify_add_watch(p->watch, p->name, IN_OPEN) < 0) {
		close(p->watch);
		p->watch = -1;
	}
}

int run_pty_open(struct run_port *p)
{
	struct termios mode;
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC), slave = -1;

	p->in = p->out = master;
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		return run_port_error(p, "pty", errno);
	if (ptsname_r(master, p->name, sizeof(p->name)) != 0)
		return run_port_error(p, "pty", errno);
	slave = open(p->name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return run_port_error(p, p->name, errno);
	/* The guest has a line discipline of its own; programs that set nothing are to see just
	 * what it sends. */
	if (tcgetattr(slave, &mode) == 0) {
		cfmakeraw(&mode);
		tcsetattr(slave, TCSANOW, &mode);
	}
	watch(p);
	/* From now on it is hung up, until somebody opens it. */
	close(slave);
	return 0;
}

int run_pty_timeout(const struct run_port *p)
{
	return p->watch < 0 && !p->attached ? LOOK_MS : -1;
}

void run_pty_prepare(const struct run_port *p, struct pollfd fds[PORT_POLLFDS])
{
	fds[0] = (struct pollfd){.fd = p->attached && !run_port_has_input(p) ? p->in : -1,
				 .events = POLLIN};
	fds[1] = (struct pollfd){.fd = p->watch, .events = POLLIN};
}

static bool hung_up(const struct run_port *p)
{
	struct pollfd fd = {.fd = p->in, .events = POLLIN};

	return poll(&fd, 1, 0) == 1 && (fd.revents & (POLLHUP | POLLIN)) == POLLHUP;
}

void run_pty_dispatch(struct run_port *p, const struct pollfd fds[PORT_POLLFDS])
{
	char events[1024];

	if (fds[0].revents & POLLIN) {
		/* EIO: closed just now. */
		if (run_port_read(p, PORT_READ) < 0 && errno == EIO)
			p->attached = false;
	} else if (fds[0].revents) {
		p->attached = false;
	}
	/* A process that opened it may be gone again, but what it sent is there. */
	if (fds[1].revents) {
		while (read(p->watch, events, sizeof(events)) > 0)
			;
		p->attached = !hung_up(p);
	}
	if (p->watch < 0 && !p->attached)
		p->attached = !hung_up(p);
}

/*
 * Waits until the reader has read all. The master's end takes with it what its reader has not read
 * yet: often the most telling lines. The kernel tells only what stands in the line discipline's
 * buffer (4 KiB), which a worker fills again from up to 64 KiB behind it: to be found empty once
 * means nothing.
 */
void run_pty_drain(struct run_port *p)
{
	const struct timespec step = {.tv_nsec = DRAIN_STEP_NS};
	int slave = -1, left = 0, before = 0, same = 0;

	if (p->out < 0 || hung_up(p))
		return;
	/* Not by its name, which the sandbox may have put out of reach. */
	slave = ioctl(p->out, TIOCGPTPEER, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (slave < 0)
		return;
	for (int i = 0; i < DRAIN_LOOKS; i++) {
		if (ioctl(slave, FIONREAD, &left) < 0)
			break;
		same = left == before ? same + 1 : 0;
		before = left;
		if (same >= (left == 0 ? DRAIN_EMPTY : DRAIN_STANDS))
			break;
		nanosleep(&step, NULL);
	}
	close(slave);
}
