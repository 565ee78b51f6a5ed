/* SPDX-License-Identifier: Apache-2.0 */
/* Unix sockets that belong to whoever has made them. unix(7). */
#ifndef CLI_BIND_H
#define CLI_BIND_H

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/*
 * Makes the file of @fd, with mode 0600 from the first moment, whatever the mask is: Linux makes it
 * with the mode that the socket itself has, less the mask. 0 or -errno. The mask is the process': no
 * other thread may make files meanwhile.
 */
static inline int bind_private(int fd, const struct sockaddr_un *addr)
{
	mode_t before;
	int ret;

	if (fchmod(fd, 0600) < 0)
		return -errno;
	before = umask(0177);
	ret = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
	umask(before);
	return ret;
}

#endif
