/* SPDX-License-Identifier: Apache-2.0 */
/* The words of an ivshmem server to its one client; see doorbell.h. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/bench/doorbell.h"

#define VERSION	    0
#define CLIENT	    0
#define SHARED	    -1
#define SHARED_SIZE 4096

/* Sends a number of 8 bytes, little-endian, and perhaps a descriptor. */
static int say(int sock, int64_t number, int fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.room = {0}};
	struct iovec iov = {.iov_base = &number, .iov_len = sizeof(number)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;

	if (fd >= 0) {
		msg.msg_control = control.room;
		msg.msg_controllen = sizeof(control.room);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(sock, &msg, MSG_NOSIGNAL) == sizeof(number) ? 0 : -1;
}

static int say_all(const struct bench_doorbell *d)
{
	int shared = memfd_create("ivshmem", MFD_CLOEXEC), ret = -1;

	if (shared >= 0 && ftruncate(shared, SHARED_SIZE) == 0 &&
	    say(d->server, VERSION, -1) == 0 && say(d->server, CLIENT, -1) == 0 &&
	    say(d->server, SHARED, shared) == 0 && say(d->server, CLIENT, d->event_fd) == 0)
		ret = 0;
	if (shared >= 0)
		close(shared);
	return ret;
}

int bench_doorbell_open(struct bench_run *run, struct bench_doorbell *d)
{
	int pair[2] = {-1, -1};

	*d = (struct bench_doorbell){
		.event_fd = eventfd(0, EFD_CLOEXEC), .socket = -1, .server = -1};
	if (d->event_fd >= 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0) {
		d->socket = pair[0];
		d->server = pair[1];
		if (say_all(d) == 0)
			return 0;
	}
	bench_fail(run, "an eventfd for the peer: %s", strerror(errno));
	bench_doorbell_close(d);
	return -1;
}

void bench_doorbell_close(struct bench_doorbell *d)
{
	if (d->event_fd >= 0)
		close(d->event_fd);
	if (d->socket >= 0)
		close(d->socket);
	if (d->server >= 0)
		close(d->server);
}
