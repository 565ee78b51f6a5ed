/* SPDX-License-Identifier: Apache-2.0 */
/* String I/O (Intel SDM volume 2, INS and OUTS): the data advances, the port does not. */
#include "lib/guest.h"

#define COUNT 300

static char text[COUNT + 1];
static uint8_t in8[64 + 1];
static uint16_t in16[16 + 1];
static uint32_t in32[16 + 1];

static const void *outs(char size, uint16_t port, const void *from, uint64_t n)
{
	if (size == 'b')
		__asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(port) : "memory");
	else if (size == 'w')
		__asm__ volatile("rep outsw" : "+S"(from), "+c"(n) : "d"(port) : "memory");
	else
		__asm__ volatile("rep outsl" : "+S"(from), "+c"(n) : "d"(port) : "memory");
	check(n == 0);
	return from;
}

static void *ins(char size, uint16_t port, void *to, uint64_t n)
{
	if (size == 'b')
		__asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"(port) : "memory");
	else if (size == 'w')
		__asm__ volatile("rep insw" : "+D"(to), "+c"(n) : "d"(port) : "memory");
	else
		__asm__ volatile("rep insl" : "+D"(to), "+c"(n) : "d"(port) : "memory");
	check(n == 0);
	return to;
}

void test(void)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
	static const uint16_t words[] = {0x0300, 0x1b00, 0x0b00};
	const void *end;
	uint64_t n = 26;
	uint8_t mcr;
	int i;

	/* Out, bytes: the runner compares them. */
	for (i = 0; i < COUNT; i++)
		text[i] = (char)('!' + i % 90);
	text[COUNT - 1] = '\n';
	put_str("string ");
	check(outs('b', COM1, text, COUNT) == text + COUNT);

	/* In, bytes: what was sent in loopback comes back in order; the byte behind stays. */
	mcr = inb(COM1 + 4);
	outb(COM1 + 4, 0x10);
	check(outs('b', COM1, text, 16) == text + 16);
	in8[16] = 0xa5;
	check(ins('b', COM1, in8, 16) == in8 + 16);
	for (i = 0; i < 16; i++)
		check(in8[i] == (uint8_t)text[i]);
	check(in8[16] == 0xa5);
	check(!(inb(COM1 + 5) & 1));
	outb(COM1 + 4, mcr);

	/* Out, words: FCR and LCR three times, nothing else. */
	outb(COM1 + 7, 0x3c);
	end = outs('w', COM1 + 2, words, 3);
	check(end == words + 3);
	check(inb(COM1 + 3) == 0x0b);
	check(inb(COM1 + 4) == mcr);
	check(inb(COM1 + 7) == 0x3c);
	outb(COM1 + 3, 0x03);

	/* In, words and long words: modem status and scratch, three times over. */
	in16[3] = 0xa5a5;
	check(ins('w', COM1 + 6, in16, 3) == in16 + 3);
	for (i = 0; i < 3; i++)
		check(in16[i] >> 8 == 0x3c);
	check(in16[3] == 0xa5a5);
	in32[3] = 0xa5a5a5a5;
	check(ins('l', COM1 + 4, in32, 3) == in32 + 3);
	for (i = 0; i < 3; i++)
		check(in32[i] >> 24 == 0x3c && (in32[i] & 0xff) == mcr);
	check(in32[3] == 0xa5a5a5a5);

	/* Backwards. */
	put_str("back ");
	__asm__ volatile("std; rep outsb; cld"
			 : "=S"(end), "+c"(n)
			 : "d"((uint16_t)COM1), "0"(&letters[25])
			 : "memory");
	put_str("\n");

	/* Nobody there: all ones. */
	for (i = 0; i < 17; i++)
		in8[i] = 0;
	check(ins('b', 0x1234, in8, 16) == in8 + 16);
	for (i = 0; i < 16; i++)
		check(in8[i] == 0xff);
	check(in8[16] == 0);
	check(ins('l', 0x1234, in32, 2) == in32 + 2);
	check(in32[0] == UINT32_MAX && in32[1] == UINT32_MAX && in32[2] >> 24 == 0x3c);
}
