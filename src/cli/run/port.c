/* SPDX-License-Identifier: Apache-2.0 */
/* The serial port's other end: what all kinds have in common, standard input and output, files. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/now.h"
#include "cli/run/port.h"
#include "cli/printable.h"

/* The bytes that a descriptor that poll(2) calls writable takes without blocking; at most
 * PIPE_BUF. */
#define OUTPUT_CHUNK 512
/* The time that the rest of the output has when the VM is to end. */
#define GRACE_NS UINT64_C(200000000)

void run_port_init(struct run_port *p, const char *option, enum run_port_kind kind,
		   const char *path, int fd)
{
	memset(p, 0, sizeof(*p));
	p->option = option;
	p->what = strcmp(option, "serial") == 0 ? "serial port" : option;
	p->kind = kind;
	p->path = path;
	p->fd = fd;
	p->in = p->out = p->watch = p->listener = p->stop_fd = p->writing = -1;
	p->file = (struct output)OUTPUT_NONE;
	pthread_mutex_init(&p->lock, NULL);
}

int run_port_error(const struct run_port *p, const char *path, int err)
{
	complain("catnap run: --%s: %s: %s\n", p->option, path, strerror(err));
	return -1;
}

/* Opens a file, for this user alone: a guest's console may show what is nobody else's business. */
static int file_open(struct run_port *p, struct outputs *outputs)
{
	int status = output_open(outputs, &p->file, p->option, p->path, 0600);

	p->out = p->file.fd;
	return status;
}

int run_port_open(struct run_port *p, struct outputs *outputs, int stop_fd)
{
	int ret = 0;

	p->stop_fd = stop_fd;
	switch (p->kind) {
	case PORT_STDIO:
		p->in = STDIN_FILENO;
		/* A terminal can be stopped between poll(2) and write(2), which then blocks. */
		p->out = isatty(STDOUT_FILENO) ? output_own(STDOUT_FILENO) : STDOUT_FILENO;
		break;
	case PORT_FILE:
		return file_open(p, outputs);
	case PORT_PTY:
		ret = run_pty_open(p);
		break;
	case PORT_SOCKET:
		ret = run_socket_open(p, outputs);
		break;
	case PORT_FD:
		p->out = p->fd;
		break;
	case PORT_NULL:
		break;
	}
	return ret < 0 ? CMD_ERROR : CMD_OK;
}

void run_port_start(struct run_port *p)
{
	if (p->kind == PORT_FILE)
		output_begin(&p->file);
	if (p->kind == PORT_PTY)
		complain("catnap run: the %s is %s\n", p->what, p->name);
}

void run_port_close(struct run_port *p)
{
	if (p->kind == PORT_PTY)
		run_pty_drain(p);
	if (p->kind == PORT_SOCKET)
		run_socket_close(p);
	if (p->kind == PORT_FILE)
		output_close(&p->file);
	else if (p->out > STDERR_FILENO)
		close(p->out);
	if (p->watch >= 0)
		close(p->watch);
	p->in = p->out = p->watch = -1;
	free(p->data);
	p->data = NULL;
	p->used = p->given = p->size = 0;
	pthread_mutex_destroy(&p->lock);
}

/* -- output ----------------------------------------------------------------------------------- */

/* Returns how long poll(2) may wait for a reader, in ms: -1 while the VM runs. */
static int patience(const struct run_port *p)
{
	uint64_t now;

	if (!p->give_up_at)
		return -1;
	now = now_ns();
	return now < p->give_up_at ? (int)((p->give_up_at - now + 999999) / 1000000) : 0;
}

/* Takes note of a failure. A full disk is told at the end; that nobody reads is not: that may be
 * so. */
static void failed(struct run_port *p, int err, size_t len)
{
	int none = 0;

	if (err == EPIPE || err == ECONNRESET || err == EBADF ||
	    (err == EIO && p->kind == PORT_PTY))
		return;
	atomic_compare_exchange_strong(&p->failed, &none, err);
	atomic_fetch_add(&p->lost, len);
}

