/* SPDX-License-Identifier: Apache-2.0 */
/* The other end of a Linux guest's requests; see linux.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench/linux.h"
#include "cli/bench/net.h"

#define MOST 2048 /* bytes at a time */

static int set_address(int fd, unsigned long what, const char *text)
{
	struct ifreq ifr = {.ifr_flags = 0};
	struct sockaddr_in at = {.sin_family = AF_INET};

	inet_pton(AF_INET, text, &at.sin_addr);
	memcpy(&ifr.ifr_addr, &at, sizeof(at));
	strcpy(ifr.ifr_name, BENCH_TAP);
	return ioctl(fd, what, &ifr) < 0 ? -errno : 0;
}

/* Sends back what has come over the connection. False: it has ended. */
static bool answer_stream(int fd)
{
	char data[MOST];
	ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	return send(fd, data, (size_t)n, MSG_NOSIGNAL) == n;
}

static void answer_packet(int fd)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char data[MOST];
	ssize_t n = recvfrom(fd, data, sizeof(data), MSG_DONTWAIT, (struct sockaddr *)&from, &len);

	/* One that is lost the guest sends again. */
	if (n > 0)
		sendto(fd, data, (size_t)n, MSG_DONTWAIT, (struct sockaddr *)&from, len);
}

static int take_connection(int fd)
{
	int one = 1, conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	if (conn >= 0)
		setsockopt(conn, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return conn;
}

static void *echo_loop(void *ctx)
{
	struct bench_echo *e = ctx;
	struct pollfd p[] = {{.fd = e->stop, .events = POLLIN},
			     {.fd = e->udp, .events = POLLIN},
			     {.fd = e->tcp, .events = POLLIN},
			     {.fd = -1, .events = POLLIN}};

	while (poll(p, 4, -1) >= 0 || errno == EINTR) {
		if (p[0].revents)
			break;
		if (p[1].revents)
			answer_packet(e->udp);
		if (p[3].fd >= 0 && p[3].revents && !answer_stream(p[3].fd)) {
			close(p[3].fd);
			p[3].fd = -1;
		}
		if (p[2].revents && p[3].fd < 0)
			p[3].fd = take_connection(e->tcp);
		/* One connection at a time. */
		p[2].fd = p[3].fd < 0 ? e->tcp : -1;
	}
	if (p[3].fd >= 0)
		close(p[3].fd);
	return NULL;
}

static int open_socket(int type)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(BENCH_LINUX_PORT)};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;

	inet_pton(AF_INET, BENCH_LINUX_HOST, &at.sin_addr);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 &&
	    (type != SOCK_STREAM || listen(fd, 1) == 0))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void close_all(struct bench_echo *e)
{
	const int fds[] = {e->tcp, e->udp, e->stop};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

int bench_echo_start(struct bench_run *run, struct bench_echo *e)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret;

	if (fd < 0)
		return bench_fail_all(run, "a socket: %s", strerror(errno));
	ret = set_address(fd, SIOCSIFADDR, BENCH_LINUX_HOST);
	if (ret == 0)
		ret = set_address(fd, SIOCSIFNETMASK, "255.255.255.0");
	close(fd);
	if (ret < 0)
		return bench_fail_all(run, "the address of " BENCH_TAP ": %s", strerror(-ret));
	e->tcp = open_socket(SOCK_STREAM);
	e->udp = open_socket(SOCK_DGRAM);
	e->stop = eventfd(0, EFD_CLOEXEC);
	if (e->tcp >= 0 && e->udp >= 0 && e->stop >= 0) {
		ret = pthread_create(&e->thread, NULL, echo_loop, e);
		if (ret == 0)
			return 0;
		errno = ret;
	}
	ret = bench_fail_all(run, "the other end of the network: %s", strerror(errno));
	close_all(e);
	return ret;
}

void bench_echo_end(struct bench_echo *e)
{
	const uint64_t one = 1;
	ssize_t n = write(e->stop, &one, sizeof(one));

	(void)n;
	pthread_join(e->thread, NULL);
	close_all(e);
}

uint64_t bench_echo_cpu_ns(const struct bench_echo *e)
{
	struct timespec t = {0};
	clockid_t clock;

	if (pthread_getcpuclockid(e->thread, &clock) == 0)
		clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}
