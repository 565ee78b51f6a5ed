/* SPDX-License-Identifier: Apache-2.0 */
/* The parts that all fuzzers have in common: their entry, a check that also holds in release
 * builds, and the input, taken bit by bit. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define check(what)                                                                \
	do {                                                                       \
		if (!(what)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
			abort();                                                   \
		}                                                                  \
	} while (0)

/* The next @bytes (8 at most) of the input, little-endian; zeroes where it has ended. */
static inline uint64_t fuzz_take(const uint8_t **data, size_t *left, unsigned int bytes)
{
	uint64_t value = 0;

	if (bytes > *left)
		bytes = (unsigned int)*left;
	memcpy(&value, *data, bytes);
	*data += bytes;
	*left -= bytes;
	return value;
}

#endif
