/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a member to the struct that holds it: how a callback that is given its part of a struct gets
 * at the whole.
 *
 * Every folder may include this. It needs the compiler only.
 */
#ifndef CONTAINER_OF_H
#define CONTAINER_OF_H

#include <stddef.h>

/* Returns the struct @type whose member @member @ptr points at. */
#define container_of(ptr, type, member)                             \
	({                                                          \
		__typeof__(((type *)0)->member) *member_ = (ptr);   \
		(type *)((char *)member_ - offsetof(type, member)); \
	})

#endif
