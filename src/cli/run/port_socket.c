/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Unix socket as the serial port's other end (unix(7)): one client at a time; the next one waits
 * until this one has gone. A client that has sent its last byte may still read.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catnap/sandbox.h>
#include "cli/bind.h"
#include "cli/now.h"
#include "cli/run/port.h"
#include "cli/printable.h"

/* The most bytes that a client that has gone may leave behind for the guest; more than a socket
 * holds. */
#define LEGACY (4u << 20)
/* How long clients wait for a descriptor before it is looked again. */
#define REST_MS 100

static int refused(const struct run_port *p, const char *why)
{
	complain("catnap run: --%s: %s: %s\n", p->option, p->path, why);
	return -1;
}

static int address(const struct run_port *p, struct sockaddr_un *addr)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(p->path) > PORT_SOCKET_PATH)
		return run_port_error(p, p->path, ENAMETOOLONG);
	memcpy(addr->sun_path, p->path, strlen(p->path));
	return 0;
}

int run_socket_clear(const struct run_port *p)
{
	struct sockaddr_un addr;
	struct stat st;
	int fd, ret;

	if (address(p, &addr) < 0)
		return -1;
	if (lstat(p->path, &st) < 0)
		return errno == ENOENT ? 0 : run_port_error(p, p->path, errno);
	if (!S_ISSOCK(st.st_mode))
		return refused(p, "exists and is not a socket");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return run_port_error(p, p->path, errno);
	ret = connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ? errno : 0;
	close(fd);
	if (ret == 0 || ret == EAGAIN)
		return refused(p, "another program listens there");
	if (ret != ECONNREFUSED)
		return run_port_error(p, p->path, ret);
	return unlink(p->path) < 0 && errno != ENOENT ? run_port_error(p, p->path, errno) : 0;
}

/* Makes the socket. No signal ends the process between its making and its being told. */
static int bind_told(struct run_port *p, const struct sockaddr_un *addr, struct outputs *outputs)
{
	sigset_t before;
	struct stat st;
	int ret;

	leftovers_hold(&before);
	ret = bind_private(p->listener, addr);
	if (ret == 0 && lstat(p->path, &st) == 0) {
		p->dev = st.st_dev;
		p->ino = st.st_ino;
		p->bound = true;
		leftovers_add(&outputs->left, p->path);
	}
	leftovers_let(&before);
	return ret ? run_port_error(p, p->path, -ret) : 0;
}

int run_socket_open(struct run_port *p, struct outputs *outputs)
{
	struct sockaddr_un addr;
	int ret;

	if (address(p, &addr) < 0 || run_socket_clear(p) < 0)
		return -1;
	p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->listener < 0)
		return run_port_error(p, p->path, errno);
	if (bind_told(p, &addr, outputs) < 0)
		return -1;
	ret = p->keeper ? catnap_keeper_add_socket(p->keeper, p->path) : 0;
	if (ret < 0) {
		p->keeper = NULL; /* then we do */
		return run_port_error(p, p->path, -ret);
	}
	return listen(p->listener, 1) < 0 ? run_port_error(p, p->path, errno) : 0;
}

int run_socket_accept(struct run_port *p)
{
	int fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	p->rest_until = 0;
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
		p->rest_until = now_ns() + REST_MS * UINT64_C(1000000);
	return fd; /* else it has gone again */
}

bool run_socket_rests(const struct run_port *p)
{
	return p->rest_until != 0;
}

int run_socket_timeout(const struct run_port *p)
{
	return p->kind == PORT_SOCKET && p->rest_until ? REST_MS : -1;
}

void run_socket_rested(struct run_port *p)
{
	if (p->rest_until && now_ns() >= p->rest_until)
		p->rest_until = 0;
}

void run_socket_prepare(const struct run_port *p, struct pollfd fds[PORT_POLLFDS])
{
	bool more = p->in >= 0 && !run_port_has_input(p);

	/* Without POLLIN it still tells that the client has gone. */
	fds[0] = (struct pollfd){.fd = p->out, .events = more ? POLLIN : 0};
	fds[1] = (struct pollfd){.fd = p->out >= 0 || run_socket_rests(p) ? -1 : p->listener,
				 .events = POLLIN};
}

static void client_gone(struct run_port *p)
{
	/* The bytes that it has sent are the guest's, and the next client is not to wait for
	 * them. */
	while (p->in >= 0 && p->used - p->given < LEGACY && run_port_read(p, PORT_READ) > 0)
		;
	run_port_close_output(p);
}

static void client_came(struct run_port *p)
{
	int fd = run_socket_accept(p);

	if (fd < 0)
		return;
	pthread_mutex_lock(&p->lock);
	p->in = p->out = fd;
	pthread_mutex_unlock(&p->lock);
}

void run_socket_dispatch(struct run_port *p, const struct pollfd fds[PORT_POLLFDS])
{
	run_socket_rested(p);
	if (fds[0].revents & (POLLHUP | POLLERR)) {
		client_gone(p);
	} else if (fds[0].revents & POLLIN) {
		ssize_t n = run_port_read(p, PORT_READ);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			p->in = -1; /* its last byte; POLLHUP says when it has gone */
	}
	if (fds[1].revents)
		client_came(p);
}

void run_socket_close(struct run_port *p)
{
	struct stat st;

	/* Not what somebody else has put there meanwhile. */
	if (p->bound && !p->keeper && lstat(p->path, &st) == 0 && st.st_dev == p->dev &&
	    st.st_ino == p->ino)
		unlink(p->path);
	if (p->listener >= 0)
		close(p->listener);
	p->listener = -1;
}
