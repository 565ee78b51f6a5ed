// SPDX-License-Identifier: Apache-2.0
/*
 * Workloads that ask somebody outside and wait for the answer, one question at a time.
 *
 *     run=read    disk=/dev/vda reads=2000           4 KiB each, at random, around the page cache
 *                 pattern=1: each 8 bytes of the disk hold their own number
 *     run=tcp     peer=10.9.0.1 port=5000 requests=2000   64 bytes, which the peer sends back
 *     run=udp     the same, each in one packet
 *     address=10.9.0.2                               of eth0, in a network of 256
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "guest.h"

#define BLOCK	4096
#define REQUEST 64
#define TRIES	10 /* of a packet that gets lost */

/* -- the network ------------------------------------------------------------------------------ */

static bool set_address(int fd, unsigned long what, const char *text)
{
	struct ifreq ifr = {.ifr_name = "eth0"};
	struct sockaddr_in at = {.sin_family = AF_INET};

	inet_pton(AF_INET, text, &at.sin_addr);
	memcpy(&ifr.ifr_addr, &at, sizeof(at));
	return ioctl(fd, what, &ifr) == 0;
}

void network(void)
{
	const char *address = option("address", NULL);
	struct ifreq ifr = {.ifr_name = "eth0", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = address ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;

	if (!address)
		return;
	if (fd < 0 || !set_address(fd, SIOCSIFADDR, address) ||
	    !set_address(fd, SIOCSIFNETMASK, "255.255.255.0") || ioctl(fd, SIOCSIFFLAGS, &ifr))
		complain("eth0: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* -- a disk ----------------------------------------------------------------------------------- */

/* Returns whether each 8 bytes of a block hold their own number on the disk. */
static bool has_pattern(const char *data, off_t block)
{
	uint64_t word;

	for (size_t i = 0; i < BLOCK / sizeof(word); i++) {
		memcpy(&word, data + i * sizeof(word), sizeof(word));
		if (word != (uint64_t)block * (BLOCK / sizeof(word)) + i)
			return false;
	}
	return true;
}

int read_test(void)
{
	const char *path = option("disk", "/dev/vda");
	long reads = option_number("reads", 2000), failed = 0;
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	off_t blocks = fd < 0 ? 0 : lseek(fd, 0, SEEK_END) / BLOCK;
	static char data[BLOCK] __attribute__((aligned(BLOCK)));
	const bool pattern = option_number("pattern", 0);
	struct samples s;
	struct counts c;

	if (blocks <= 0) {
		complain("%s: %s", path, fd < 0 ? strerror(errno) : "shorter than a block");
		return -1;
	}
	if (!samples_begin(&s, "read", reads))
		return -1;
	srandom(1);
	counts_begin(&c, "read", reads);
	for (long i = 0; i < reads; i++) {
		off_t block = random() % blocks;
		int64_t begin = now_ns();
		bool whole = pread(fd, data, BLOCK, block * BLOCK) == BLOCK;

		samples_add(&s, now_ns() - begin);
		failed += !whole || (pattern && !has_pattern(data, block));
	}
	counts_end(&c);
	samples_end(&s, reads - failed);
	close(fd);
	if (failed)
		complain("read: %ld of %ld reads failed", failed, reads);
	return failed ? -1 : 0;
}

/* -- requests --------------------------------------------------------------------------------- */

/* Returns a socket that is connected to the peer, or -1. */
static int dial(int type, const char *name)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)option_number("port", 5000))};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), on = 1;

	inet_pton(AF_INET, option("peer", "10.9.0.1"), &at.sin_addr);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&at, sizeof(at)) &&
	    (type != SOCK_STREAM || !setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))))
		return fd;
	complain("%s: %s", name, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Fills a request of which no byte is as in the one before. */
static void fill(char *data, long number)
{
	memset(data, (int)number, REQUEST);
	memcpy(data, &number, sizeof(number));
}

/* Sends a request and takes what comes back for it. */
static bool request(int fd, bool stream, long number)
{
	char data[REQUEST], back[REQUEST];
	ssize_t n;

	fill(data, number);
	for (int tries = 0; tries < TRIES; tries++) {
		if (write(fd, data, REQUEST) != REQUEST)
			return false;
		/* The answer to one that was sent twice may come late. */
		do
			n = recv(fd, back, REQUEST, stream ? MSG_WAITALL : 0);
		while (n == REQUEST && !stream && memcmp(back, data, sizeof(number)));
		if (n == REQUEST)
			return !memcmp(back, data, REQUEST);
		if (stream || errno != EAGAIN)
			return false;
	}
	return false;
}

static int requests(int type, const char *name)
{
	const long n = option_number("requests", 2000);
	const struct timeval second = {.tv_sec = 1};
	struct samples s;
	struct counts c;
	int fd = dial(type, name);
	long good = 0;

	if (fd < 0 || !samples_begin(&s, name, n))
		return -1;
	if (type == SOCK_DGRAM)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	counts_begin(&c, name, n);
	for (; good < n; good++) {
		int64_t begin = now_ns();

		if (!request(fd, type == SOCK_STREAM, good))
			break;
		samples_add(&s, now_ns() - begin);
	}
	counts_end(&c);
	samples_end(&s, good);
	close(fd);
	if (good < n)
		complain("%s: ended early", name);
	return good < n ? -1 : 0;
}

int tcp_test(void)
{
	return requests(SOCK_STREAM, "tcp");
}

int udp_test(void)
{
	return requests(SOCK_DGRAM, "udp");
}
