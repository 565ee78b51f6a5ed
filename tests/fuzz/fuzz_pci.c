/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is a list of accesses to a PCI bus of three functions: ports, ECAM, and the window
 * where BARs and MSI-X tables are. These must hold: nothing read-only changes, a BAR answers where
 * its register says and nowhere else, no message leaves that is masked, and none is lost.
 */
#include <linux/pci_regs.h>

#include "fuzz.h"
#include "devices/pci/bus.h"
#include "devices/pci/msix.h"

#define FUNCTIONS 2
#define BAR_SIZE  0x2000u
#define VECTORS	  70u

struct unit {
	struct pci_function f;
	struct msix msix;
	uint8_t before[PCI_CONFIG_SIZE];
	uint64_t raised[2]; /* raised, and not sent: what should be pending */
};

struct vm {
	struct bus pio, mmio;
	struct pci_bus pci;
	struct unit units[FUNCTIONS];
};

static void reg_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	check(offset < BAR_SIZE && len <= BAR_SIZE - offset);
	memset(data, (int)offset, len);
}

static void reg_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	check(offset < BAR_SIZE && len <= BAR_SIZE - offset);
}

static const struct bus_ops reg_ops = {reg_read, reg_write};

static void window_read(void *ctx, const uint8_t *regs, unsigned int offset, void *data,
			unsigned int len)
{
	check(offset < 8 && len && len <= 8 - offset);
	memset(data, regs[7], len);
}

static void window_write(void *ctx, const uint8_t *regs, unsigned int offset, const void *data,
			 unsigned int len)
{
	check(offset < 8 && len && len <= 8 - offset);
	/* The registers are as they are after the write. */
	check(!memcmp(regs + offset, data, len) || offset < 4);
}

static void on_message(void *ctx, uint64_t address, uint32_t data)
{
	struct unit *u = ctx;
	unsigned int sent = VECTORS;

	check(!(address & 3));
	check(u->msix.enabled && !u->msix.masked && atomic_load(&u->f.master));
	for (unsigned int v = 0; v < VECTORS; v++) {
		const struct msix_entry *e = &u->msix.table[v];
		uint64_t bit = UINT64_C(1) << v % 64;

		if ((u->raised[v / 64] & bit) && !(u->msix.pending[v / 64] & bit) &&
		    e->data == data &&
		    ((uint64_t)e->address_high << 32 | e->address_low) == address)
			sent = v;
	}
	check(sent < VECTORS && !(u->msix.table[sent].control & 1));
	u->raised[sent / 64] &= ~(UINT64_C(1) << sent % 64);
}

static void check_unit(struct vm *vm, struct unit *u)
{
	const uint8_t *c = u->f.config;
	uint16_t command;

	memcpy(&command, c + PCI_COMMAND, 2);
	for (unsigned int i = 0; i < PCI_CONFIG_SIZE; i++)
		check(!((c[i] ^ u->before[i]) & ~u->f.writable[i]));
	for (unsigned int i = 0; i < PCI_BARS; i++) {
		struct pci_bar *b = &u->f.bars[i];
		uint64_t base = atomic_load(&b->base), reg = 0;

		if (!b->size) {
			check(base == PCI_BAR_OFF);
			continue;
		}
		memcpy(&reg, c + PCI_BASE_ADDRESS_0 + 4 * i, b->wide ? 8 : 4);
		check(base == (command & PCI_COMMAND_MEMORY ? reg & ~UINT64_C(15) : PCI_BAR_OFF));
		check(base == PCI_BAR_OFF || base % b->size == 0);
	}
	check(atomic_load(&u->f.master) == !!(command & PCI_COMMAND_MASTER));
	if (!u->msix.enabled)
		u->raised[0] = u->raised[1] = 0;
	check(!memcmp(u->raised, u->msix.pending, sizeof(u->raised)));
	for (unsigned int v = 0; v < VECTORS; v++)
		check(!(u->raised[v / 64] >> v % 64 & 1) || u->msix.masked ||
		      (u->msix.table[v].control & 1) || !atomic_load(&u->f.master));
}

