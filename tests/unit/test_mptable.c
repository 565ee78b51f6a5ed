/* SPDX-License-Identifier: Apache-2.0 */
/* The MP table, read as its specification says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/mptable.h"

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	for (size_t i = 0; i < len; i++)
		s = (uint8_t)(s + p[i]);
	return s;
}

static uint32_t get(const uint8_t *p, unsigned int bytes)
{
	uint32_t v = 0;

	memcpy(&v, p, bytes);
	return v;
}

static void check(uint32_t vcpus, bool pci)
{
	uint8_t b[MPTABLE_SIZE + 1], seen[24] = {0}, slots[32] = {0}, pci_bus = 0xff,
				     isa_bus = 0xff;
	unsigned int processors = 0, others = 0, entries;
	const uint8_t *t, *p, *end;
	uint8_t ioapic = 0xff;
	size_t len;

	b[MPTABLE_SIZE] = 0x5a;
	len = mptable_build(vcpus, pci, b);
	assert_int_equal(b[MPTABLE_SIZE], 0x5a);
	assert_memory_equal(b, "_MP_", 4);
	assert_int_equal(b[8], 1);
	assert_int_equal(b[9], 4);
	assert_int_equal(sum(b, 16), 0);
	assert_int_equal(b[11], 0); /* the table that follows, no default configuration */
	assert_int_equal(get(b + 4, 4), MPTABLE_BASE + 16);
	t = b + 16;
	assert_memory_equal(t, "PCMP", 4);
	assert_int_equal(get(t + 4, 2), len - 16);
	assert_int_equal(sum(t, len - 16), 0);
	assert_int_equal(get(t + 36, 4), 0xfee00000);
	entries = get(t + 34, 2);
	end = b + len;
	for (p = t + 44; p < end; entries--) {
		switch (p[0]) {
		case 0:
			assert_int_equal(p[1], processors);
			assert_int_equal(p[3], processors ? 1 : 3);
			processors++;
			p += 20;
			continue;
		case 1:
			if (memcmp(p + 2, "ISA   ", 6) == 0) {
				isa_bus = p[1];
				break;
			}
			assert_memory_equal(p + 2, "PCI   ", 6);
			pci_bus = p[1];
			break;
		case 2:
			assert_int_equal(get(p + 4, 4), 0xfec00000);
			assert_true(p[1] >= vcpus);
			ioapic = p[1];
			break;
		case 3:
			assert_int_equal(p[6], ioapic);
			assert_int_equal(get(p + 2, 2), 0);
			if (p[4] == pci_bus) {
				assert_true(p[5] % 4 == 0 && p[5] < 128 && !slots[p[5] / 4]++);
				assert_int_equal(p[7], 16 + p[5] / 4 % 8);
				seen[p[7]] = 1;
				break;
			}
			assert_int_equal(p[4], isa_bus);
			assert_int_equal(p[5], p[7]);
			assert_true(p[7] < 24 && !seen[p[7]]++);
			break;
		default:
			assert_int_equal(p[0], 4);
			others++;
			break;
		}
		p += 8;
	}
	assert_ptr_equal(p, end);
	assert_int_equal(entries, 0);
	assert_int_equal(processors, vcpus);
	assert_int_equal(others, 1);
	for (int i = 0; i < 24; i++)
		assert_int_equal(seen[i], 1);
	assert_int_equal(pci_bus, pci ? 0 : 0xff);
	for (int i = 0; i < 32; i++)
		assert_int_equal(slots[i], pci);
}

static void test_table(void **state)
{
	for (uint32_t n = 1; n <= 64; n++)
		check(n, n & 1);
	check(64, true);
	check(1, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_table)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
