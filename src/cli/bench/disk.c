/* SPDX-License-Identifier: Apache-2.0 */
/* The file that is the disk of those workloads that read one. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/bench/bench.h"

static int nameless_file(const char *folder)
{
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char path[64];

	/* Not every file system has that; as good but for a moment. */
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		snprintf(path, sizeof(path), "%s/catnap-bench-XXXXXX", folder);
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			unlink(path);
	}
	return fd;
}

int bench_make_disk(struct bench_run *run, const char *folder, bool direct,
		    char path[BENCH_DISK_PATH])
{
	static uint8_t block[1 << 16];
	int fd = nameless_file(folder);

	if (fd < 0)
		return bench_fail_all(run, "a file in %s: %s", folder, strerror(errno));
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i * 2654435761u >> 13);
	for (uint64_t done = 0; done < BENCH_DISK_SIZE; done += sizeof(block)) {
		if (write(fd, block, sizeof(block)) == (ssize_t)sizeof(block))
			continue;
		bench_fail_all(run, "a file in %s: %s", folder, strerror(errno));
		goto fail;
	}
	if (direct && (fsync(fd) < 0 || fcntl(fd, F_SETFL, O_DIRECT) < 0)) {
		bench_fail_all(run, "a file in %s: cannot be read past the page cache: %s", folder,
			       strerror(errno));
		goto fail;
	}
	/* Not /proc/self: the peer is another process. */
	snprintf(path, BENCH_DISK_PATH, "/proc/%d/fd/%d", (int)getpid(), fd);
	return fd;
fail:
	close(fd);
	return -1;
}
