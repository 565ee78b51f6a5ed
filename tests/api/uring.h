/* SPDX-License-Identifier: Apache-2.0 */
/* Whether this host has io_uring. */
#ifndef TESTS_API_URING_H
#define TESTS_API_URING_H

#include <errno.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where it is not to be had, a VM with rings has an I/O thread in any case. */
static inline bool has_uring(void)
{
	return syscall(SYS_io_uring_setup, 0, NULL) < 0 && errno != EPERM && errno != ENOSYS;
}

#endif
