/* SPDX-License-Identifier: Apache-2.0 */
/* The network of `catnap bench echo`, see net.h; packet(7), netdevice(7), tun.rst. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/bench/net.h"

#define ETHERTYPE	0x88b5
#define IGNORE_OUTGOING 23 /* PACKET_IGNORE_OUTGOING, Linux 4.20 */
#define DISABLE_IPV6	"/proc/sys/net/ipv6/conf/default/disable_ipv6"

/* Silences the new interface, without neighbour discovery: nobody is to talk to the guest but
 * we. */
static void silence(void)
{
	int fd = open(DISABLE_IPV6, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return; /* no IPv6 at all */
	n = write(fd, "1", 1);
	(void)n;
	close(fd);
}

/* Makes or removes the interface. It exists as long as it is persistent; QEMU and the VM open it by
 * its name. */
static int tap(int persist)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	strcpy(ifr.ifr_name, BENCH_TAP);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETPERSIST, persist) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static int bring_up(struct bench_net *net)
{
	struct ifreq ifr = {.ifr_flags = 0};
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret = 0;

	if (sock < 0)
		return -errno;
	strcpy(ifr.ifr_name, BENCH_TAP);
	if (ioctl(sock, SIOCGIFINDEX, &ifr) < 0) {
		ret = -errno;
	} else {
		net->index = ifr.ifr_ifindex;
		ifr.ifr_flags = IFF_UP;
		if (ioctl(sock, SIOCSIFFLAGS, &ifr) < 0)
			ret = -errno;
	}
	close(sock);
	return ret;
}

int bench_net_open(struct bench_run *run, struct bench_net *net)
{
	int ret;

	/* Each time: the one before goes when nobody is in it, and with it what was left. */
	if (unshare(CLONE_NEWNET) < 0)
		return bench_fail_all(run, "a network namespace: %s", strerror(errno));
	silence();
	ret = tap(1);
	if (ret == 0)
		ret = bring_up(net);
	if (ret < 0)
		return bench_fail_all(run, "the TAP device " BENCH_TAP ": %s", strerror(-ret));
	return 0;
}

void bench_net_close(struct bench_net *net)
{
	tap(0);
	net->index = 0;
}

int bench_net_socket(struct bench_run *run, const struct bench_net *net)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETHERTYPE),
				 .sll_ifindex = net->index};
	int sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETHERTYPE)), one = 1;

	if (sock < 0 || bind(sock, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    setsockopt(sock, SOL_PACKET, IGNORE_OUTGOING, &one, sizeof(one)) < 0) {
		bench_fail_all(run, "a packet socket: %s", strerror(errno));
		if (sock >= 0)
			close(sock);
		return -1;
	}
	return sock;
}

void bench_frame_init(struct bench_frame *f, uint32_t number)
{
	memset(f, 0, sizeof(*f));
	memset(f->to, 0xff, sizeof(f->to));
	f->from[0] = 2;
	f->type = htons(ETHERTYPE);
	f->number = number;
}

int bench_frame_send(int sock, const struct bench_frame *f)
{
	ssize_t n = send(sock, f, sizeof(*f), 0);

	return n == (ssize_t)sizeof(*f) ? 0 : n < 0 ? -errno : -EIO;
}

int bench_frame_receive(int sock, uint32_t number, int timeout_ms)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	struct bench_frame f;

	for (;;) {
		int ret = poll(&p, 1, timeout_ms);
		ssize_t n;

		if (ret == 0)
			return -ETIMEDOUT;
		if (ret < 0 && errno != EINTR)
			return -errno;
		n = recv(sock, &f, sizeof(f), MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n >= (ssize_t)offsetof(struct bench_frame, rest) && f.number == number)
			return 0;
	}
}

int bench_frame_take(int sock, uint32_t *number)
{
	struct bench_frame f;
	ssize_t n = recv(sock, &f, sizeof(f), MSG_DONTWAIT);

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	*number = n >= (ssize_t)offsetof(struct bench_frame, rest) ? f.number : 0;
	return 0;
}
