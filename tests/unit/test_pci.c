/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI bus as a guest sees it: through its ports, ECAM and its window, rule by rule of the PCI
 * Local Bus Specification 3.0, chapter 6.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/pci/bus.h"
#include "devices/pci/msix.h"

#define SIZE0 0x2000u /* BAR 0: 64 bits */
#define SIZE2 0x100u  /* BAR 2: 32 bits */

#define COMMAND_MEMORY 2
#define COMMAND_MASTER 4

#define ENABLE	0x8000u
#define MASKALL 0x4000u

struct registers {
	uint8_t bytes[SIZE0];
	unsigned int reads, writes;
};

struct vm {
	struct bus pio, mmio;
	struct pci_bus pci;
	struct pci_function f;
	struct registers r0, r2;
	struct msix msix;
	unsigned int sent;
	uint64_t address;
	uint32_t data[16];
};

static void reg_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	struct registers *r = dev;

	r->reads++;
	memcpy(data, r->bytes + offset, len);
}

static void reg_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct registers *r = dev;

	r->writes++;
	memcpy(r->bytes + offset, data, len);
}

static const struct bus_ops reg_ops = {reg_read, reg_write};
static const struct pci_id id = {
	.vendor = 0x1234,
	.device = 0x5678,
	.subsystem_vendor = 0x9abc,
	.subsystem = 0xdef0,
	.revision = 7,
	.class_code = 0xff0102,
};

static void on_message(void *ctx, uint64_t address, uint32_t data)
{
	struct vm *vm = ctx;

	vm->address = address;
	vm->data[vm->sent++ % 16] = data;
}

#define VECTORS 70

static int setup(void **state)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	assert_int_equal(pci_bus_init(&vm->pci, &vm->pio, &vm->mmio), 0);
	assert_int_equal(pci_function_init(&vm->f, &id), 0);
	assert_int_equal(pci_function_add_bar(&vm->f, 0, SIZE0, true, &reg_ops, &vm->r0), 0);
	assert_int_equal(pci_function_add_bar(&vm->f, 2, SIZE2, false, &reg_ops, &vm->r2), 0);
	assert_int_equal(msix_init(&vm->msix, &vm->f, 4, VECTORS, on_message, vm), 0);
	assert_int_equal(pci_bus_plug(&vm->pci, &vm->f), 1);
	*state = vm;
	return 0;
}

static int teardown(void **state)
{
	struct vm *vm = *state;

	msix_fini(&vm->msix);
	pci_function_fini(&vm->f);
	pci_bus_fini(&vm->pci);
	free(vm);
	return 0;
}

static void out(struct vm *vm, uint16_t port, uint32_t value, unsigned int len)
{
	bus_write(&vm->pio, port, &value, len);
}

static uint32_t in(struct vm *vm, uint16_t port, unsigned int len)
{
	uint32_t value = 0;

	bus_read(&vm->pio, port, &value, len);
	return value;
}

static uint64_t ecam(unsigned int slot, unsigned int reg)
{
	return PCI_ECAM_BASE + ((uint64_t)slot << 15) + reg;
}

static uint64_t mem_read(struct vm *vm, uint64_t addr, unsigned int len)
{
	uint64_t value = 0;

	bus_read(&vm->mmio, addr, &value, len);
	return value;
}

static bool mem_write(struct vm *vm, uint64_t addr, uint64_t value, unsigned int len)
{
	return bus_write(&vm->mmio, addr, &value, len);
}

/* Function 00:01.0 */
static uint32_t cfg(struct vm *vm, unsigned int reg, unsigned int len)
{
	return (uint32_t)mem_read(vm, ecam(1, reg), len);
}

static void set(struct vm *vm, unsigned int reg, uint32_t value, unsigned int len)
{
	mem_write(vm, ecam(1, reg), value, len);
}

static uint64_t bar0(struct vm *vm)
{
	return (cfg(vm, 0x10, 4) & ~0xfu) | (uint64_t)cfg(vm, 0x14, 4) << 32;
}

/* ---- configuration space ---- */

