/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables as software finds them: by the scan of the BIOS area, from the RSDP down, each
 * with its checksum. The AML is held against what the grammar says, byte for byte, term by term.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/acpi.h"
#include "vmm/aml.h"

static uint64_t number(const uint8_t *p, unsigned int len)
{
	uint64_t value = 0;

	memcpy(&value, p, len);
	return value;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s = (uint8_t)(s + *p++);
	return s;
}

/* A table by its address: its header and checksum are right. */
static const uint8_t *table(const struct acpi *a, uint64_t at, const char *signature)
{
	const uint8_t *t = a->bytes + (at - ACPI_BASE);
	uint32_t len;

	assert_true(at >= ACPI_BASE && at < ACPI_BASE + a->len);
	len = (uint32_t)number(t + 4, 4);
	assert_memory_equal(t, signature, 4);
	assert_true(len >= 36 && at + len <= ACPI_BASE + a->len);
	assert_int_equal(sum(t, len), 0);
	assert_memory_equal(t + 10, "CATNAPCATNAPVM", 14);
	return t;
}

static const uint8_t *xsdt(const struct acpi *a)
{
	const uint8_t *r = NULL;

	/* The scan: at a multiple of 16, with the checksum of the first 20 bytes. */
	for (size_t at = 0; at + 36 <= a->len && !r; at += 16)
		if (memcmp(a->bytes + at, "RSD PTR ", 8) == 0 && sum(a->bytes + at, 20) == 0)
			r = a->bytes + at;
	assert_non_null(r);
	assert_ptr_equal(r, a->bytes + (a->rsdp - ACPI_BASE));
	assert_int_equal(r[15], 2);
	assert_int_equal(number(r + 20, 4), 36);
	assert_int_equal(sum(r, 36), 0);
	return table(a, number(r + 24, 8), "XSDT");
}

static void test_fadt(void **state)
{
	const struct acpi_config cfg = {.vcpus = 1};
	const uint8_t *x, *f;
	struct acpi a;

	assert_int_equal(acpi_build(&cfg, &a), 0);
	x = xsdt(&a);
	assert_int_equal(number(x + 4, 4), 36 + 2 * 8);
	f = table(&a, number(x + 36, 8), "FACP");
	assert_int_equal(number(f + 4, 4), 276);
	/* Hardware-reduced, with a reset register; no PM registers but the timer, no SCI. */
	assert_int_equal(number(f + 112, 4) & (1u << 20 | 1u << 10), 1u << 20 | 1u << 10);
	for (int i = 46; i < 109; i++)
		if ((i < 76 || i >= 80) && i != 91)
			assert_int_equal(f[i], 0);
	for (int i = 148; i < 244; i++)
		if (i < 208 || i >= 220)
			assert_int_equal(f[i], 0);
	/* The PM timer, of 32 bits, in the old form and in the new one. */
	assert_true(number(f + 112, 4) & 1u << 8);
	assert_int_equal(number(f + 76, 4), 0x608);
	assert_int_equal(f[91], 4);
	assert_int_equal(number(f + 208, 4), 0x03002001); /* I/O space, 32 bits, by dwords */
	assert_int_equal(number(f + 212, 8), 0x608);
	assert_int_equal(number(f + 120, 8), 0xcf9); /* the reset register's address */
	assert_int_equal(f[128], 0x06);
	table(&a, number(f + 140, 8), "DSDT");
	assert_int_equal(f[244], 1); /* sleep control: I/O space */
	assert_int_equal(number(f + 248, 8), 0x600);
	assert_int_equal(number(f + 260, 8), 0x601);
	acpi_free(&a);
	assert_null(a.bytes);
}

