/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How often a message is given that a guest, or whoever speaks to a device, can cause: once a
 * second at most from each source. The rest is counted, and the next one says how many there were.
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

/* May it be said? Then, if any were left out since the last, that is added to @text. */
bool log_limit_pass(struct log_limit *l, char *text, size_t size);

#endif