static void test_identity(void **state)
{
	struct vm *vm = *state;

	assert_int_equal(mem_read(vm, ecam(0, 8), 4) >> 8, 0x060000); /* a host bridge */
	assert_int_equal(mem_read(vm, ecam(0, 14), 1), 0);
	assert_int_equal(cfg(vm, 0, 4), 0x56781234);
	assert_int_equal(cfg(vm, 8, 4), 0xff010207);
	assert_int_equal(cfg(vm, 0x2c, 4), 0xdef09abc);
	assert_int_equal(cfg(vm, 0x0e, 1), 0); /* type 0, one function */
	assert_int_equal(cfg(vm, 0x3c, 4), 0); /* no pin */
	assert_int_equal(cfg(vm, 0x30, 4), 0); /* no ROM */
	/* Nothing of that can be changed, but the line, which is software's. */
	for (unsigned int reg = 0; reg < 0x100; reg += 4)
		if (reg < 4 || reg > 0x10)
			set(vm, reg, 0xffffffff, 4);
	assert_int_equal(cfg(vm, 0, 4), 0x56781234);
	assert_int_equal(cfg(vm, 8, 4) & 0xffffff00, 0xff010200);
	assert_int_equal(cfg(vm, 0x2c, 4), 0xdef09abc);
	assert_int_equal(cfg(vm, 0x30, 4), 0);
	assert_int_equal(cfg(vm, 0x3c, 4), 0xff);
	assert_int_equal(cfg(vm, 0x34, 1), 0x40);
}

static void test_nobody(void **state)
{
	struct vm *vm = *state;
	static const unsigned int lens[] = {1, 2, 4};

	for (unsigned int i = 0; i < 3; i++) {
		uint32_t ones = lens[i] == 4 ? 0xffffffff : (1u << 8 * lens[i]) - 1;

		/* Slots 2 and on, function 1, and what is above the 256 bytes. */
		for (unsigned int slot = 2; slot < 32; slot++)
			assert_int_equal(mem_read(vm, ecam(slot, 0), lens[i]), ones);
		assert_int_equal(mem_read(vm, ecam(1, 0x1000), lens[i]), ones);
		assert_int_equal(cfg(vm, 0x100, lens[i]), ones);
		mem_write(vm, ecam(9, 4), 0, lens[i]);
		/* Ports: another bus, the window closed. */
		out(vm, 0xcf8, 0x80010800, 4);
		assert_int_equal(in(vm, 0xcfc, lens[i]), ones);
		out(vm, 0xcf8, 0x00000800, 4);
		assert_int_equal(in(vm, 0xcfc, lens[i]), ones);
		out(vm, 0xcf8, 0x80000900, 4);
		assert_int_equal(in(vm, 0xcfc, lens[i]), ones);
	}
	/* Across the end of a function's space. */
	assert_int_equal(mem_read(vm, ecam(1, 0xfe), 4), 0xffffffff);
	assert_int_equal(mem_read(vm, ecam(0, 0xffe), 4), 0xffffffff);
	assert_false(bus_write(&vm->mmio, PCI_ECAM_BASE + PCI_ECAM_SIZE, "", 1));
}

static void test_widths(void **state)
{
	struct vm *vm = *state;
	uint8_t whole[256];

	for (unsigned int i = 0; i < 256; i++)
		whole[i] = (uint8_t)cfg(vm, i, 1);
	for (unsigned int reg = 0; reg < 256; reg++) {
		for (unsigned int len = 1; len <= 8; len *= 2) {
			uint64_t expected = 0;

			if (reg + len > 256)
				continue;
			memcpy(&expected, whole + reg, len);
			assert_int_equal(mem_read(vm, ecam(1, reg), len), expected);
			if (len > 4 || reg % 4 + len > 4)
				continue;
			out(vm, 0xcf8, 0x80000800 | (reg & 0xfc), 4);
			assert_int_equal(in(vm, (uint16_t)(0xcfc + reg % 4), len), expected);
		}
	}
	/* Writes: a byte, a word across the middle, a word. */
	out(vm, 0xcf8, 0x8000080c, 4);
	out(vm, 0xcfd, 0x55, 1);
	assert_int_equal(cfg(vm, 0xc, 4), 0x5500);
	out(vm, 0xcfc, 0x1122, 2);
	assert_int_equal(cfg(vm, 0xc, 4), 0x1122);
	out(vm, 0xcfd, 0x3344, 2); /* 0x33 would be the header type */
	assert_int_equal(cfg(vm, 0xc, 4), 0x4422);
	set(vm, 0xb, 0x778899, 4); /* class 0x99, line 0x88, timer 0x77 */
	assert_int_equal(cfg(vm, 0x8, 4), 0xff010207);
	assert_int_equal(cfg(vm, 0xc, 4), 0x7788);
}