static void test_madt(void **state)
{
	static const uint32_t counts[] = {1, 2, 64, 255, 300};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		const struct acpi_config cfg = {.vcpus = counts[i]};
		uint32_t lapics = 0, x2apics = 0, ioapics = 0;
		const uint8_t *m, *p, *end;
		struct acpi a;

		assert_int_equal(acpi_build(&cfg, &a), 0);
		m = table(&a, number(xsdt(&a) + 44, 8), "APIC");
		assert_int_equal(number(m + 36, 4), 0xfee00000);
		end = m + number(m + 4, 4);
		for (p = m + 44; p < end; p += p[1]) {
			assert_true(p[1] >= 2);
			if (p[0] == 0) {
				assert_int_equal(p[3], lapics);
				assert_int_equal(number(p + 4, 4), 1);
				lapics++;
			} else if (p[0] == 9) {
				assert_int_equal(number(p + 4, 4), 255 + x2apics);
				x2apics++;
			} else if (p[0] == 1) {
				assert_int_equal(number(p + 4, 4), 0xfec00000);
				assert_int_equal(number(p + 8, 4), 0);
				ioapics++;
			}
		}
		assert_ptr_equal(p, end);
		assert_int_equal(lapics + x2apics, counts[i]);
		assert_int_equal(ioapics, 1);
		acpi_free(&a);
	}
}

static void test_mcfg(void **state)
{
	const struct acpi_config cfg = {.vcpus = 1, .pci = true};
	const uint8_t *x, *m;
	struct acpi a;

	assert_int_equal(acpi_build(&cfg, &a), 0);
	x = xsdt(&a);
	assert_int_equal(number(x + 4, 4), 36 + 3 * 8);
	m = table(&a, number(x + 52, 8), "MCFG");
	assert_int_equal(number(m + 4, 4), 60);
	assert_int_equal(number(m + 36, 8), 0);
	assert_int_equal(number(m + 44, 8), 0xe0000000);
	/* segment 0, buses 0 to 0 */
	assert_int_equal(number(m + 52, 8), 0);
	acpi_free(&a);
}

static bool contains(const struct acpi *a, const void *bytes, size_t len)
{
	return memmem(a->bytes, a->len, bytes, len) != NULL;
}

static void test_dsdt(void **state)
{
	const struct acpi_config cfg = {.vcpus = 1};
	struct acpi a;

	assert_int_equal(acpi_build(&cfg, &a), 0);
	/* Name (_HID, EisaId ("PNP0501")), and 0C0C; the strings of what has no EISA id */
	assert_true(contains(&a, "\x08_HID\x0c\x41\xd0\x05\x01", 10));
	assert_true(contains(&a, "\x08_HID\x0c\x41\xd0\x0c\x0c", 10));
	assert_true(contains(&a,
			     "\x08_HID\x0d"
			     "ACPI0013",
			     15));
	assert_true(contains(&a,
			     "\x08_HID\x0d"
			     "QEMU0001",
			     15));
	/* Name (\_S5, Package (4) {5, 0, 0, 0}) */
	assert_true(contains(&a, "\x08\\_S5_\x12\x07\x04\x0a\x05\x00\x00\x00", 14));
	/* If (Arg0 == 9) {Notify (PWRB, 0x80)} */
	assert_true(contains(&a, "\xa0\x0c\x93\x68\x0a\x09\x86PWRB\x0a\x80", 13));
	/* Package (2) {0xee000, 0}; If (Arg0 == 13) {Notify (VGEN, 0x80) Notify (VCLK, 0x80)} */
	assert_true(contains(&a,
			     "\x08_HID\x0d"
			     "CTNP0001",
			     15));
	assert_true(contains(&a,
			     "\x08_CID\x12\x1c\x02\x0d"
			     "VM_Gen_Counter\0\x0d"
			     "VMGENCTR",
			     33));
	assert_true(contains(&a,
			     "\x08"
			     "ADDR\x12\x08\x02\x0c\x00\xe0\x0e\x00\x00",
			     14));
	assert_true(contains(&a,
			     "\x08_HID\x0d"
			     "AMZNC10C",
			     15));
	assert_true(contains(&a, "\x93\x68\x0a\x0d\x86VGEN\x0a\x80\x86VCLK\x0a\x80", 18));
	/* Where they lie there is none of the tables. */
	assert_true(a.len <= ACPI_TABLES_SIZE);
	/* Otherwise ACPI's idle driver would win over the guest's halt polling. */
	assert_false(contains(&a, "ACPI0007", 8));
	acpi_free(&a);
}

