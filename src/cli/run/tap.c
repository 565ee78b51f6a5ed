/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --net tap=auto: an interface that is made for the VM, with root's rights, and that is gone when its
 * descriptors are closed, however that comes about (Documentation/networking/tuntap.rst).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/printable.h"
#include "cli/run/run.h"

/* Opens queue after queue, of an interface whose name the kernel chooses with the first. Returns 0
 * or -errno. */
static int open_queues(unsigned int queues, int32_t *fds, unsigned int *opened, char name[IFNAMSIZ])
{
	struct ifreq req = {.ifr_name = "catnap%d"};
	short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;

	if (queues > 1)
		flags |= IFF_MULTI_QUEUE;
	for (*opened = 0; *opened < queues;) {
		int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

		if (fd < 0)
			return -errno;
		fds[(*opened)++] = fd;
		req.ifr_flags = flags;
		if (ioctl(fd, TUNSETIFF, &req) < 0)
			return -errno;
	}
	memcpy(name, req.ifr_name, IFNAMSIZ);
	return 0;
}

/* Puts it on @bridge, unless that is NULL, and switches it on. 0 or -errno. */
static int bring_up(const char *name, const char *bridge)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret = s < 0 ? -errno : 0;
	struct ifreq req;

	memset(&req, 0, sizeof(req));
	if (ret == 0 && bridge) {
		snprintf(req.ifr_name, IFNAMSIZ, "%s", bridge);
		req.ifr_ifindex = (int)if_nametoindex(name);
		if (ioctl(s, SIOCBRADDIF, &req) < 0)
			ret = -errno;
	}
	memset(&req, 0, sizeof(req));
	memcpy(req.ifr_name, name, IFNAMSIZ);
	if (ret == 0 && ioctl(s, SIOCGIFFLAGS, &req) < 0)
		ret = -errno;
	req.ifr_flags |= IFF_UP;
	if (ret == 0 && ioctl(s, SIOCSIFFLAGS, &req) < 0)
		ret = -errno;
	if (s >= 0)
		close(s);
	return ret;
}

int run_make_tap(const struct run_net *net, int32_t fds[CATNAP_MAX_NET_QUEUES])
{
	unsigned int queues = net->queues ? net->queues : 1, opened;
	char name[IFNAMSIZ] = "", shown[64];
	int ret = open_queues(queues, fds, &opened, name);

	if (ret < 0) {
		complain("catnap run: --net: tap: auto: %s%s\n", strerror(-ret),
			 ret == -EPERM || ret == -EACCES
				 ? ": expected root, or CAP_NET_ADMIN; or passt"
				 : "");
	} else {
		ret = bring_up(name, net->bridge);
		if (ret < 0)
			complain("catnap run: --net: %s: %s: %s\n", net->bridge ? "bridge" : "tap",
				 opt_printable(net->bridge ? net->bridge : name, shown,
					       sizeof(shown)),
				 ret == -ENODEV	      ? "No such bridge"
				 : ret == -EOPNOTSUPP ? "Is no bridge"
						      : strerror(-ret));
	}
	for (unsigned int i = 0; ret < 0 && i < opened; i++)
		close(fds[i]);
	return ret < 0 ? CMD_ERROR : CMD_OK;
}