static void test_address_register(void **state)
{
	struct vm *vm = *state;

	/* As Linux looks for it: a byte write to 0xcfb is none to the register. */
	out(vm, 0xcfb, 1, 1);
	out(vm, 0xcf8, 0x80000000, 4);
	assert_int_equal(in(vm, 0xcf8, 4), 0x80000000);
	out(vm, 0xcf8, 0x1234, 2);
	out(vm, 0xcfa, 0xff, 1);
	assert_int_equal(in(vm, 0xcf8, 4), 0x80000000);
	assert_int_equal(in(vm, 0xcf8, 1), 0xff);
	assert_int_equal(in(vm, 0xcf9, 2), 0xffff);
	/* From the address into the data is nobody's register. */
	assert_int_equal(in(vm, 0xcfa, 4), 0xffffffff);
	out(vm, 0xcfa, 0, 4);
	out(vm, 0xcf8, 0xffffffff, 4);
	assert_int_equal(in(vm, 0xcf8, 4), 0x80fffffc);
}

static void test_ports_leave_the_reset_register(void **state)
{
	struct bus pio = {.count = 0}, mmio = {.count = 0};
	struct registers r = {.reads = 0};
	struct pci_bus pci;
	uint32_t value = 0x80000000;
	uint8_t byte = 6;

	assert_int_equal(bus_add(&pio, 0xcf9, 1, &reg_ops, &r), 0);
	assert_int_equal(pci_bus_init(&pci, &pio, &mmio), 0);
	assert_true(bus_write(&pio, 0xcf9, &byte, 1));
	assert_int_equal(r.writes, 1);
	assert_true(bus_write(&pio, 0xcf8, &value, 4));
	assert_true(bus_read(&pio, 0xcf8, &value, 4));
	assert_int_equal(value, 0x80000000);
	assert_true(bus_write(&pio, 0xcf9, &value, 2));
	assert_int_equal(r.writes + r.reads, 1);
	pci_bus_fini(&pci);
	/* Half in it: not possible. */
	memset(&pio, 0, sizeof(pio));
	memset(&mmio, 0, sizeof(mmio));
	assert_int_equal(bus_add(&pio, 0xcf6, 4, &reg_ops, &r), 0);
	assert_int_equal(pci_bus_init(&pci, &pio, &mmio), -EEXIST);
}

/* ---- BARs ---- */

static void test_firmware_has_placed_them(void **state)
{
	struct vm *vm = *state;
	uint64_t a = bar0(vm), b = cfg(vm, 0x18, 4);

	assert_int_equal(cfg(vm, 0x10, 4) & 0xf, 4); /* memory, 64 bits */
	assert_int_equal(b & 0xf, 0);
	assert_int_equal(cfg(vm, 4, 2), COMMAND_MEMORY);
	assert_true(a >= PCI_WINDOW_BASE && a + SIZE0 <= PCI_WINDOW_BASE + PCI_WINDOW_SIZE);
	assert_int_equal(a % SIZE0, 0);
	assert_int_equal(b % 4096, 0);
	assert_true(b >= a + SIZE0 || b + SIZE2 <= a);
	assert_true(mem_write(vm, a + 0x1ff8, UINT64_C(0x1122334455667788), 8));
	assert_int_equal(vm->r0.bytes[0x1ff8], 0x88);
	assert_int_equal(mem_read(vm, a + 0x1ffc, 4), 0x11223344);
	assert_true(mem_write(vm, b + SIZE2 - 1, 0x99, 1));
	assert_int_equal(vm->r2.bytes[SIZE2 - 1], 0x99);
	/* Beyond, and across the end. */
	assert_false(mem_write(vm, b + SIZE2, 0, 1));
	assert_false(mem_write(vm, b + SIZE2 - 1, 0, 2));
	assert_int_equal(vm->r2.writes, 1);
}

