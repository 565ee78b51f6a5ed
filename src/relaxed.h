/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Relaxed atomics, by short names. They are for words that guard nothing: a counter, a parameter, a
 * hint. A reader gets a whole value, which may be an old one.
 *
 * Every folder may include this. It needs the compiler only.
 */
#ifndef RELAXED_H
#define RELAXED_H

#include <stdatomic.h>

/* Returns the value of the atomic object *@word. */
#define relaxed_load(word) atomic_load_explicit((word), memory_order_relaxed)
/* Sets the atomic object *@word to @value. */
#define relaxed_store(word, value) atomic_store_explicit((word), (value), memory_order_relaxed)

#endif
