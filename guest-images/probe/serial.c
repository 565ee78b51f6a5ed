/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial port, as a 16550 with its FIFO on: when the transmitter is empty, up to 16 bytes may
 * follow in one `rep outsb`, which is a whole sample line. A port that is not there (all ones) or
 * never gets ready is written to all the same, and not waited for twice.
 */
#include "layout.h"
#include "serial.h"
#include "x86.h"

#define COM1_FCR (COM1 + 2)
#define COM1_LSR (COM1 + 5)
#define LSR_THRE 0x20
#define FIFO	 16
#define POLLS	 1000000

static char line[160];
static unsigned int used;
static int deaf, begun;

void serial_init(void)
{
	outb(COM1_FCR, 1);
}

static void send(const char *p, unsigned long n)
{
	unsigned int i;

	while (n) {
		unsigned long k = n < FIFO ? n : FIFO;

		n -= k;
		for (i = 0; !deaf && !(inb(COM1_LSR) & LSR_THRE); i++)
			if (i == POLLS)
				deaf = 1;
		__asm__ volatile("rep outsb" : "+S"(p), "+c"(k) : "d"(COM1) : "memory");
	}
}

static void put_char(char c)
{
	if (used < sizeof(line) - 1)
		line[used++] = c;
}

void put_str(const char *s)
{
	while (*s)
		put_char(*s++);
}

/* writes the digits so that they end before end; returns where they begin */
static char *decimal(char *end, uint64_t value)
{
	while (value > UINT32_MAX) {
		*--end = (char)('0' + value % 10);
		value /= 10;
	}
	for (uint32_t v = (uint32_t)value;; v /= 10) {
		*--end = (char)('0' + v % 10);
		if (v < 10)
			return end;
	}
}

void put_dec(uint64_t value)
{
	char digits[21];

	digits[20] = 0;
	put_str(decimal(digits + 20, value));
}

void put_hex(uint64_t value)
{
	int shift = 60;

	put_str("0x");
	while (shift && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put_char("0123456789abcdef"[value >> shift & 15]);
}

void put_end(void)
{
	line[used++] = '\n';
	/* the first letter of the first line is out already: start.S */
	send(line + !begun, used - !begun);
	begun = 1;
	used = 0;
}

void put_sample(uint64_t value)
{
	char text[24];
	char *begin;

	text[23] = '\n';
	begin = decimal(text + 23, value);
	*--begin = ' ';
	*--begin = 's';
	send(begin, (unsigned long)(text + 24 - begin));
}