static void test_sizing(void **state)
{
	struct vm *vm = *state;

	for (unsigned int reg = 0x10; reg < 0x28; reg += 4)
		set(vm, reg, 0xffffffff, 4);
	assert_int_equal(cfg(vm, 0x10, 4), ~(SIZE0 - 1) | 4);
	assert_int_equal(cfg(vm, 0x14, 4), 0xffffffff);
	assert_int_equal(cfg(vm, 0x18, 4), ~(SIZE2 - 1));
	assert_int_equal(cfg(vm, 0x1c, 4), 0);
	assert_int_equal(cfg(vm, 0x20, 4), ~0xfffu); /* 70 entries, and the pending bits */
	assert_int_equal(cfg(vm, 0x24, 4), 0);
	/* By bytes it is the same. */
	for (unsigned int i = 0; i < 4; i++)
		set(vm, 0x18 + i, 0xff, 1);
	assert_int_equal(cfg(vm, 0x18, 4), ~(SIZE2 - 1));
}

static void test_moving(void **state)
{
	struct vm *vm = *state;
	uint64_t old = bar0(vm), new = PCI_WINDOW_BASE + 0x0800000;

	set(vm, 0x10, (uint32_t) new + 0x123, 4); /* the low bits are not there */
	assert_int_equal(bar0(vm), new);
	assert_false(mem_write(vm, old, 1, 4));
	assert_true(mem_write(vm, new + 16, 5, 4));
	assert_int_equal(vm->r0.bytes[16], 5);
	/* The highest place; then over the edge of the window: */
	new = PCI_WINDOW_BASE + PCI_WINDOW_SIZE - SIZE0;
	set(vm, 0x10, (uint32_t) new, 4);
	assert_true(mem_write(vm, new + SIZE0 - 4, 5, 4));
	set(vm, 0x10, (uint32_t)(PCI_WINDOW_BASE + PCI_WINDOW_SIZE), 4);
	/* there configuration space is first */
	assert_int_equal(mem_read(vm, PCI_WINDOW_BASE + PCI_WINDOW_SIZE, 4), 0x00081b36);
	assert_int_equal(vm->r0.reads, 0);
	set(vm, 0x10, (uint32_t)old, 4);
	/* Above 4 GiB: not in the window. */
	set(vm, 0x14, 1, 4);
	assert_int_equal(bar0(vm), old | UINT64_C(1) << 32);
	assert_false(mem_write(vm, old, 1, 4));
	assert_false(mem_write(vm, old | UINT64_C(1) << 32, 1, 4));
	set(vm, 0x14, 0, 4);
	assert_true(mem_write(vm, old, 1, 4));
	/* Two at one place: one of them answers. */
	set(vm, 0x18, (uint32_t)old, 4);
	assert_true(mem_write(vm, old, 1, 4));
}

static void test_memory_disable(void **state)
{
	struct vm *vm = *state;
	uint64_t a = bar0(vm);

	set(vm, 4, COMMAND_MASTER, 2);
	assert_false(mem_write(vm, a, 1, 4));
	assert_int_equal(mem_read(vm, a, 4), 0xffffffff);
	assert_int_equal(vm->r0.reads + vm->r0.writes, 0);
	set(vm, 4, 0xffffffff, 4); /* what can be set; the status cannot */
	assert_int_equal(cfg(vm, 4, 4), 0x00100406);
	assert_true(mem_write(vm, a, 1, 4));
	/* The other way to the registers does not need it. */
	set(vm, 4, 0, 1);
	assert_true(pci_function_bar_write(&vm->f, 0, 4, "\x42", 1));
	assert_int_equal(vm->r0.bytes[4], 0x42);
	assert_false(pci_function_bar_write(&vm->f, 0, SIZE0 - 1, "xx", 2));
	assert_false(pci_function_bar_write(&vm->f, 1, 0, "x", 1));
	assert_false(pci_function_bar_write(&vm->f, 200, 0, "x", 1));
	assert_false(pci_function_bar_write(&vm->f, 0, UINT64_MAX, "x", 1));
}