static void test_dsdt_pci(void **state)
{
	struct acpi_config cfg = {.vcpus = 1, .pci = true};
	struct acpi a;

	assert_int_equal(acpi_build(&cfg, &a), 0);
	/* The bridge, bus numbers, the window, and the reservation of configuration space */
	assert_true(contains(&a, "\x08_HID\x0c\x41\xd0\x0a\x08", 10));
	assert_true(contains(&a, "\x08_CID\x0c\x41\xd0\x0a\x03", 10));
	assert_true(contains(&a, "\x88\x0d\x00\x02\x0c\0\0\0\0\0\0\0\0\0\x01\0", 16));
	assert_true(contains(&a,
			     "\x87\x17\x00\x00\x0c\x01\0\0\0\0\0\0\0\xd0\xff\xff\xff\xdf"
			     "\0\0\0\0\0\0\0\x10",
			     26));
	assert_true(contains(&a, "\x08_HID\x0c\x41\xd0\x0c\x02", 10));
	assert_true(contains(&a, "\x86\x09\x00\x01\x00\x00\x00\xe0\x00\x00\x10\x00", 12));
	/* Name (_PRT, Package (32) { ... Package (4) {0x0009ffff, 0, 0, 17} ... */
	assert_true(contains(&a, "\x08_PRT\x12", 6));
	assert_true(contains(&a, "\x12\x0b\x04\x0c\xff\xff\x09\x00\x00\x00\x0a\x11", 12));
	acpi_free(&a);
	cfg.pci = false;
	assert_int_equal(acpi_build(&cfg, &a), 0);
	assert_false(contains(&a, "PCI0", 4));
	assert_false(contains(&a, "MCFG", 4));
	acpi_free(&a);
}

static void test_dsdt_hotplug(void **state)
{
	struct acpi_config cfg = {.vcpus = 1, .pci = true, .hotplug = true};
	struct acpi a;

	assert_int_equal(acpi_build(&cfg, &a), 0);
	/* The registers: I/O ports, fields of 32 bits, by dwords */
	assert_true(contains(&a, "\x47\x01\x00\xae\x00\xae\x01\x8c", 8));
	assert_true(contains(&a, "\x5b\x80PHPO\x01\x0b\x00\xae\x0a\x8c", 12));
	assert_true(contains(&a, "PHPO\x03PCIU\x20PCID\x20PCEJ\x20OS00\x20", 25));
	/* The interrupt: a level, active high; If (Arg0 == 10) { \_SB.PCI0.PCNT () } */
	assert_true(contains(&a, "\x89\x06\x00\x01\x01\x0a\x00\x00\x00", 9));
	assert_true(contains(&a, "\x93\x68\x0a\x0a\x5c\x2f\x03_SB_PCI0PCNT", 19));
	/* The last slot: its address, its number, and how its device is let go of */
	assert_true(contains(&a, "SL1F\x08_ADR\x0c\x00\x00\x1f\x00\x08_SUN\x0a\x1f\x14", 22));
	assert_true(contains(&a, "_EJ0\x09\x70\x0c\x00\x00\x00\x80\x5c\x2f\x03_SB_PHPRPCEJ", 26));
	/* What is said of it: If (Arg0 == 3) { OS1F = Arg1 } */
	assert_true(contains(&a, "_OST\x0b\xa0", 6));
	assert_true(contains(&a, "\x93\x68\x0a\x03\x70\x69\x5c\x2f\x03_SB_PHPROS1F", 21));
	/* Local0 = PCIU; If (Local0 & 2) { Notify (SL01, 1) }; and of what is to go Notify (, 3) */
	assert_true(contains(&a, "\x70\x5c\x2f\x03_SB_PHPRPCIU\x60\xa0", 18));
	assert_true(contains(&a, "\x7b\x60\x0a\x02\x00\x86SL01\x01", 11));
	assert_true(contains(&a, "\x7b\x60\x0c\x00\x00\x00\x80\x00\x86SL1F\x0a\x03", 15));
	/* The bridge is in no slot. */
	assert_false(contains(&a, "SL00", 4));
	acpi_free(&a);
	cfg.hotplug = false;
	assert_int_equal(acpi_build(&cfg, &a), 0);
	assert_false(contains(&a, "PCNT", 4));
	assert_false(contains(&a, "PHPR", 4));
	acpi_free(&a);
}

