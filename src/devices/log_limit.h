/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A limit for messages that a guest, or a program that speaks to a device, can cause: one a second
 * from each source. The others are counted, and the next message says how many there were.
 */
#ifndef DEVICES_LOG_LIMIT_H
#define DEVICES_LOG_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zeroes: nothing was said yet. One for each source. Any thread. */
struct log_limit {
	_Atomic uint64_t next; /* ns of CLOCK_MONOTONIC */
	_Atomic uint64_t left_out;
};

/* Returns whether a message may be given now. Then adds to @text how many were left out, if any. */
bool log_limit_pass(struct log_limit *l, char *text, size_t size);

#endif
