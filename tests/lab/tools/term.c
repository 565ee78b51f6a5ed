/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A terminal for a program, for cases about one; busybox has no script(1).
 *
 *	term COLUMNS ROWS COMMAND ARGUMENT ...
 *
 * Bytes from standard input are typed, and the program's output goes to standard output; its
 * standard error stays as it is. With SIGUSR1 the terminal grows by half, both ways. Ends with the
 * program, and as that did; SIGTERM goes to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static volatile sig_atomic_t grow, ask_to_end;

static void seen(int sig)
{
	if (sig == SIGUSR1)
		grow = 1;
	else
		ask_to_end = 1;
}

static int die(const char *what)
{
	fprintf(stderr, "term: %s: %s\n", what, strerror(errno));
	exit(125);
}

/* Whether there was anything: 0 at the end of it. */
static int pass(int from, int to)
{
	static char buffer[4096];
	ssize_t n = read(from, buffer, sizeof(buffer));

	for (ssize_t done = 0; done < n;) {
		ssize_t w = write(to, buffer + done, (size_t)(n - done));

		if (w < 0 && errno != EINTR)
			die("write");
		done += w > 0 ? w : 0;
	}
	return n > 0 || (n < 0 && errno == EINTR);
}

int main(int argc, char **argv)
{
	struct winsize size = {0};
	struct sigaction act = {.sa_handler = seen};
	struct pollfd p[2] = {{.fd = 0, .events = POLLIN}, {.events = POLLIN}};
	int err = dup(2), status, fd;
	pid_t child;

	if (argc < 4) {
		fprintf(stderr, "term: wrong arguments\n");
		return 125;
	}
	size.ws_col = (unsigned short)atoi(argv[1]);
	size.ws_row = (unsigned short)atoi(argv[2]);
	child = forkpty(&fd, NULL, NULL, &size);
	if (child < 0)
		die("forkpty");
	if (!child) {
		dup2(err, 2);
		close(err);
		execvp(argv[3], argv + 3);
		die(argv[3]);
	}
	sigaction(SIGUSR1, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	p[1].fd = fd;
	while (p[1].fd >= 0) {
		/* A signal between here and poll() waits for the next turn. */
		if (poll(p, 2, 500) < 0 && errno != EINTR)
			die("poll");
		if (grow) {
			grow = 0;
			size.ws_col += size.ws_col / 2;
			size.ws_row += size.ws_row / 2;
			ioctl(fd, TIOCSWINSZ, &size);
		}
		if (ask_to_end) {
			ask_to_end = 0;
			kill(child, SIGTERM);
		}
		if (p[1].revents && !pass(fd, 1))
			p[1].fd = -1;
		if (p[0].fd >= 0 && p[0].revents && !pass(0, fd))
			p[0].fd = -1;
		p[0].revents = p[1].revents = 0;
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
