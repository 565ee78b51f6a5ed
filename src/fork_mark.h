/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is all zeroes in a child of fork(2). A mark in it tells a process, with one load,
 * whether what it holds was made by itself or is the copy of another process's.
 *
 * Every folder may include this. It needs libc only.
 */
#ifndef FORK_MARK_H
#define FORK_MARK_H

#include <stddef.h>
#include <sys/mman.h>

/* Allocates @size bytes, zeroed, on pages of their own. NULL with errno: there is no memory. */
static inline void *fork_mark_alloc(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (madvise(p, size, MADV_WIPEONFORK) == 0)
		return p;
	munmap(p, size);
	return NULL;
}

static inline void fork_mark_free(void *p, size_t size)
{
	if (p)
		munmap(p, size);
}

#endif
