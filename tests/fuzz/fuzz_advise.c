/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is a trace as `catnap advise` reads it: threads are called as they like, so a line may
 * hold anything. All that is found in one lies within its bounds, and reading ends.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/advise/advise.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[ADVISE_ERROR], path[64];
	struct advise_trace t;
	struct advise_halt h;
	int fd = memfd_create("trace", MFD_CLOEXEC), ret;
	size_t lines = 1;

	check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	snprintf(path, sizeof(path), "/dev/fd/%d", fd);
	check(advise_trace_file(&t, path, error) == 0);
	while ((ret = advise_trace_next(&t, &h)) > 0) {
		check(h.thread >= 0 && h.thread <= 999999999);
		check(h.window || !h.before_ns);
		check(lines-- > 0);
	}
	check(ret == 0 && t.at_end);
	advise_trace_close(&t);
	close(fd);
	return 0;
}
