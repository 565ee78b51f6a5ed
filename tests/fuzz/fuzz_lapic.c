/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is a list of things that guests, devices and the vCPU loop do to three local APICs and
 * an I/O APIC. After each, what must hold whatever the guest does is checked.
 */
#include <errno.h>

#include "fuzz.h"
#include "devices/ioapic.h"
#include "devices/lapic.h"

#define APICS 3

struct input {
	const uint8_t *data;
	size_t left;
};

/* Zeros where the input has ended. */
static uint64_t take(struct input *in, unsigned int bytes)
{
	return fuzz_take(&in->data, &in->left, bytes);
}

struct vm {
	struct lapic lapics[APICS];
	struct lapic *pointers[APICS];
	struct lapic_bus bus;
	struct ioapic io;
	struct clock clock;
	uint64_t now;
	bool woken[APICS];
};

static void on_wake(void *ctx, uint32_t id, bool ipi)
{
	struct vm *vm = ctx;

	check(id < APICS);
	check(lapic_inbox_pending(&vm->lapics[id]));
	vm->woken[id] = true;
}

static void on_eoi(void *ctx, uint8_t vector)
{
	struct vm *vm = ctx;

	check(vector >= 16);
	ioapic_eoi(&vm->io, vector);
}

static int highest(const uint32_t *map)
{
	int best = -1;

	for (int word = 0; word < 8; word++) {
		for (uint32_t bits = map[word]; bits; bits &= bits - 1)
			best = word * 32 + __builtin_ctz(bits);
	}
	return best;
}

static uint32_t class_of(int vector)
{
	return vector < 0 ? 0 : (uint32_t)vector & 0xf0;
}

static void check_lapic(const struct vm *vm, uint32_t id)
{
	const struct lapic *l = &vm->lapics[id];
	uint32_t ppr = atomic_load(&l->address.ppr), mode = atomic_load(&l->address.mode);
	int pending = lapic_pending_vector(l), irr = highest(l->irr), isr = highest(l->isr);

	check(!(l->irr[0] & 0xffff) && !(l->isr[0] & 0xffff));
	check(lapic_has_irr(l) == (irr >= 0));

	check(l->tpr <= 0xff);
	check(ppr == ((l->tpr & 0xf0) >= class_of(isr) ? l->tpr : class_of(isr)));
	check(lapic_cr8(l) == l->tpr >> 4);
	if (pending >= 0)
		check(pending == irr && class_of(pending) > (ppr & 0xf0));
	else
		check(class_of(irr) <= (ppr & 0xf0));

	check(mode == (l->base & LAPIC_BASE_ENABLE
			       ? (l->base & LAPIC_BASE_X2APIC ? LAPIC_X2APIC : LAPIC_XAPIC)
			       : LAPIC_DISABLED));
	check(atomic_load(&l->address.sw_enabled) == (l->svr >> 8 & 1));
	if (mode == LAPIC_X2APIC)
		check(atomic_load(&l->address.ldr) == (id >> 4 << 16 | 1u << (id & 15)));
	if (mode == LAPIC_DISABLED)
		check(irr < 0 && isr < 0 && lapic_deadline(l) == UINT64_MAX);

	if (!(l->svr & 0x100))
		check(l->lvt_timer & l->lvt_thermal & l->lvt_perf & l->lvt_lint0 & l->lvt_lint1 &
		      l->lvt_error & 1u << 16);
	check(!(l->esr & ~0xf0u) && !(l->esr_pending & ~0xf0u));
	if (lapic_deadline(l) != UINT64_MAX) {
		bool deadline_mode = (l->lvt_timer >> 17 & 3) == 2;

		check(deadline_mode ? l->tsc_deadline != 0 : l->timer_initial != 0);
		check((l->lvt_timer >> 17 & 3) != 3);
	}
	/* Nobody but lapic_collect() empties the inbox, so nothing may come without a wake-up. */
	if (lapic_inbox_pending(l))
		check(vm->woken[id]);
}

