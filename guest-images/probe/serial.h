/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of text on COM1, polled.
 */
#ifndef PROBE_SERIAL_H
#define PROBE_SERIAL_H

#include <stdint.h>

void serial_init(void);

/* Collect a line; it is sent with its \n. A line longer than the buffer is cut. */
void put_str(const char *s);
void put_dec(uint64_t value);
void put_hex(uint64_t value);
void put_end(void);

/* "s VALUE\n" at once */
void put_sample(uint64_t value);

#endif