/* ---- the encoder ---- */

static void test_integers(void **state)
{
	static const struct {
		uint64_t value;
		const char *bytes;
		size_t len;
	} cases[] = {
		{0, "\x00", 1},
		{1, "\x01", 1},
		{2, "\x0a\x02", 2},
		{255, "\x0a\xff", 2},
		{256, "\x0b\x00\x01", 3},
		{0xffff, "\x0b\xff\xff", 3},
		{0x10000, "\x0c\x00\x00\x01\x00", 5},
		{0xffffffff, "\x0c\xff\xff\xff\xff", 5},
		{0x100000000, "\x0e\x00\x00\x00\x00\x01\x00\x00\x00", 9},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t buf[16];
		struct aml a;

		aml_init(&a, buf, sizeof(buf));
		aml_integer(&a, cases[i].value);
		assert_false(a.failed);
		assert_int_equal(a.len, cases[i].len);
		assert_memory_equal(buf, cases[i].bytes, a.len);
	}
}

static void test_paths(void **state)
{
	static const struct {
		const char *path, *bytes;
		size_t len;
	} cases[] = {
		{"COM1", "COM1", 4},
		{"\\_SB", "\\_SB_", 5},
		{"_SB.COM1", "\x2e_SB_COM1", 9},
		{"\\_SB.PCI0.S01", "\\\x2f\x03_SB_PCI0S01_", 15},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t buf[32];
		struct aml a;

		aml_init(&a, buf, sizeof(buf));
		aml_path(&a, cases[i].path);
		assert_int_equal(a.len, cases[i].len);
		assert_memory_equal(buf, cases[i].bytes, a.len);
	}
}

/* 20.2.4: lengths at the edges of each form count themselves, and lead to the end. */
static void test_lengths(void **state)
{
	static const size_t bodies[] = {5, 62, 63, 64, 4092, 4093, 4094, 4095, 5000, 70000};
	static uint8_t buf[80000];

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		unsigned int extra;
		uint64_t len;
		struct aml a;

		aml_init(&a, buf, sizeof(buf));
		aml_scope(&a, "ABCD");
		for (size_t n = 4; n < bodies[i]; n++)
			aml_integer(&a, 1);
		aml_close(&a);
		assert_false(a.failed);
		extra = buf[1] >> 6;
		len = extra ? buf[1] & 0xfu : buf[1] & 0x3fu;
		for (unsigned int k = 0; k < extra; k++)
			len |= (uint64_t)buf[2 + k] << (4 + 8 * k);
		assert_int_equal(len, a.len - 1);
		assert_memory_equal(buf + 2 + extra, "ABCD", 4);
		assert_int_equal(a.len, 1 + 1 + extra + bodies[i]);
	}
}

static void test_full(void **state)
{
	/* Every size that is too small fails, and writes nothing beyond it. */
	for (size_t size = 0; size < 40; size++) {
		uint8_t buf[48];
		struct aml a;

		memset(buf, 0x5a, sizeof(buf));
		aml_init(&a, buf, size);
		aml_scope(&a, "\\_SB");
		aml_device(&a, "COM1");
		aml_name(&a, "_UID");
		aml_string(&a, "0123456789012345678901");
		aml_close(&a);
		aml_close(&a);
		assert_true(a.failed);
		for (size_t i = size; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 0x5a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fadt),  cmocka_unit_test(test_madt),
		cmocka_unit_test(test_mcfg),  cmocka_unit_test(test_dsdt_pci),
		cmocka_unit_test(test_dsdt),  cmocka_unit_test(test_integers),
		cmocka_unit_test(test_paths), cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_full),  cmocka_unit_test(test_dsdt_hotplug),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
