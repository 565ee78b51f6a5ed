/* SPDX-License-Identifier: Apache-2.0 */
/* Where no device is, reads give all ones in every size, and writes change nothing. */
#include "lib/guest.h"

#define HOLE 0xcf000000u

static uint8_t buf[32];

void test(void)
{
	static const uint16_t ports[] = {0x0000, 0x0cfc, 0x1234, 0xffff};
	uint64_t end = arg_number("memory_end", 0);
	volatile uint8_t *m = (void *)(uintptr_t)HOLE;
	uint64_t n = sizeof(buf);
	void *to = buf;
	const void *from = (const void *)m;

	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		outb(ports[i], 0x12);
		check(inb(ports[i]) == 0xff);
		if (ports[i] == 0xffff)
			continue;
		outl(ports[i], 0x12345678);
		check(inw(ports[i]) == 0xffff);
		check(inl(ports[i]) == 0xffffffff);
	}
	/* An access that begins in a device and leaves it is nobody's. */
	check(inw(COM1 + 7) == 0xffff);
	check(inl(COM1 + 6) == 0xffffffff);

	for (size_t i = 0; i < 8; i++) {
		m[i] = 0;
		check(m[i] == 0xff);
	}
	*(volatile uint16_t *)m = 0;
	check(*(volatile uint16_t *)m == 0xffff);
	*(volatile uint32_t *)m = 0;
	check(*(volatile uint32_t *)m == 0xffffffff);
	*(volatile uint64_t *)m = 0;
	check(*(volatile uint64_t *)m == UINT64_MAX);
	/* Across a page. */
	check(*(volatile uint64_t *)(m + 0xffc) == UINT64_MAX);
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	for (size_t i = 0; i < sizeof(buf); i++)
		check(buf[i] == 0xff);

	/* The end of memory. */
	check(end);
	m = (void *)(uintptr_t)end;
	*(volatile uint32_t *)(m - 4) = 0x11223344;
	check(*(volatile uint32_t *)(m - 4) == 0x11223344);
	check(*(volatile uint32_t *)m == 0xffffffff);
	check(*(volatile uint64_t *)(m - 4) == 0xffffffff11223344);
	*(volatile uint64_t *)(m - 4) = 0x5566778899aabbcc;
	check(*(volatile uint32_t *)(m - 4) == 0x99aabbcc);
	check(*(volatile uint32_t *)m == 0xffffffff);
}