static void check_ioapic(const struct ioapic *io)
{
	uint32_t expected[256] = {0};

	check(!(io->level >> IOAPIC_PINS));
	check(io->index <= 0xff);
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t entry = io->entry[pin];
		bool level = entry >> 15 & 1 && (entry >> 8 & 7) <= LAPIC_LOWEST;

		check(!(entry & UINT64_C(0x00fffffffffe1000)));
		check(level || !(entry >> 14 & 1));
		if (level)
			expected[entry & 0xff] |= 1u << pin;
	}
	check(!memcmp(expected, io->level_mask_of_vector, sizeof(expected)));
}

static void check_current_count(struct vm *vm, struct lapic *l)
{
	uint64_t value;

	if (atomic_load(&l->address.mode) != LAPIC_X2APIC)
		return;
	check(lapic_msr_read(l, 0x839, &value, vm->now) == 0);
	check(value <= l->timer_initial);
}

static void run_timer(struct vm *vm, struct lapic *l)
{
	uint64_t before = lapic_deadline(l);
	bool due = before != UINT64_MAX && before <= vm->now;

	check(lapic_timer_run(l, vm->now) == due);
	if (!due)
		check(lapic_deadline(l) == before);
	else
		check(lapic_deadline(l) > vm->now || vm->now == UINT64_MAX);
	if (due && lapic_deadline(l) != UINT64_MAX)
		/* at least the minimum period of 20 us on, and in phase */
		check(lapic_deadline(l) - before >= 40000);
}

static void accept_pending(struct lapic *l)
{
	int vector = lapic_pending_vector(l);

	if (vector < 0)
		return;
	lapic_accept(l, (uint8_t)vector);
	check(!(l->irr[vector / 32] >> vector % 32 & 1));
	check(highest(l->isr) == vector);
	check(lapic_pending_vector(l) < 0 || class_of(lapic_pending_vector(l)) > class_of(vector));
}

static void eoi(struct lapic *l)
{
	uint64_t spurious = l->spurious;
	int vector = highest(l->isr);

	lapic_eoi(l);
	check(highest(l->isr) < vector || vector < 0);
	check(l->spurious == spurious + (vector < 0));
}

static void collect(struct vm *vm, struct lapic *l)
{
	uint32_t events = lapic_collect(l);

	check(!(events & ~LAPIC_EVENT_OWNER));
	check((events & LAPIC_EVENT_SIPI) || !(events & 0xff00));
	check(!lapic_inbox_pending(l) || vm->woken[l->id]);
	if (events & LAPIC_EVENT_INIT)
		lapic_reset(l);
}

