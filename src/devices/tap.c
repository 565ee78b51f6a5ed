/* SPDX-License-Identifier: Apache-2.0 */
/* See tap.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "devices/tap.h"
#include "lingering.h"

#define TAP_HEADER 12

/* Opens a queue. Returns its descriptor, or -errno of what failed. */
static int open_queue(const char *name, short flags)
{
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int header = TAP_HEADER, ret;
	struct ifreq ifr = {.ifr_flags = flags};

	if (fd < 0)
		return -errno;
	memcpy(ifr.ifr_name, name, strlen(name)); /* its length has been checked */
	if (ioctl(fd, TUNSETIFF, &ifr) == 0 && ioctl(fd, TUNSETVNETHDRSZ, &header) == 0 &&
	    ioctl(fd, TUNSETOFFLOAD, 0) == 0)
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

/* The same, for one of @queues, of an interface that may have been made for one or for several. */
static int open_either(const char *name, unsigned int queues, short flags)
{
	int ret = open_queue(name, flags);

	if (ret == -EINVAL && queues == 1)
		ret = open_queue(name, (short)(flags | IFF_MULTI_QUEUE));
	return ret;
}

static int refused(const char *name, unsigned int queues, int ret, struct error *err)
{
	const char *text = strerror(-ret);

	if (ret == -EBUSY)
		text = "another program has it";
	else if (ret == -EINVAL)
		text = queues > 1 ? "not a TAP interface that was made with multi_queue"
				  : "not a TAP interface";
	else if (ret == -EPERM)
		text = "not yours, and CAP_NET_ADMIN is missing";
	else if (ret == -ENOENT)
		text = "/dev/net/tun is missing: is the tun module loaded?";
	else if (ret == -EACCES)
		text = "/dev/net/tun: permission denied";
	return error_fail(err, ret, "%s: %s", name, text);
}

int tap_open(struct tap *tap, const char *name, unsigned int queues, struct error *err)
{
	short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	unsigned int tries = 0;
	int ret;

	memset(tap, 0, sizeof(*tap));
	if (strlen(name) >= IFNAMSIZ)
		return error_fail(err, -ENAMETOOLONG,
				  "%s: the name of an interface has %d characters at most", name,
				  IFNAMSIZ - 1);
	/* The kernel would make one, which nobody has configured. */
	if (!if_nametoindex(name))
		return error_fail(err, -ENODEV, "%s: no such interface", name);
	if (queues > 1)
		flags |= IFF_MULTI_QUEUE;
	for (unsigned int i = 0; i < queues; i++) {
		do
			ret = open_either(name, queues, flags);
		while (ret == -EBUSY && lingering_wait(&tries));
		if (ret < 0) {
			tap_close(tap);
			return refused(name, queues, ret, err);
		}
		tap->fds[tap->queues++] = ret;
	}
	tap->attached = queues;
	return 0;
}

/* Makes @fd, which is one of @queues, ready for use. */
static int take_queue(int fd, unsigned int queues, struct ifreq *ifr, struct error *err)
{
	const short needed = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	int header = TAP_HEADER, flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return error_fail(err, -errno, "descriptor %d: %s", fd, strerror(errno));
	if (ioctl(fd, TUNGETIFF, ifr) < 0)
		return error_fail(err, -EINVAL, "descriptor %d: not a queue of a TAP interface",
				  fd);
	if ((ifr->ifr_flags & needed) != needed ||
	    (queues > 1 && !(ifr->ifr_flags & IFF_MULTI_QUEUE)))
		return error_fail(err, -EINVAL,
				  "descriptor %d: expected IFF_TAP, IFF_NO_PI, IFF_VNET_HDR%s", fd,
				  queues > 1 ? " and IFF_MULTI_QUEUE" : "");
	/* A thread in the sandbox changes no flags: it is given one that does not block. */
	if ((!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) ||
	    ioctl(fd, TUNSETVNETHDRSZ, &header) < 0 || ioctl(fd, TUNSETOFFLOAD, 0) < 0)
		return error_fail(err, -errno, "descriptor %d: %s", fd, strerror(errno));
	return 0;
}

int tap_take(struct tap *tap, const int *fds, unsigned int queues, char *name, struct error *err)
{
	int ret = 0;

	memset(tap, 0, sizeof(*tap));
	for (unsigned int i = 0; i < queues && ret == 0; i++) {
		struct ifreq ifr = {.ifr_flags = 0};

		ret = take_queue(fds[i], queues, &ifr, err);
		if (ret == 0 && i == 0)
			memcpy(name, ifr.ifr_name, IFNAMSIZ);
		else if (ret == 0 && strncmp(name, ifr.ifr_name, IFNAMSIZ) != 0)
			ret = error_fail(err, -EINVAL, "descriptor %d: is of another interface",
					 fds[i]);
		if (ret < 0)
			break;
		tap->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		if (tap->fds[i] < 0)
			ret = error_fail(err, -errno, "descriptor %d: %s", fds[i], strerror(errno));
		else
			tap->queues++;
	}
	tap->attached = queues;
	if (ret < 0)
		tap_close(tap);
	return ret;
}

void tap_close(struct tap *tap)
{
	while (tap->queues)
		close(tap->fds[--tap->queues]);
}

int tap_set_offload(void *ctx, uint32_t offloads)
{
	struct tap *tap = ctx;
	unsigned int flags = 0;

	if (offloads & NET_OFFLOAD_CSUM)
		flags |= TUN_F_CSUM;
	if (offloads & NET_OFFLOAD_TSO4)
		flags |= TUN_F_TSO4;
	if (offloads & NET_OFFLOAD_TSO6)
		flags |= TUN_F_TSO6;
	/* ECN alone is refused. */
	if (offloads & NET_OFFLOAD_ECN && offloads & (NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6))
		flags |= TUN_F_TSO_ECN;
	/* A property of the interface: any of its queues will do, and the first is attached. */
	return ioctl(tap->fds[0], TUNSETOFFLOAD, (unsigned long)flags) < 0 ? -errno : 0;
}

int tap_set_pairs(void *ctx, unsigned int pairs)
{
	struct tap *tap = ctx;

	while (tap->attached != pairs) {
		bool attach = tap->attached < pairs;
		unsigned int i = attach ? tap->attached : tap->attached - 1;
		struct ifreq ifr = {.ifr_flags = attach ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

		if (ioctl(tap->fds[i], TUNSETQUEUE, &ifr) < 0)
			return -errno;
		tap->attached = attach ? i + 1 : i;
	}
	return 0;
}
