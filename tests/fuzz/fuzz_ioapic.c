/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is a list of register accesses, pin changes and EOIs of an I/O APIC with three local
 * APICs. Beside what must hold in the I/O APIC itself, no level may be lost: a pin that is asserted
 * and not masked is on its way to, or in service at, a local APIC, which will acknowledge it.
 */

#include "fuzz.h"
#include "devices/ioapic.h"

#define APICS 3

#define ENTRY_REMOTE_IRR (1u << 14)
#define ENTRY_LEVEL	 (1u << 15)
#define ENTRY_MASKED	 (1u << 16)

struct vm {
	struct lapic lapics[APICS];
	struct lapic *pointers[APICS];
	struct lapic_bus bus;
	struct ioapic io;
	struct clock clock;
	/* Of each pin: the vector that its last accepted level was sent with, or ... */
#define IDLE -1
#define LOST -2
	int sent_vector[IOAPIC_PINS];
	uint32_t edges[8]; /* vectors that an entry has ever had as an edge, not masked */
};

static void on_wake(void *ctx, uint32_t id, bool ipi)
{
	check(id < APICS && !ipi);
}

static void on_eoi(void *ctx, uint8_t vector)
{
	struct vm *vm = ctx;

	ioapic_eoi(&vm->io, vector);
}

static bool is_level(uint64_t entry)
{
	return (entry & ENTRY_LEVEL) && (entry >> 8 & 7) <= LAPIC_LOWEST;
}

static bool in_flight(const struct vm *vm, int vector)
{
	uint32_t bit = 1u << vector % 32;

	for (unsigned int id = 0; id < APICS; id++) {
		const struct lapic *l = &vm->lapics[id];

		if ((l->irr[vector / 32] | l->isr[vector / 32] |
		     atomic_load(&l->inbox.pir_level[vector / 32])) &
		    bit)
			return true;
	}
	return false;
}

static void check_all(struct vm *vm)
{
	const struct ioapic *io = &vm->io;
	uint32_t expected[256] = {0};

	check(!(io->level >> IOAPIC_PINS));
	check(io->index <= 0xff);
	check(io->id <= 0xf);
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t entry = io->entry[pin];
		int vector = (int)(entry & 0xff);

		check(!(entry & UINT64_C(0x00fffffffffe1000)));
		if (is_level(entry))
			expected[vector] |= 1u << pin;
		else if (!(entry & ENTRY_MASKED))
			vm->edges[vector / 32] |= 1u << vector % 32;
		if (!(entry & ENTRY_REMOTE_IRR)) {
			vm->sent_vector[pin] = IDLE;
			continue;
		}
		check(is_level(entry));
		if (vm->sent_vector[pin] == IDLE)
			vm->sent_vector[pin] = vector;
		/*
		 * A guest that changes the vector under a level that is being handled, or uses it
		 * for edges too (which clear the TMR), may lose the EOI, as in the hardware.
		 * Otherwise remote IRR means that one will come.
		 */
		if (vm->sent_vector[pin] != vector || vm->edges[vector / 32] >> vector % 32 & 1)
			vm->sent_vector[pin] = LOST;
		if (vm->sent_vector[pin] != LOST)
			check(vector >= 16 && in_flight(vm, vector));
	}
	check(!memcmp(expected, io->level_mask_of_vector, sizeof(expected)));
}

static void acknowledge(struct lapic *l)
{
	int vector;

	lapic_collect(l);
	vector = lapic_pending_vector(l);
	if (vector >= 0)
		lapic_accept(l, (uint8_t)vector);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vm vm;
	struct ioapic *io = &vm.io;

	memset(&vm, 0, sizeof(vm));
	vm.clock = (struct clock){
		.khz = 1000000, .to_ns = UINT64_C(1) << 32, .to_ticks = UINT64_C(1) << 32};
	vm.bus = (struct lapic_bus){
		.lapics = vm.pointers, .count = APICS, .wake = on_wake, .eoi = on_eoi, .ctx = &vm};
	for (uint32_t id = 0; id < APICS; id++) {
		const uint32_t svr = 0x1ff, ldr = 1u << (24 + id);

		vm.pointers[id] = &vm.lapics[id];
		lapic_init(&vm.lapics[id], &vm.bus, id, id == 0, &vm.clock);
		lapic_mmio_write(&vm.lapics[id], 0xf0, &svr, 4, 0);
		lapic_mmio_write(&vm.lapics[id], 0xd0, &ldr, 4, 0);
	}
	if (ioapic_init(io, &vm.bus))
		abort();
	check_all(&vm);

	while (size) {
		uint8_t op = (uint8_t)fuzz_take(&data, &size, 1), bytes[8];
		struct lapic *l = &vm.lapics[(op >> 4) % APICS];
		uint64_t value, offset;
		unsigned int len;
		uint8_t pin;

		switch (op & 7) {
		case 0: /* any access */
			offset = fuzz_take(&data, &size, 1);
			len = 1 + (op >> 4) % 8;
			value = fuzz_take(&data, &size, len);
			memcpy(bytes, &value, 8);
			if (op & 8)
				ioapic_mmio_read(io, offset, bytes, len);
			else
				ioapic_mmio_write(io, offset, bytes, len);
			break;
		case 1: /* a whole entry */
			pin = (uint8_t)fuzz_take(&data, &size, 1) % IOAPIC_PINS;
			for (uint32_t half = 0; half < 2; half++) {
				uint32_t reg = 0x11 + 2u * pin - half;
				uint32_t word = (uint32_t)fuzz_take(&data, &size, 4);

				ioapic_mmio_write(io, 0x00, &reg, 4);
				ioapic_mmio_write(io, 0x10, &word, 4);
				check_all(&vm);
			}
			break;
		case 2:
		case 3:
			pin = (uint8_t)fuzz_take(&data, &size, 1);
			ioapic_set_pin(io, pin & 31, pin & 32);
			if (pin & 64)
				ioapic_set_pin(io, pin & 31, !(pin & 32));
			break;
		case 4: /* the vCPU takes an interrupt */
			acknowledge(l);
			break;
		case 5:
			lapic_eoi(l);
			break;
		case 6: /* takes it and ends it */
			acknowledge(l);
			lapic_eoi(l);
			break;
		default:
			lapic_set_cr8(l, op >> 4);
			break;
		}
		check_all(&vm);
	}

	/* Every level that was asked for and that can be delivered has been or will be. */
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		ioapic_set_pin(io, pin, io->level >> pin & 1);
		check_all(&vm);
		if (is_level(io->entry[pin]) && (io->level >> pin & 1) &&
		    !(io->entry[pin] & (ENTRY_MASKED | ENTRY_REMOTE_IRR))) {
			struct lapic_msg msg = {
				.dest = (uint32_t)(io->entry[pin] >> 56),
				.vector = (uint8_t)io->entry[pin],
				.logical = io->entry[pin] >> 11 & 1,
				.xapic_dest = true,
			};

			check(msg.vector < 16 || !lapic_bus_send(&vm.bus, &msg, NULL));
		}
	}
	ioapic_destroy(io);
	return 0;
}