static void step(struct vm *vm, struct input *in)
{
	uint8_t op = (uint8_t)take(in, 1);
	struct lapic *l = &vm->lapics[(op >> 4) % APICS];
	uint64_t value;
	uint8_t bytes[8];
	unsigned int len;
	uint32_t at;
	int ret;

	switch (op & 15) {
	case 0: /* an MSR, anywhere in the range or near it */
		at = 0x7f0 + (uint32_t)take(in, 2) % 0x120;
		ret = lapic_msr_write(l, at, take(in, 8), vm->now);
		check(ret == 0 || ret == -EPERM);
		break;
	case 1: /* an MSR that exists, values with few bits */
		at = 0x800 + (uint32_t)take(in, 1) % 0x40;
		ret = lapic_msr_write(l, at, take(in, 3), vm->now);
		check(ret == 0 || ret == -EPERM);
		break;
	case 2:
		at = 0x7f0 + (uint32_t)take(in, 2) % 0x120;
		ret = lapic_msr_read(l, at, &value, vm->now);
		check(ret == 0 || ret == -EPERM);
		break;
	case 3:
		if (take(in, 1) & 1)
			lapic_msr_write(l, LAPIC_MSR_TSC_DEADLINE, take(in, 8), vm->now);
		else
			lapic_msr_write(l, LAPIC_MSR_TSC_DEADLINE,
					vm->now + l->tsc_offset + take(in, 2), vm->now);
		break;
	case 4: /* MMIO, any offset and length */
		at = (uint32_t)take(in, 2) % 0x1010;
		len = 1 + (unsigned int)take(in, 1) % 8;
		value = take(in, len);
		memcpy(bytes, &value, 8);
		lapic_mmio_write(l, at, bytes, len, vm->now);
		break;
	case 5: /* MMIO as guests do it */
		at = (uint32_t)take(in, 1) % 0x40 * 16;
		value = take(in, 4);
		memcpy(bytes, &value, 8);
		lapic_mmio_write(l, at, bytes, 4, vm->now);
		break;
	case 6:
		at = (uint32_t)take(in, 2) % 0x1010;
		len = 1 + (unsigned int)take(in, 1) % 8;
		lapic_mmio_read(l, at, bytes, len, vm->now);
		break;
	case 7: /* what KVM may report as the base, and what it may not */
		value = take(in, 1);
		lapic_set_base(l, LAPIC_MMIO_BASE | (value & 3) << 10 | (value & 4) << 6);
		break;
	case 8: /* time: some, much, back */
		switch (take(in, 1) % 4) {
		case 0:
			vm->now += take(in, 2);
			break;
		case 1:
			vm->now += take(in, 5);
			break;
		case 2:
			vm->now = take(in, 8);
			break;
		default:
			if (lapic_deadline(l) != UINT64_MAX)
				vm->now = lapic_deadline(l);
			break;
		}
		break;
	case 9:
		run_timer(vm, l);
		break;
	case 10:
		collect(vm, l);
		break;
	case 11:
		collect(vm, l);
		accept_pending(l);
		break;
	case 12:
		eoi(l);
		break;
	case 13:
		lapic_bus_msi(&vm->bus,
			      take(in, 1) & 1 ? 0xfee00000 + take(in, 3) % 0x200000 : take(in, 8),
			      (uint32_t)take(in, 4));
		break;
	case 14:
		at = (uint32_t)take(in, 1);
		value = take(in, 4);
		memcpy(bytes, &value, 8);
		if (at & 0x80)
			ioapic_mmio_write(&vm->io, at & 0x70, bytes, 4);
		else
			ioapic_set_pin(&vm->io, at & 31, at & 32);
		break;
	default:
		at = (uint32_t)take(in, 1);
		if (at & 0x80) {
			lapic_set_cr8(l, at);
			check(lapic_cr8(l) == (at & 15));
		} else if (at & 0x20) {
			l->tsc_offset = take(in, 8);
		} else if (at & 0x10) {
			l->tsc_deadline_offered = true; /* only ever set: guests see CPUID once */
		} else {
			lapic_reset(l);
		}
		break;
	}
	check_current_count(vm, l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vm vm;
	struct input in = {data, size};

	memset(&vm, 0, sizeof(vm));
	vm.clock = (struct clock){.tsc = true,
				  .khz = 2000000,
				  .to_ns = UINT64_C(1) << 31,
				  .to_ticks = UINT64_C(2) << 32};
	vm.bus = (struct lapic_bus){
		.lapics = vm.pointers, .count = APICS, .wake = on_wake, .eoi = on_eoi, .ctx = &vm};
	for (uint32_t id = 0; id < APICS; id++) {
		const uint32_t svr = 0x1ff;

		vm.pointers[id] = &vm.lapics[id];
		lapic_init(&vm.lapics[id], &vm.bus, id, id == 0, &vm.clock);
		lapic_mmio_write(&vm.lapics[id], 0xf0, &svr, 4, 0);
	}
	if (ioapic_init(&vm.io, &vm.bus))
		abort();

	while (in.left) {
		step(&vm, &in);
		for (uint32_t id = 0; id < APICS; id++)
			check_lapic(&vm, id);
		check_ioapic(&vm.io);
	}
	ioapic_destroy(&vm.io);
	return 0;
}
