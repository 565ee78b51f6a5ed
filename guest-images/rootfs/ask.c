// SPDX-License-Identifier: Apache-2.0
/*
 * Workloads that ask somebody outside and wait for the answer, one question at a time.
 *
 *     run=read    disk=/dev/vda reads=2000           4 KiB each, at random, around the page cache
 *     run=tcp     peer=10.9.0.1 port=5000 requests=2000   64 bytes, which the peer sends back
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest.h"

#define BLOCK	4096
#define REQUEST 64

int read_test(void)
{
	const char *path = option("disk", "/dev/vda");
	long reads = option_number("reads", 2000), failed = 0;
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	off_t blocks = fd < 0 ? 0 : lseek(fd, 0, SEEK_END) / BLOCK;
	static char data[BLOCK] __attribute__((aligned(BLOCK)));
	struct counts c;

	if (blocks <= 0) {
		complain("%s: %s", path, fd < 0 ? strerror(errno) : "shorter than a block");
		return -1;
	}
	srandom(1);
	counts_begin(&c, "read", reads);
	for (long i = 0; i < reads; i++)
		failed += pread(fd, data, BLOCK, random() % blocks * BLOCK) != BLOCK;
	counts_end(&c);
	close(fd);
	if (failed)
		complain("read: %ld of %ld reads failed", failed, reads);
	return failed ? -1 : 0;
}

/* Returns a connection to the peer, or -1. */
static int dial(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)option_number("port", 5000))};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	inet_pton(AF_INET, option("peer", "10.9.0.1"), &at.sin_addr);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&at, sizeof(at)) &&
	    !setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		return fd;
	complain("tcp: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

int tcp_test(void)
{
	long requests = option_number("requests", 2000), failed = 0;
	char data[REQUEST] = "";
	struct counts c;
	int fd = dial();

	if (fd < 0)
		return -1;
	counts_begin(&c, "tcp", requests);
	for (long i = 0; i < requests && !failed; i++)
		failed = write(fd, data, REQUEST) != REQUEST ||
			 recv(fd, data, REQUEST, MSG_WAITALL) != REQUEST;
	counts_end(&c);
	close(fd);
	if (failed)
		complain("tcp: ended early");
	return failed ? -1 : 0;
}