static void test_bars_that_cannot_be(void **state)
{
	struct pci_function f;

	assert_int_equal(pci_function_init(&f, &id), 0);
	assert_int_equal(pci_function_add_bar(&f, 6, 4096, false, &reg_ops, NULL), -EINVAL);
	assert_int_equal(pci_function_add_bar(&f, 5, 4096, true, &reg_ops, NULL), -EINVAL);
	assert_int_equal(pci_function_add_bar(&f, 0, 0, false, &reg_ops, NULL), -EINVAL);
	assert_int_equal(pci_function_add_bar(&f, 0, UINT64_C(1) << 32, false, &reg_ops, NULL),
			 -EINVAL);
	assert_int_equal(pci_function_add_bar(&f, 1, 4096, false, &reg_ops, NULL), 0);
	assert_int_equal(pci_function_add_bar(&f, 1, 4096, false, &reg_ops, NULL), -EINVAL);
	assert_int_equal(pci_function_add_bar(&f, 0, 4096, true, &reg_ops, NULL), -EINVAL);
	assert_int_equal(pci_function_add_bar(&f, 2, 4097, true, &reg_ops, NULL), 0);
	assert_int_equal(f.bars[2].size, 8192);
	assert_int_equal(pci_function_add_bar(&f, 3, 4096, false, &reg_ops, NULL), -EINVAL);
	pci_function_fini(&f);
}

static void test_full(void **state)
{
	struct vm *vm = *state;
	struct pci_function *many = calloc(PCI_SLOTS, sizeof(*many));
	struct pci_function huge;

	/* Too large for the window: the bus is as before. */
	assert_int_equal(pci_function_init(&huge, &id), 0);
	assert_int_equal(pci_function_add_bar(&huge, 0, PCI_WINDOW_SIZE * 2, true, &reg_ops, NULL),
			 0);
	assert_int_equal(pci_bus_plug(&vm->pci, &huge), -ENOSPC);
	pci_function_fini(&huge);
	for (int i = 0; i < PCI_SLOTS; i++) {
		assert_int_equal(pci_function_init(&many[i], &id), 0);
		assert_int_equal(pci_bus_plug(&vm->pci, &many[i]), i < 30 ? i + 2 : -ENOSPC);
	}
	assert_int_equal(mem_read(vm, ecam(31, 0), 4), 0x56781234);
	for (int i = 0; i < PCI_SLOTS; i++)
		pci_function_fini(&many[i]);
	free(many);
}

/* ---- capabilities ---- */

struct seen {
	uint8_t regs[8];
	unsigned int offset, len, reads, writes;
};

static void watch_read(void *ctx, const uint8_t *regs, unsigned int offset, void *data,
		       unsigned int len)
{
	struct seen *s = ctx;

	memcpy(s->regs, regs, sizeof(s->regs));
	s->offset = offset;
	s->len = len;
	s->reads++;
	memset(data, 0xab, len);
}

static void watch_write(void *ctx, const uint8_t *regs, unsigned int offset, const void *data,
			unsigned int len)
{
	struct seen *s = ctx;

	memcpy(s->regs, regs, sizeof(s->regs));
	s->offset = offset;
	s->len = len;
	s->writes++;
}

static void test_capabilities(void **state)
{
	static const uint8_t bytes[8] = {0x09, 0x77, 8, 1, 2, 3, 4, 5};
	static const uint8_t writable[8] = {0xff, 0xff, 0, 0, 0x0f, 0xff, 0, 0};
	struct pci_function f;
	struct seen seen = {.reads = 0};
	struct pci_watch w = {.len = 8, .ctx = &seen, .read = watch_read, .write = watch_write};
	uint32_t value;
	int a, b, n = 2;

	assert_int_equal(pci_function_init(&f, &id), 0);
	pci_function_read(&f, 6, &value, 2);
	assert_int_equal(value & 0x10, 0); /* no list */
	a = pci_function_add_capability(&f, bytes, writable, 7);
	b = pci_function_add_capability(&f, bytes, NULL, 8);
	assert_int_equal(a, 0x40);
	assert_int_equal(b, 0x48);
	pci_function_read(&f, 4, &value, 4);
	assert_int_equal(value >> 16 & 0x10, 0x10);
	pci_function_read(&f, 0x34, &value, 1);
	assert_int_equal(value & 0xff, a);
	value = 0xffffffff;
	pci_function_write(&f, (unsigned int)a, &value, 4);
	pci_function_write(&f, (unsigned int)a + 4, &value, 4);
	pci_function_read(&f, (unsigned int)a, &value, 4);
	assert_int_equal(value, 0x01084809); /* id and link stay */
	pci_function_read(&f, (unsigned int)a + 4, &value, 4);
	assert_int_equal(value, 0x0004ff0f);
	while (pci_function_add_capability(&f, bytes, NULL, 8) >= 0)
		n++;
	assert_int_equal(n, (256 - 0x40) / 8);

	/* A watch is given the part that is its, with the registers as they are after. */
	w.start = (uint8_t)a;
	assert_int_equal(pci_function_watch(&f, &w), 0);
	value = 0x01020304;
	pci_function_write(&f, (unsigned int)a + 6, &value, 4);
	assert_int_equal(seen.writes, 1);
	assert_int_equal(seen.offset, 6);
	assert_int_equal(seen.len, 2);
	pci_function_write(&f, (unsigned int)a + 5, "\x66", 1);
	assert_int_equal(seen.regs[5], 0x66);
	pci_function_read(&f, (unsigned int)a - 2, &value, 4);
	assert_int_equal(seen.reads, 1);
	assert_int_equal(seen.offset, 0);
	assert_int_equal(value, 0xabab0000);
	pci_function_read(&f, (unsigned int)a + 8, &value, 4);
	pci_function_write(&f, 0x3c, &value, 4);
	assert_int_equal(seen.reads + seen.writes, 3);
	pci_function_fini(&f);
}

