/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public structs of the caller's size (catnap/poll.h, "Structs and their sizes"): their defaults,
 * the way in and the way out. Such a struct begins with a uint32_t, its size. All copies are
 * bytewise: members behind the caller's size are not there, not even for the compiler's eyes.
 *
 * Every folder may include this, as it may the public headers. It needs libc only.
 */
#ifndef SIZED_H
#define SIZED_H

#include <errno.h>
#include <stdint.h>
#include <string.h>

/*
 * Fills the caller's struct @to, of @size bytes, from @defaults, of @own bytes. Its size becomes
 * the lesser of the two. A struct with no room for that is left as it is, and no struct at all.
 */
static inline void sized_init(void *to, size_t size, const void *defaults, size_t own)
{
	uint32_t both = (uint32_t)(size < own ? size : own);

	if (!to || both < sizeof(both))
		return;
	memcpy(to, defaults, both);
	memcpy(to, &both, sizeof(both));
}

/*
 * Copies the caller's struct @given over @to, which is the library's own: @own bytes that hold the
 * defaults. A member that the caller's struct lacks keeps its default. The size of @to becomes
 * @own. @least: the size of the struct in its first version.
 * Errors:
 *   -EINVAL  @given is NULL, or shorter than @least; @to is left as it is
 */
static inline int sized_in(void *to, size_t own, const void *given, size_t least)
{
	uint32_t size, all = (uint32_t)own;

	if (!given)
		return -EINVAL;
	memcpy(&size, given, sizeof(size));
	if (size < least)
		return -EINVAL;
	memcpy(to, given, size < own ? size : own);
	memcpy(to, &all, sizeof(all));
	return 0;
}

/*
 * Copies the library's own struct @from, of @own bytes, to the caller's @to, as far as that has
 * room. The size of @to says how much that is, and becomes what was written.
 * @least: the size that the caller's struct must have.
 * Errors:
 *   -EINVAL  @to is NULL, or shorter than @least, and is left as it is
 */
static inline int sized_out(void *to, const void *from, size_t own, size_t least)
{
	uint32_t size;

	if (!to)
		return -EINVAL;
	memcpy(&size, to, sizeof(size));
	if (size < least)
		return -EINVAL;
	if (size > own)
		size = (uint32_t)own;
	memcpy(to, from, size);
	memcpy(to, &size, sizeof(size));
	return 0;
}

#endif
