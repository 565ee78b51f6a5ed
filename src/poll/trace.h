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

/* A description of our own of what @fd is, if that is a pipe or a terminal, which does not block;
 * not to block is a property of the description, which others share. -1: it is none, or cannot be
 * had, and @fd itself serves. */
int halt_trace_own(int fd);

/* @fd stays the caller's, is best opened with O_APPEND, and must outlive the trace. NULL: no
 * memory. */
struct halt_trace *halt_trace_create(int fd);
void halt_trace_destroy(struct halt_trace **t); /* flushes, as far as that does not wait */
/* Writes what has been gathered. 0, -EAGAIN (a pipe's reader has no room for all of it), or what
 * else write(2) has failed with: then and from then on everything is lost. */
int halt_trace_flush(struct halt_trace *t);
/* Lines that were not written. */
uint64_t halt_trace_lost(const struct halt_trace *t);
/* @gave_way_ns: when the poll gave way to others, 0 if it was not begun for their sake; HALT_KEPT:
 * it did not. */
void halt_trace_add(struct halt_trace *t, uint64_t halt_ns, bool valid, bool allowed,
		    uint64_t gave_way_ns);
/* About to sleep: writes what has been gathered, if that is worth a system call. */
void halt_trace_idle(struct halt_trace *t);

#endif