/* Waits until output is taken. False: it is not, for nobody is there or the VM is to end. */
static bool wait_writable(struct run_port *p, int fd)
{
	for (;;) {
		struct pollfd fds[2] = {{.fd = fd, .events = POLLOUT},
					{.fd = p->give_up_at ? -1 : p->stop_fd, .events = POLLIN}};
		int n = poll(fds, 2, patience(p));

		if (n < 0 && errno != EINTR)
			return true;
		if (n > 0 && fds[0].revents)
			return fds[0].revents == POLLOUT;
		if (n == 0)
			return false;
		/* A reader that is only late is to have the last lines. */
		if (n > 0)
			p->give_up_at = now_ns() + GRACE_NS;
	}
}

/* Writes bytes out without blocking: a vCPU that blocks in write(2) could not be stopped. */
static void write_out(struct run_port *p, int fd, const char *bytes, size_t len)
{
	while (len && wait_writable(p, fd)) {
		ssize_t n = write(fd, bytes, len < OUTPUT_CHUNK ? len : OUTPUT_CHUNK);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0) {
			failed(p, n < 0 ? errno : EIO, len);
			break; /* nobody reads it: lost */
		}
		bytes += n;
		len -= (size_t)n;
	}
}

void run_port_output(void *ctx, const void *data, size_t len)
{
	struct run_port *p = ctx;
	bool close_it;
	int fd;

	pthread_mutex_lock(&p->lock);
	fd = p->writing = p->out;
	pthread_mutex_unlock(&p->lock);
	if (fd < 0)
		return;
	write_out(p, fd, data, len);
	pthread_mutex_lock(&p->lock);
	p->writing = -1;
	close_it = p->writing_ends;
	p->writing_ends = false;
	pthread_mutex_unlock(&p->lock);
	if (close_it)
		close(fd);
}

void run_port_close_output(struct run_port *p)
{
	int fd;

	pthread_mutex_lock(&p->lock);
	fd = p->out;
	p->in = p->out = -1;
	if (fd == p->writing) {
		p->writing_ends = true;
		fd = -1;
	}
	pthread_mutex_unlock(&p->lock);
	if (fd >= 0)
		close(fd);
}

/* -- input ------------------------------------------------------------------------------------ */

ssize_t run_port_read(struct run_port *p, size_t len)
{
	ssize_t n;

	if (p->given == p->used)
		p->given = p->used = 0;
	if (p->size - p->used < len) {
		uint8_t *data = realloc(p->data, p->used + len);

		if (!data) {
			errno = ENOMEM;
			return -1;
		}
		p->data = data;
		p->size = p->used + len;
	}
	do
		n = read(p->in, p->data + p->used, len);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		p->used += (size_t)n;
	return n;
}

static void stdio_dispatch(struct run_port *p, const struct pollfd *fd)
{
	ssize_t n;

	if (!fd->revents || p->held)
		return;
	n = run_port_read(p, PORT_READ);
	/* EIO: the terminal went to another's foreground just now; or it has hung up. */
	if (n < 0 && errno == EIO && !(fd->revents & (POLLHUP | POLLERR)))
		p->held = true;
	else if (n == 0 || (n < 0 && errno != EAGAIN))
		p->in = -1;
}

void run_port_prepare(const struct run_port *p, struct pollfd fds[PORT_POLLFDS])
{
	for (int i = 0; i < PORT_POLLFDS; i++)
		fds[i] = (struct pollfd){.fd = -1};
	if (p->kind == PORT_STDIO)
		fds[0] = (struct pollfd){.fd = p->held || run_port_has_input(p) ? -1 : p->in,
					 .events = POLLIN};
	else if (p->kind == PORT_PTY)
		run_pty_prepare(p, fds);
	else if (p->kind == PORT_SOCKET)
		run_socket_prepare(p, fds);
}

int run_port_timeout(const struct run_port *p)
{
	return p->kind == PORT_PTY ? run_pty_timeout(p) : run_socket_timeout(p);
}

void run_port_dispatch(struct run_port *p, const struct pollfd fds[PORT_POLLFDS])
{
	if (p->kind == PORT_STDIO)
		stdio_dispatch(p, &fds[0]);
	else if (p->kind == PORT_PTY)
		run_pty_dispatch(p, fds);
	else if (p->kind == PORT_SOCKET)
		run_socket_dispatch(p, fds);
}
