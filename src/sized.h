/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Defaults for a public struct of the caller's size (catnap/poll.h, "Structs and their sizes").
 * Open to every room, as the public headers are: it knows nothing but libc.
 */
#ifndef SIZED_H
#define SIZED_H

#include <stdint.h>
#include <string.h>

/*
 * Fills the struct at @to, which is @size bytes long where the caller was built, from @defaults, of
 * @own bytes. Both begin with a uint32_t that is their size: it becomes what both have. Bytewise,
 * since members behind @size are not there, not even for the compiler's eyes.
 */
static inline void sized_init(void *to, size_t size, const void *defaults, size_t own)
{
	uint32_t both = (uint32_t)(size < own ? size : own);

	if (both < sizeof(both))
		return;
	memcpy(to, defaults, both);
	memcpy(to, &both, sizeof(both));
}

#endif
