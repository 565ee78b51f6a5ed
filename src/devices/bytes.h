/* SPDX-License-Identifier: Apache-2.0 */
/* Words at any address of what a guest sees as bytes: little-endian, as this processor is. */
#ifndef DEVICES_BYTES_H
#define DEVICES_BYTES_H

#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "x86");

static inline uint16_t get16(const void *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static inline uint32_t get32(const void *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static inline void set16(void *at, uint16_t value)
{
	memcpy(at, &value, sizeof(value));
}

static inline void set32(void *at, uint32_t value)
{
	memcpy(at, &value, sizeof(value));
}

#endif