/* ---- MSI-X ---- */

#define CAP   0x40
#define TABLE 0

static uint64_t table(struct vm *vm, unsigned int vector, unsigned int word)
{
	return cfg(vm, 0x20, 4) + TABLE + vector * 16ull + word * 4ull;
}

static uint64_t pending(struct vm *vm, unsigned int word)
{
	uint32_t where = cfg(vm, CAP + 8, 4);

	assert_int_equal(where & 7, 4);
	return mem_read(vm, cfg(vm, 0x20, 4) + (where & ~7u) + word * 8ull, 8);
}

static void program(struct vm *vm, unsigned int vector, uint32_t data, bool masked)
{
	mem_write(vm, table(vm, vector, 0), 0xfee01000, 4);
	mem_write(vm, table(vm, vector, 1), 0, 4);
	mem_write(vm, table(vm, vector, 2), data, 4);
	mem_write(vm, table(vm, vector, 3), masked, 4);
}

static void enable(struct vm *vm, uint32_t control)
{
	set(vm, 4, COMMAND_MEMORY | COMMAND_MASTER, 2);
	set(vm, CAP + 2, control, 2);
}

static void test_msix_capability(void **state)
{
	struct vm *vm = *state;

	assert_int_equal(cfg(vm, CAP, 1), 0x11);
	assert_int_equal(cfg(vm, CAP + 2, 2), VECTORS - 1);
	assert_int_equal(cfg(vm, CAP + 4, 4), 4 | TABLE);
	set(vm, CAP + 2, 0xffff, 2);
	assert_int_equal(cfg(vm, CAP + 2, 2), ENABLE | MASKALL | (VECTORS - 1));
	for (unsigned int v = 0; v < VECTORS; v++)
		assert_int_equal(mem_read(vm, table(vm, v, 3), 4), 1); /* masked at first */
}

static void test_msix_table(void **state)
{
	struct vm *vm = *state;

	mem_write(vm, table(vm, 3, 0), UINT64_C(0xaaaaaaaabbbbbbbb), 8);
	mem_write(vm, table(vm, 3, 2), UINT64_C(0xffffffffcccccccc), 8);
	assert_int_equal(mem_read(vm, table(vm, 3, 0), 8), UINT64_C(0xaaaaaaaabbbbbbb8));
	assert_int_equal(mem_read(vm, table(vm, 3, 2), 4), 0xcccccccc);
	assert_int_equal(mem_read(vm, table(vm, 3, 3), 4), 1); /* the rest is reserved */
	/* Narrow or crooked writes do nothing; nor do those behind the table. */
	mem_write(vm, table(vm, 3, 2), 0, 1);
	mem_write(vm, table(vm, 3, 2) + 2, 0, 2);
	mem_write(vm, table(vm, 3, 2) + 2, 0, 4);
	mem_write(vm, table(vm, 3, 1), 0, 8);
	assert_int_equal(mem_read(vm, table(vm, 3, 2), 4), 0xcccccccc);
	assert_int_equal(mem_read(vm, table(vm, 3, 1), 4), 0xaaaaaaaa);
	mem_write(vm, table(vm, VECTORS, 0), 0xffffffff, 4);
	assert_int_equal(mem_read(vm, table(vm, VECTORS, 0), 4), 0);
}

