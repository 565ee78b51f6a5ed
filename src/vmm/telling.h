/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which VM's log callback runs on the calling thread. It may be a thread of the caller's, within
 * another call on that VM, so there is no other way to know. A callback may call another VM, whose
 * callback then runs within it.
 */
#ifndef VMM_TELLING_H
#define VMM_TELLING_H

#include <stdbool.h>

struct catnap_vm;

struct telling {
	const struct catnap_vm *vm; /* NULL: forgotten */
	struct telling *outer;	    /* the one around it, or NULL */
};

/* Begin and end a callback; @t is on the stack. */
void telling_begin(struct telling *t, const struct catnap_vm *vm);
void telling_end(const struct telling *t);
/* Returns whether one of @vm's callbacks runs on this thread. */
bool telling_runs(const struct catnap_vm *vm);
/* Forgets @vm, which is about to go, in a child of fork(2) that a callback has made: another may
 * have its address. */
void telling_forget(const struct catnap_vm *vm);

#endif
