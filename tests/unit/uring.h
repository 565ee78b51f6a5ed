/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what only io_uring does are skipped on a host where it is not to be had. */
#ifndef TESTS_UNIT_URING_H
#define TESTS_UNIT_URING_H

#include <errno.h>
#include <stdbool.h>

#include "poll/ring.h"

static inline bool has_uring(void)
{
	struct ring probe;
	int ret = ring_init(&probe, true, false);

	if (ret == 0) {
		ret = ring_prepare(&probe, false);
		ring_fini(&probe);
	}
	return ret != -EPERM && ret != -ENOSYS;
}

/* After cmocka.h. */
#define NEED_URING()              \
	do {                      \
		if (!has_uring()) \
			skip();   \
	} while (0)

#endif