static void make(struct vm *vm)
{
	static const struct pci_id id = {.vendor = 0x1234, .device = 1, .class_code = 0xff0000};
	static const uint8_t cap[8] = {PCI_CAP_ID_VNDR, 0, 8, 0, 0, 0, 0, 0};
	static const uint8_t writable[8] = {0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};

	memset(vm, 0, sizeof(*vm));
	check(pci_bus_init(&vm->pci, &vm->pio, &vm->mmio) == 0);
	for (unsigned int i = 0; i < FUNCTIONS; i++) {
		struct unit *u = &vm->units[i];
		struct pci_watch w = {
			.len = 8, .ctx = u, .read = window_read, .write = window_write};
		int at;

		check(pci_function_init(&u->f, &id) == 0);
		check(pci_function_add_bar(&u->f, 0, BAR_SIZE, i == 0, &reg_ops, u) == 0);
		check(msix_init(&u->msix, &u->f, 2, VECTORS, on_message, u) == 0);
		at = pci_function_add_capability(&u->f, cap, writable, sizeof(cap));
		check(at > 0);
		w.start = (uint8_t)at;
		check(pci_function_watch(&u->f, &w) == 0);
		check(pci_bus_plug(&vm->pci, &u->f) == (int)i + 1);
		memcpy(u->before, u->f.config, sizeof(u->before));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vm vm;

	make(&vm);
	while (size) {
		uint8_t op = (uint8_t)fuzz_take(&data, &size, 1), bytes[8], v;
		unsigned int len = 1u << (op >> 3 & 3), i = op >> 6 & 1;
		struct unit *u = &vm.units[i];
		bool write = op & 0x20;
		struct bus *bus = &vm.mmio;
		uint64_t addr, value;

		switch (op & 7) {
		case 0: /* ports; there are no accesses of 8 bytes */
			bus = &vm.pio;
			len = len == 8 ? 4 : len;
			addr = 0xcf0 + fuzz_take(&data, &size, 1) % 24;
			break;
		case 1: /* CONFIG_ADDRESS of a function here */
			bus = &vm.pio;
			len = 4;
			write = true;
			addr = 0xcf8;
			break;
		case 2:
			addr = PCI_ECAM_BASE + (fuzz_take(&data, &size, 3) & 0xfffff);
			break;
		case 3: /* a register of a function here */
			addr = PCI_ECAM_BASE + ((i + 1ull) << 15) + fuzz_take(&data, &size, 1);
			break;
		case 4:
			addr = PCI_WINDOW_BASE + fuzz_take(&data, &size, 4) % PCI_WINDOW_SIZE;
			break;
		case 5: /* where a BAR is */
			addr = atomic_load(&u->f.bars[op & 0x80 ? 2 : 0].base) +
			       fuzz_take(&data, &size, 2) % (BAR_SIZE + 16);
			break;
		case 6:
			v = (uint8_t)fuzz_take(&data, &size, 1) % (VECTORS + 1);
			if (v < VECTORS && u->msix.enabled)
				u->raised[v / 64] |= UINT64_C(1) << v % 64;
			check(msix_raise(&u->msix, v) == u->msix.enabled);
			goto checks;
		default: /* an entry of a table, as drivers write it */
			addr = atomic_load(&u->f.bars[2].base) +
			       (fuzz_take(&data, &size, 1) % VECTORS) * 16 + (op & 0x80 ? 12 : 0);
			write = true;
			len = 4;
			break;
		}
		value = write ? fuzz_take(&data, &size, len) : 0;
		if ((op & 7) == 1)
			value = 0x80000000 | (i + 1) << 11 | (value & 0xfc);
		memcpy(bytes, &value, sizeof(bytes));
		if (write)
			bus_write(bus, addr, bytes, len);
		else
			bus_read(bus, addr, bytes, len);
	checks:
		check(!memcmp(vm.pci.bridge.config, "\x36\x1b\x08\x00", 4));
		for (unsigned int j = 0; j < FUNCTIONS; j++)
			check_unit(&vm, &vm.units[j]);
	}
	for (unsigned int j = 0; j < FUNCTIONS; j++) {
		msix_fini(&vm.units[j].msix);
		pci_function_fini(&vm.units[j].f);
	}
	pci_bus_fini(&vm.pci);
	return 0;
}
