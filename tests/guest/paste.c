/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends its input back as it is, as many bytes at a time as the FIFO has, and answers '?' with
 * "ready", so that who comes late knows when it listens. Ends with status 67 at '.', and then says
 * how much there was since.
 */
#include "lib/guest.h"

static uint8_t batch[64];

static void send(uint32_t n)
{
	const uint8_t *from = batch;

	__asm__ volatile("cld; rep outsb" : "+S"(from), "+c"(n) : "d"((uint16_t)COM1) : "memory");
}

void test(void)
{
	uint64_t received = 0;
	uint32_t n = 0;

	for (;;) {
		uint8_t c;

		if (n == sizeof(batch) || (n && !(inb(COM1 + 5) & 1))) {
			send(n);
			received += n;
			n = 0;
		}
		while (!(inb(COM1 + 5) & 1))
			;
		c = inb(COM1);
		if (c == '.')
			break;
		if (c == '?') {
			send(n);
			put_str("ready\n");
			received = n = 0;
		} else {
			batch[n++] = c;
		}
	}
	send(n);
	put_str("\nreceived ");
	put_dec(received + n);
	put_str("\n");
}
