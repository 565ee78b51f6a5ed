/* SPDX-License-Identifier: Apache-2.0 */
/* For LD_PRELOAD: a file whose name begins with SLOW_OPEN is opened half a second late, so that
 * others can do something before. */
#undef _FILE_OFFSET_BITS /* openat() is not to be the other one */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int late(int dir, const char *name, int flags, int mode)
{
	const char *which = getenv("SLOW_OPEN");

	if (which && strncmp(name, which, strlen(which)) == 0)
		usleep(500000);
	return (int)syscall(SYS_openat, dir, name, flags, mode);
}

__attribute__((visibility("default"))) int openat(int dir, const char *name, int flags, ...)
{
	return late(dir, name, flags, 0600);
}

__attribute__((visibility("default"))) int openat64(int dir, const char *name, int flags, ...)
{
	return late(dir, name, flags | O_LARGEFILE, 0600);
}
