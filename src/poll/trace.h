/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A trace of halts: one line per halt in a file, in the format that `catnap replay` reads. Lines
 * are gathered in a buffer and written when it is full or when the owner sleeps anyway, so that
 * recording does not disturb what it records. Several halters may share one file: each write holds
 * whole lines. The owner alone uses it.
 */
#ifndef POLL_TRACE_H
#define POLL_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct halt_trace;

/* Writes the file's first line, the header. Once per file, before the halters start. */
void halt_trace_begin(int fd);

/* Opens what @fd is anew, not to block, if that is a pipe or a terminal. Not to block is a property
 * of the open file description, which others share with @fd. Returns the descriptor, or -1: @fd is
 * something else, or it cannot be opened, and @fd itself serves. */
int halt_trace_own(int fd);

/* Makes a trace that writes to @fd, which stays the caller's, is best opened with O_APPEND, and
 * must outlive the trace. Returns NULL if there is no memory. */
struct halt_trace *halt_trace_create(int fd);
/* Flushes *@t, as far as that does not wait, frees it, and sets it to NULL. NULL is fine. */
void halt_trace_destroy(struct halt_trace **t);
/* Does the same without writing, for a copy in a child of fork(2): the parent will write. */
void halt_trace_drop(struct halt_trace **t);
/*
 * Writes what has been gathered.
 * Errors:
 *   -EAGAIN              a pipe's reader has no room for all of it
 *   others of write(2)   from then on everything is lost
 */
int halt_trace_flush(struct halt_trace *t);
/* Returns how many lines were not written. */
uint64_t halt_trace_lost(const struct halt_trace *t);
/* Adds a line. @gave_way_ns: when the poll gave way to others; 0: it was not begun for their sake;
 * HALT_KEPT: it did not give way. */
void halt_trace_add(struct halt_trace *t, uint64_t halt_ns, bool valid, bool allowed,
		    uint64_t gave_way_ns);
/* Writes what has been gathered, if that is worth a system call. The owner is about to sleep. */
void halt_trace_idle(struct halt_trace *t);

#endif
