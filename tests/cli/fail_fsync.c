/* SPDX-License-Identifier: Apache-2.0 */
/* For LD_PRELOAD: the FAIL_FSYNC-th call of fsync(2) fails, as on a disk that has lost a write. */
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

__attribute__((visibility("default"))) int fsync(int fd)
{
	static long calls;
	const char *which = getenv("FAIL_FSYNC");

	if (which && ++calls == atol(which)) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}
