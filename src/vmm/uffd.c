/* SPDX-License-Identifier: Apache-2.0 */
/* See uffd.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/uffd.h"

void uffd_init(struct uffd *u)
{
	*u = (struct uffd){.fd = -1, .socket = -1};
}

/* Opens a userfaultfd. KVM takes faults as well, so one for user space alone would not do. */
static int open_uffd(struct error *err)
{
	int dev, fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		return fd;
	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return error_errno(
			err, -errno,
			"memory: userfaultfd(2): expected vm.unprivileged_userfaultfd to "
			"be 1, or leave for /dev/userfaultfd");
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	close(dev);
	return fd < 0 ? error_errno(err, -errno, "memory: /dev/userfaultfd") : fd;
}

static int enroll(const struct uffd *u, const struct memory *m, struct error *err)
{
	struct uffdio_api api = {.api = UFFD_API};

	if (ioctl(u->fd, UFFDIO_API, &api) < 0)
		return error_errno(err, -errno, "memory: UFFDIO_API");
	for (unsigned int i = 0; i < m->count; i++) {
		struct uffdio_register r = {.range = {.start = (uintptr_t)m->regions[i].host,
						      .len = m->regions[i].size},
					    .mode = UFFDIO_REGISTER_MODE_MISSING};

		if (ioctl(u->fd, UFFDIO_REGISTER, &r) < 0)
			return error_errno(err, -errno, "memory: UFFDIO_REGISTER");
	}
	return 0;
}

static int connect_to(const char *path, struct error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (!path || !path[0] || strlen(path) >= sizeof(addr.sun_path))
		return error_fail(err, -EINVAL, "handler: expected the path of a Unix socket");
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	error_errno(err, -errno, "handler: %s", path);
	if (fd >= 0)
		close(fd);
	return -ECONNREFUSED;
}

static size_t describe(const struct memory *m, char *text, size_t size)
{
	size_t used = 0;

	for (unsigned int i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->regions[i];

		used += (size_t)snprintf(text + used, size - used,
					 "%s{\"base_host_virt_addr\":%llu,\"size\":%llu,"
					 "\"offset\":%llu,\"page_size\":%u,\"page_size_kib\":%u}",
					 i ? "," : "[", (unsigned long long)(uintptr_t)r->host,
					 (unsigned long long)r->size, (unsigned long long)r->at,
					 MEMORY_PAGE, MEMORY_PAGE);
	}
	return used + (size_t)snprintf(text + used, size - used, "]");
}

static int hand_over(const struct uffd *u, const struct memory *m, const char *path,
		     struct error *err)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {.bytes = {0}};
	char text[512];
	struct iovec iov = {.iov_base = text, .iov_len = describe(m, text, sizeof(text))};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &u->fd, sizeof(int));
	if (sendmsg(u->socket, &msg, MSG_NOSIGNAL) != (ssize_t)iov.iov_len)
		return error_errno(err, -errno, "handler: %s", path);
	return 0;
}

int uffd_begin(struct uffd *u, const struct memory *m, const char *path, struct error *err)
{
	int ret;

	u->socket = connect_to(path, err);
	if (u->socket < 0)
		return u->socket;
	u->fd = open_uffd(err);
	if (u->fd < 0)
		return u->fd;
	ret = enroll(u, m, err);
	return ret < 0 ? ret : hand_over(u, m, path, err);
}

void uffd_release(const struct uffd *u, const struct memory *m)
{
	for (unsigned int i = 0; u->fd >= 0 && i < m->count; i++) {
		struct uffdio_range range = {.start = (uintptr_t)m->regions[i].host,
					     .len = m->regions[i].size};

		ioctl(u->fd, UFFDIO_UNREGISTER, &range);
	}
}

bool uffd_is_served(const struct uffd *u)
{
	struct pollfd p = {.fd = u->socket, .events = POLLRDHUP};

	return poll(&p, 1, 0) <= 0;
}

void uffd_fini(struct uffd *u)
{
	if (u->fd >= 0)
		close(u->fd);
	if (u->socket >= 0)
		close(u->socket);
	uffd_init(u);
}