static void test_msix_sends(void **state)
{
	struct vm *vm = *state;

	program(vm, 0, 0x41, false);
	program(vm, VECTORS - 1, 0x42, false);
	assert_false(msix_raise(&vm->msix, 0)); /* not enabled: lost */
	enable(vm, ENABLE);
	assert_int_equal(vm->sent, 0);
	assert_true(msix_raise(&vm->msix, 0));
	assert_int_equal(vm->sent, 1);
	assert_int_equal(vm->address, 0xfee01000);
	assert_int_equal(vm->data[0], 0x41);
	assert_true(msix_raise(&vm->msix, VECTORS - 1));
	assert_int_equal(vm->data[1], 0x42);
	assert_true(msix_raise(&vm->msix, VECTORS));
	assert_true(msix_raise(&vm->msix, 0xffff));
	assert_int_equal(vm->sent, 2);
}

static void test_msix_masks(void **state)
{
	struct vm *vm = *state;

	program(vm, 1, 0x51, true);
	program(vm, 65, 0x52, false);
	enable(vm, ENABLE);
	/* A vector's own mask: pending, once however often. */
	msix_raise(&vm->msix, 1);
	msix_raise(&vm->msix, 1);
	assert_int_equal(vm->sent, 0);
	assert_int_equal(pending(vm, 0), 2);
	mem_write(vm, table(vm, 1, 2), 0x53, 4); /* what is sent is what is there then */
	mem_write(vm, table(vm, 1, 3), 0, 4);
	assert_int_equal(vm->sent, 1);
	assert_int_equal(vm->data[0], 0x53);
	assert_int_equal(pending(vm, 0), 0);
	/* The function's. */
	set(vm, CAP + 2, ENABLE | MASKALL, 2);
	msix_raise(&vm->msix, 1);
	msix_raise(&vm->msix, 65);
	assert_int_equal(vm->sent, 1);
	assert_int_equal(pending(vm, 0), 2);
	assert_int_equal(pending(vm, 1), 2);
	mem_write(vm, table(vm, 1, 3), 1, 4);
	set(vm, CAP + 2, ENABLE, 2);
	assert_int_equal(vm->sent, 2);
	assert_int_equal(vm->data[1], 0x52);
	assert_int_equal(pending(vm, 0), 2);
	assert_int_equal(pending(vm, 1), 0);
	/* Writes do not change the pending bits. */
	mem_write(vm, cfg(vm, 0x20, 4) + (cfg(vm, CAP + 8, 4) & ~7u), 0, 8);
	assert_int_equal(pending(vm, 0), 2);
	/* Disabling forgets. */
	set(vm, CAP + 3, 0, 1);
	assert_int_equal(pending(vm, 0), 0);
	mem_write(vm, table(vm, 1, 3), 0, 4);
	set(vm, CAP + 2, ENABLE, 2);
	assert_int_equal(vm->sent, 2);
}

static void test_msix_needs_a_bus_master(void **state)
{
	struct vm *vm = *state;

	program(vm, 0, 0x61, false);
	enable(vm, ENABLE);
	set(vm, 4, COMMAND_MEMORY, 2);
	msix_raise(&vm->msix, 0);
	assert_int_equal(vm->sent, 0);
	set(vm, 4, COMMAND_MASTER, 2);
	assert_int_equal(vm->sent, 1);
}

static void test_msix_that_cannot_be(void **state)
{
	struct pci_function f;
	struct msix m;

	assert_int_equal(pci_function_init(&f, &id), 0);
	assert_int_equal(msix_init(&m, &f, 4, 0, on_message, NULL), -EINVAL);
	assert_int_equal(msix_init(&m, &f, 4, MSIX_VECTORS_MAX + 1, on_message, NULL), -EINVAL);
	msix_fini(&m);
	assert_int_equal(msix_init(&m, &f, 6, 1, on_message, NULL), -EINVAL);
	msix_fini(&m);
	assert_int_equal(msix_init(&m, &f, 5, MSIX_VECTORS_MAX, on_message, NULL), 0);
	assert_int_equal(f.bars[5].size, 65536);
	msix_fini(&m);
	pci_function_fini(&f);
}

/* ---- several vCPUs at once, for the thread sanitizer ---- */

