/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes one of the allocations fail that a thread asks for: memory, mappings, descriptors of events
 * and threads. The linker puts these functions in the place of libc's (--wrap). They count what was
 * given, so that a test sees what was not given back.
 */
#ifndef TESTS_API_ALLOC_FAIL_H
#define TESTS_API_ALLOC_FAIL_H

#include <stdbool.h>

/* From now on the @n-th allocation of the calling thread fails, once; 0: none. */
void alloc_fail_at(unsigned int n);
/* Has it failed? */
bool alloc_failed(void);
/* Pieces of memory that were given and not given back. */
unsigned int alloc_live(void);

#endif
