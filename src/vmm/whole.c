/* SPDX-License-Identifier: Apache-2.0 */
/* See whole.h. */
#include <errno.h>
#include <unistd.h>

#include "vmm/whole.h"

int whole_read(int fd, void *data, uint64_t len, uint64_t at, struct error *err)
{
	uint8_t *to = data;

	while (len) {
		ssize_t n = pread(fd, to, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, -errno, "cannot be read");
		if (n == 0)
			return error_fail(err, -EINVAL, "is cut off");
		to += n;
		at += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int whole_write(int fd, const void *data, uint64_t len, uint64_t at, struct error *err)
{
	const uint8_t *from = data;

	while (len) {
		ssize_t n = pwrite(fd, from, len, (off_t)at);
		int ret = n < 0 ? -errno : -EIO;

		if (ret == -EINTR)
			continue;
		if (n <= 0)
			return error_errno(err, ret, "cannot be written");
		from += n;
		at += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}