#define TURNS 2000

struct shared {
	struct vm *vm;
	_Atomic unsigned int accesses;
	_Atomic unsigned int messages;
};

static void no_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	atomic_fetch_add((_Atomic unsigned int *)dev, 1);
}

static void no_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	atomic_fetch_add((_Atomic unsigned int *)dev, 1);
}

static const struct bus_ops counting_ops = {no_read, no_write};

static void count_message(void *ctx, uint64_t address, uint32_t data)
{
	atomic_fetch_add((_Atomic unsigned int *)ctx, 1);
}

static void *mover(void *arg)
{
	struct vm *vm = ((struct shared *)arg)->vm;

	for (unsigned int i = 0; i < TURNS; i++) {
		set(vm, 0x10, (uint32_t)(PCI_WINDOW_BASE + (i % 64 + 1) * SIZE0), 4);
		set(vm, 4, i % 3 ? COMMAND_MEMORY | COMMAND_MASTER : 0, 2);
	}
	set(vm, 4, COMMAND_MEMORY | COMMAND_MASTER, 2);
	return NULL;
}

static void *masker(void *arg)
{
	struct vm *vm = ((struct shared *)arg)->vm;
	uint64_t at = atomic_load(&vm->f.bars[4].base);

	for (unsigned int i = 0; i < TURNS; i++) {
		uint32_t masked = i & 1;

		out(vm, 0xcf8, 0x80000800 | (CAP & 0xfc), 4);
		(void)in(vm, 0xcfc, 4);
		if (at != PCI_BAR_OFF)
			bus_write(&vm->mmio, at + 12, &masked, 4);
		pci_function_bar_write(&vm->f, 4, 12, &masked, 4);
	}
	return NULL;
}

static void *visitor(void *arg)
{
	struct shared *s = arg;

	for (unsigned int i = 0; i < TURNS; i++) {
		uint64_t value = 0, at = PCI_WINDOW_BASE + (i % 64 + 1) * SIZE0;

		bus_read(&s->vm->mmio, at, &value, 8);
		bus_write(&s->vm->mmio, at + 8, &value, 4);
		assert_int_equal(cfg(s->vm, 0, 4), 0x56781234);
		assert_true(msix_raise(&s->vm->msix, 0));
	}
	return NULL;
}

static void test_threads(void **state)
{
	static const uint32_t unmasked;
	void *(*const work[])(void *) = {mover, masker, visitor, visitor};
	struct vm *vm = calloc(1, sizeof(*vm));
	struct shared s = {.vm = vm};
	pthread_t threads[4];

	assert_int_equal(pci_bus_init(&vm->pci, &vm->pio, &vm->mmio), 0);
	assert_int_equal(pci_function_init(&vm->f, &id), 0);
	assert_int_equal(pci_function_add_bar(&vm->f, 0, SIZE0, true, &counting_ops, &s.accesses),
			 0);
	assert_int_equal(msix_init(&vm->msix, &vm->f, 4, 1, count_message, &s.messages), 0);
	assert_int_equal(pci_bus_plug(&vm->pci, &vm->f), 1);
	enable(vm, ENABLE);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work[i], &s), 0);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	/* Nothing that was raised is held back for ever. */
	pci_function_bar_write(&vm->f, 4, 12, &unmasked, 4);
	assert_int_equal(pending(vm, 0), 0);
	assert_true(atomic_load(&s.messages) > 0);
	/* And the BAR is where its register says. */
	atomic_store(&s.accesses, 0);
	assert_true(mem_write(vm, bar0(vm), 1, 4));
	assert_int_equal(atomic_load(&s.accesses), 1);
	teardown((void **)&vm);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_identity),
		test(test_nobody),
		test(test_widths),
		test(test_address_register),
		cmocka_unit_test(test_ports_leave_the_reset_register),
		test(test_firmware_has_placed_them),
		test(test_sizing),
		test(test_moving),
		test(test_memory_disable),
		cmocka_unit_test(test_bars_that_cannot_be),
		test(test_full),
		cmocka_unit_test(test_capabilities),
		test(test_msix_capability),
		test(test_msix_table),
		test(test_msix_sends),
		test(test_msix_masks),
		test(test_msix_needs_a_bus_master),
		cmocka_unit_test(test_msix_that_cannot_be),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
