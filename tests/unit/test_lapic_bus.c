/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages between local APICs, rule by rule of the Intel SDM volume 3: "Issuing Interprocessor
 * Interrupts", "Logical Destination Mode" of xAPIC and x2APIC, "Message Signalled Interrupts".
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/lapic.h"

#define MAX_APICS   40
#define ENABLED	    0x1ffu
#define X2APIC_BASE (LAPIC_MMIO_BASE | LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)

#define ICR_SELF    (1u << 18)
#define ICR_ALL	    (2u << 18)
#define ICR_OTHERS  (3u << 18)
#define ICR_LOGICAL (1u << 11)
#define ICR_ASSERT  (1u << 14)
#define ICR_LEVEL   (1u << 15)

enum { TPR = 0x80, LDR = 0xd0, DFR = 0xe0, SVR = 0xf0, ESR = 0x280, ICR = 0x300, ICR2 = 0x310 };

struct vm {
	struct lapic lapics[MAX_APICS];
	struct lapic *pointers[MAX_APICS];
	struct lapic_bus bus;
	struct clock clock;
	unsigned int wakes[MAX_APICS], ipis[MAX_APICS];
};

static void on_wake(void *ctx, uint32_t id, bool ipi)
{
	struct vm *vm = ctx;

	vm->wakes[id]++;
	vm->ipis[id] += ipi;
}

static void write32(struct lapic *l, uint32_t offset, uint32_t value)
{
	lapic_mmio_write(l, offset, &value, 4, 0);
}

static uint32_t read32(struct lapic *l, uint32_t offset)
{
	uint32_t value;

	lapic_mmio_read(l, offset, &value, 4, 0);
	return value;
}

static void vm_init(struct vm *vm, uint32_t count)
{
	memset(vm, 0, sizeof(*vm));
	vm->clock = (struct clock){
		.khz = 1000000, .to_ns = UINT64_C(1) << 32, .to_ticks = UINT64_C(1) << 32};
	vm->bus = (struct lapic_bus){
		.lapics = vm->pointers, .count = count, .wake = on_wake, .ctx = vm};
	for (uint32_t id = 0; id < count; id++) {
		vm->pointers[id] = &vm->lapics[id];
		lapic_init(&vm->lapics[id], &vm->bus, id, id == 0, &vm->clock);
	}
}

static void xapic(struct vm *vm, uint32_t count)
{
	vm_init(vm, count);
	for (uint32_t id = 0; id < count; id++)
		write32(&vm->lapics[id], SVR, ENABLED);
}

static void x2apic(struct vm *vm, uint32_t count)
{
	vm_init(vm, count);
	for (uint32_t id = 0; id < count; id++) {
		lapic_set_base(&vm->lapics[id], X2APIC_BASE);
		assert_int_equal(lapic_msr_write(&vm->lapics[id], 0x80f, ENABLED, 0), 0);
	}
}

static void xapic_icr(struct lapic *l, uint8_t dest, uint32_t icr)
{
	write32(l, ICR2, (uint32_t)dest << 24);
	write32(l, ICR, icr);
}

static void x2apic_icr(struct lapic *l, uint32_t dest, uint32_t icr)
{
	assert_int_equal(lapic_msr_write(l, 0x830, (uint64_t)dest << 32 | icr, 0), 0);
}

/* Returns who has @vector pending, one bit each, and takes it away again. */
static uint64_t who(struct vm *vm, uint8_t vector)
{
	uint64_t got = 0;

	for (uint32_t id = 0; id < vm->bus.count; id++) {
		struct lapic *l = &vm->lapics[id];

		assert_int_equal(lapic_collect(l), 0);
		if (lapic_pending_vector(l) != vector)
			continue;
		got |= UINT64_C(1) << id;
		lapic_accept(l, vector);
		lapic_eoi(l);
		assert_false(lapic_has_irr(l));
	}
	return got;
}

static uint64_t who_event(struct vm *vm, uint32_t event)
{
	uint64_t got = 0;

	for (uint32_t id = 0; id < vm->bus.count; id++) {
		if (lapic_collect(&vm->lapics[id]) == event)
			got |= UINT64_C(1) << id;
	}
	return got;
}

/* Physical destinations, shorthands */

static void test_physical_destination_reaches_that_id_only(void **state)
{
	struct vm vm;

	xapic(&vm, 4);
	xapic_icr(&vm.lapics[0], 2, 0x51);
	assert_int_equal(vm.wakes[2], 1);
	assert_int_equal(vm.ipis[2], 1);
	assert_int_equal(who(&vm, 0x51), 1 << 2);
	x2apic(&vm, 40);
	x2apic_icr(&vm.lapics[0], 39, 0x51);
	assert_int_equal(who(&vm, 0x51), UINT64_C(1) << 39);
}

static void test_physical_destination_that_does_not_exist_is_nobody(void **state)
{
	struct vm vm;

	xapic(&vm, 4);
	xapic_icr(&vm.lapics[0], 77, 0x51);
	assert_int_equal(who(&vm, 0x51), 0);
	x2apic(&vm, 4);
	x2apic_icr(&vm.lapics[0], 0x80000001, 0x51);
	assert_int_equal(who(&vm, 0x51), 0);
}

static void test_broadcast_is_ff_in_xapic(void **state)
{
	struct vm vm;

	xapic(&vm, 4);
	xapic_icr(&vm.lapics[0], 0xff, 0x51);
	assert_int_equal(who(&vm, 0x51), 0xf);
	xapic_icr(&vm.lapics[0], 0xff, ICR_LOGICAL | 0x52);
	assert_int_equal(who(&vm, 0x52), 0xf);
}

static void test_broadcast_is_ffffffff_in_x2apic(void **state)
{
	struct vm vm;

	x2apic(&vm, 4);
	x2apic_icr(&vm.lapics[0], 0xffffffff, 0x51);
	assert_int_equal(who(&vm, 0x51), 0xf);
	x2apic_icr(&vm.lapics[0], 0xffffffff, ICR_LOGICAL | 0x52);
	assert_int_equal(who(&vm, 0x52), 0xf);
	x2apic_icr(&vm.lapics[0], 0xff, 0x53);
	assert_int_equal(who(&vm, 0x53), 0);
}

static void test_broadcast_from_8_bits_reaches_x2apics_too(void **state)
{
	struct lapic_msg msg = {.dest = 0xff, .vector = 0x51, .xapic_dest = true};
	struct vm vm;

	x2apic(&vm, 4);
	assert_int_equal(lapic_bus_send(&vm.bus, &msg, NULL), 4);
	assert_int_equal(who(&vm, 0x51), 0xf);
}

static void test_shorthand_self(void **state)
{
	struct vm vm;

	xapic(&vm, 4);
	xapic_icr(&vm.lapics[1], 3, ICR_SELF | 0x51); /* the destination does not matter */
	assert_int_equal(who(&vm, 0x51), 1 << 1);
	x2apic(&vm, 4);
	x2apic_icr(&vm.lapics[1], 3, ICR_SELF | 0x51);
	assert_int_equal(who(&vm, 0x51), 1 << 1);
}

static void test_message_to_self_is_posted_like_any_other(void **state)
{
	struct lapic_msg msg = {.vector = 0x51, .shorthand = LAPIC_TO_SELF};
	struct vm vm;

	xapic(&vm, 4);
	assert_int_equal(lapic_bus_send(&vm.bus, &msg, &vm.lapics[1]), 1);
	assert_int_equal(vm.wakes[1], 1);
	assert_int_equal(vm.ipis[1], 0);
	assert_int_equal(who(&vm, 0x51), 1 << 1);
}

static void test_shorthand_all_including_self(void **state)
{
	struct vm vm;

	xapic(&vm, 4);
	xapic_icr(&vm.lapics[1], 3, ICR_ALL | 0x51);
	assert_int_equal(vm.ipis[0], 1);
	assert_int_equal(vm.ipis[1], 0); /* not from another vCPU */
	assert_int_equal(who(&vm, 0x51), 0xf);
}

static void test_shorthand_all_excluding_self(void **state)
{
	struct vm vm;

	xapic(&vm, 4);
	xapic_icr(&vm.lapics[1], 1, ICR_OTHERS | 0x51);
	assert_int_equal(who(&vm, 0x51), 0xd);
	x2apic(&vm, 4);
	x2apic_icr(&vm.lapics[1], 1, ICR_OTHERS | 0x51);
	assert_int_equal(who(&vm, 0x51), 0xd);
}

static void test_shorthand_without_a_sender_is_nobody(void **state)
{
	struct lapic_msg msg = {.vector = 0x51};
	struct vm vm;

	xapic(&vm, 4);
	for (uint8_t shorthand = LAPIC_TO_SELF; shorthand <= LAPIC_TO_OTHERS; shorthand++) {
		msg.shorthand = shorthand;
		assert_int_equal(lapic_bus_send(&vm.bus, &msg, NULL), 0);
	}
	assert_int_equal(who(&vm, 0x51), 0);
}

static void test_self_and_all_send_fixed_only(void **state)
{
	static const uint32_t deliveries[] = {LAPIC_LOWEST, LAPIC_SMI,	LAPIC_NMI,
					      LAPIC_INIT,   LAPIC_SIPI, LAPIC_EXTINT};
	struct vm vm;

	xapic(&vm, 2);
	for (size_t i = 0; i < 6; i++) {
		xapic_icr(&vm.lapics[0], 0, ICR_SELF | ICR_ASSERT | deliveries[i] << 8 | 0x51);
		xapic_icr(&vm.lapics[0], 0, ICR_ALL | ICR_ASSERT | deliveries[i] << 8 | 0x51);
		assert_int_equal(vm.lapics[0].illegal, 2 * i + 2);
	}
	assert_int_equal(vm.wakes[0] + vm.wakes[1], 0);
}

static void test_self_ipi_register(void **state)
{
	struct vm vm;

	x2apic(&vm, 2);
	assert_int_equal(lapic_msr_write(&vm.lapics[1], 0x83f, 0x51, 0), 0);
	assert_int_equal(who(&vm, 0x51), 1 << 1);
	assert_int_equal(lapic_msr_write(&vm.lapics[1], 0x83f, 0x0f, 0), 0);
	assert_int_equal(vm.lapics[1].esr_pending,
			 LAPIC_ESR_SEND_ILLEGAL | LAPIC_ESR_RECEIVE_ILLEGAL);
}

/* Logical destinations */

static void test_flat_model_is_a_mask_of_8(void **state)
{
	struct vm vm;

	xapic(&vm, 8);
	for (uint32_t id = 0; id < 8; id++)
		write32(&vm.lapics[id], LDR, 1u << (24 + id));
	xapic_icr(&vm.lapics[0], 0x00, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0);
	xapic_icr(&vm.lapics[0], 0xa5, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0xa5);
}

static void test_flat_model_with_ldr_0_is_in_no_set(void **state)
{
	struct vm vm;

	xapic(&vm, 2);
	xapic_icr(&vm.lapics[0], 0x7f, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0);
}

static void test_cluster_model_is_cluster_and_mask_of_4(void **state)
{
	struct vm vm;

	xapic(&vm, 12);
	for (uint32_t id = 0; id < 12; id++) {
		write32(&vm.lapics[id], DFR, 0);
		write32(&vm.lapics[id], LDR, (id / 4) << 28 | 1u << (24 + id % 4));
	}
	xapic_icr(&vm.lapics[0], 0x1a, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0x0a0);
	xapic_icr(&vm.lapics[0], 0x2f, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0xf00);
	xapic_icr(&vm.lapics[0], 0x20, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0);
	xapic_icr(&vm.lapics[0], 0x3f, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0);
	xapic_icr(&vm.lapics[0], 0xff, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0xfff);
}

static void test_reserved_destination_formats_match_nothing(void **state)
{
	struct vm vm;

	xapic(&vm, 1);
	write32(&vm.lapics[0], LDR, 0x11000000);
	write32(&vm.lapics[0], DFR, 0x70000000);
	xapic_icr(&vm.lapics[0], 0x11, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0);
}

static void test_x2apic_logical_is_cluster_and_mask_of_16(void **state)
{
	struct vm vm;

	x2apic(&vm, 40);
	x2apic_icr(&vm.lapics[0], 0x00008003, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0x8003);
	x2apic_icr(&vm.lapics[0], 0x00010011, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0x110000);
	x2apic_icr(&vm.lapics[0], 0x0002ffff, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), UINT64_C(0xff00000000));
	x2apic_icr(&vm.lapics[0], 0x0003ffff, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0);
	x2apic_icr(&vm.lapics[0], 0xfffeffff, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0);
	x2apic_icr(&vm.lapics[0], 0x00010000, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0);
}

static void test_mixed_modes_each_match_by_their_own_rule(void **state)
{
	struct vm vm;

	xapic(&vm, 3);
	write32(&vm.lapics[0], LDR, 0x80000000);
	write32(&vm.lapics[1], LDR, 0x02000000);
	lapic_set_base(&vm.lapics[2], X2APIC_BASE);
	xapic_icr(&vm.lapics[0], 0x82, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0x3);
	xapic_icr(&vm.lapics[0], 0x04, ICR_LOGICAL | 0x51);
	assert_int_equal(who(&vm, 0x51), 0x4);
	x2apic_icr(&vm.lapics[2], 0x182, ICR_LOGICAL | 0x51); /* 9 bits: no xAPIC */
	assert_int_equal(who(&vm, 0x51), 0);
}

/* Delivery modes */

static void test_lowest_priority_picks_the_lowest_ppr(void **state)
{
	struct vm vm;

	xapic(&vm, 4);
	for (uint32_t id = 0; id < 4; id++) {
		write32(&vm.lapics[id], LDR, 1u << (24 + id));
		write32(&vm.lapics[id], TPR, id == 2 ? 0x10 : 0x20);
	}
	for (int i = 0; i < 8; i++) {
		xapic_icr(&vm.lapics[0], 0x0f, ICR_LOGICAL | LAPIC_LOWEST << 8 | 0x51);
		assert_int_equal(who(&vm, 0x51), 1 << 2);
	}
	xapic_icr(&vm.lapics[0], 0x0b, ICR_LOGICAL | LAPIC_LOWEST << 8 | 0x51);
	assert_int_not_equal(who(&vm, 0x51) & 0xb, 0);
}

static void test_lowest_priority_takes_turns_among_equals(void **state)
{
	struct vm vm;
	uint64_t seen = 0;

	xapic(&vm, 4);
	for (int i = 0; i < 4; i++) {
		uint64_t got;

		xapic_icr(&vm.lapics[0], 0xff, LAPIC_LOWEST << 8 | 0x51);
		got = who(&vm, 0x51);
		assert_int_equal(__builtin_popcountll(got), 1);
		assert_int_equal(seen & got, 0);
		seen |= got;
	}
	assert_int_equal(seen, 0xf);
}

static void test_lowest_priority_passes_over_the_disabled(void **state)
{
	struct vm vm;

	xapic(&vm, 3);
	write32(&vm.lapics[0], SVR, 0xff);
	lapic_set_base(&vm.lapics[1], LAPIC_MMIO_BASE);
	for (int i = 0; i < 6; i++) {
		xapic_icr(&vm.lapics[0], 0xff, LAPIC_LOWEST << 8 | 0x51);
		assert_int_equal(who(&vm, 0x51), 1 << 2);
	}
}

static void test_ipis_are_edges_whatever_the_trigger_mode(void **state)
{
	struct vm vm;

	xapic(&vm, 2);
	xapic_icr(&vm.lapics[0], 1, ICR_LEVEL | ICR_ASSERT | 0x51);
	lapic_collect(&vm.lapics[1]);
	assert_int_equal(lapic_pending_vector(&vm.lapics[1]), 0x51);
	assert_int_equal(vm.lapics[1].tmr[2], 0);
}

static void test_nmi_smi_and_init_are_events(void **state)
{
	struct vm vm;

	xapic(&vm, 3);
	xapic_icr(&vm.lapics[0], 0, ICR_OTHERS | ICR_ASSERT | LAPIC_NMI << 8);
	assert_int_equal(who_event(&vm, LAPIC_EVENT_NMI), 0x6);
	xapic_icr(&vm.lapics[0], 1, ICR_ASSERT | LAPIC_SMI << 8);
	assert_int_equal(who_event(&vm, LAPIC_EVENT_SMI), 0x2);
	xapic_icr(&vm.lapics[0], 2, ICR_ASSERT | LAPIC_INIT << 8);
	assert_int_equal(who_event(&vm, LAPIC_EVENT_INIT), 0x4);
	xapic_icr(&vm.lapics[0], 2, ICR_ASSERT | ICR_LEVEL | LAPIC_INIT << 8);
	assert_int_equal(who_event(&vm, LAPIC_EVENT_INIT), 0x4);
	assert_int_equal(who(&vm, 0), 0);
}

static void test_init_level_deassert_is_ignored(void **state)
{
	struct vm vm;

	xapic(&vm, 2);
	xapic_icr(&vm.lapics[0], 1, ICR_LEVEL | LAPIC_INIT << 8);
	xapic_icr(&vm.lapics[0], 0, ICR_OTHERS | ICR_LEVEL | LAPIC_INIT << 8);
	assert_int_equal(who_event(&vm, LAPIC_EVENT_INIT), 0);
	assert_int_equal(vm.wakes[1], 0);
}

static void test_init_sipi_carries_the_start_vector(void **state)
{
	struct vm vm;

	xapic(&vm, 2);
	xapic_icr(&vm.lapics[0], 1, ICR_LEVEL | ICR_ASSERT | LAPIC_INIT << 8);
	xapic_icr(&vm.lapics[0], 1, LAPIC_SIPI << 8 | 0x9a);
	xapic_icr(&vm.lapics[0], 1, LAPIC_SIPI << 8 | 0x11); /* the second is ignored */
	assert_int_equal(lapic_collect(&vm.lapics[1]),
			 LAPIC_EVENT_INIT | LAPIC_EVENT_SIPI | 0x9a00);
}

static void test_init_discards_a_sipi_before_it(void **state)
{
	struct vm vm;

	xapic(&vm, 2);
	xapic_icr(&vm.lapics[0], 1, LAPIC_SIPI << 8 | 0x9a);
	xapic_icr(&vm.lapics[0], 1, LAPIC_INIT << 8);
	assert_int_equal(lapic_collect(&vm.lapics[1]), LAPIC_EVENT_INIT);
}

static void test_extint_and_reserved_delivery_modes_send_nothing(void **state)
{
	struct vm vm;

	xapic(&vm, 2);
	xapic_icr(&vm.lapics[0], 1, LAPIC_EXTINT << 8 | 0x51);
	xapic_icr(&vm.lapics[0], 1, 3 << 8 | 0x51);
	assert_int_equal(who(&vm, 0x51), 0);
	assert_int_equal(vm.wakes[1], 0);
	assert_int_equal(vm.lapics[0].illegal, 2);
}

static void test_globally_disabled_apics_receive_nothing(void **state)
{
	struct vm vm;

	xapic(&vm, 2);
	lapic_set_base(&vm.lapics[1], LAPIC_MMIO_BASE);
	xapic_icr(&vm.lapics[0], 1, LAPIC_INIT << 8);
	xapic_icr(&vm.lapics[0], 1, LAPIC_NMI << 8);
	xapic_icr(&vm.lapics[0], 1, 0x51);
	assert_int_equal(vm.wakes[1], 0);
}

static void test_icr_reads_back_and_delivery_status_is_idle(void **state)
{
	struct vm vm;
	uint64_t value;

	xapic(&vm, 2);
	xapic_icr(&vm.lapics[0], 1, 0x51 | 1u << 12);
	assert_int_equal(read32(&vm.lapics[0], ICR), 0x51);
	assert_int_equal(read32(&vm.lapics[0], ICR2), 0x01000000);
	x2apic(&vm, 2);
	x2apic_icr(&vm.lapics[0], 1, 0x51);
	assert_int_equal(lapic_msr_read(&vm.lapics[0], 0x830, &value, 0), 0);
	assert_int_equal(value, UINT64_C(0x100000051));
}

static void test_writing_the_high_half_sends_nothing(void **state)
{
	struct vm vm;

	xapic(&vm, 2);
	write32(&vm.lapics[0], ICR2, 0x01000000);
	assert_int_equal(vm.wakes[1], 0);
}

static void test_holes_in_the_bus_are_skipped(void **state)
{
	struct lapic_msg msg = {.dest = 0xff, .vector = 0x51, .xapic_dest = true};
	struct vm vm;

	xapic(&vm, 3);
	vm.pointers[1] = NULL;
	assert_int_equal(lapic_bus_send(&vm.bus, &msg, NULL), 2);
	msg.dest = 1;
	assert_int_equal(lapic_bus_send(&vm.bus, &msg, NULL), 0);
}

/* MSI */

static void test_msi_fixed_to_a_physical_id(void **state)
{
	struct vm vm;

	xapic(&vm, 4);
	assert_int_equal(lapic_bus_msi(&vm.bus, 0xfee00000 | 3 << 12, 0x51), 1);
	assert_int_equal(vm.wakes[3], 1);
	assert_int_equal(vm.ipis[3], 0);
	assert_int_equal(who(&vm, 0x51), 1 << 3);
}

static void test_msi_logical_destination(void **state)
{
	struct vm vm;

	xapic(&vm, 4);
	for (uint32_t id = 0; id < 4; id++)
		write32(&vm.lapics[id], LDR, 1u << (24 + id));
	assert_int_equal(lapic_bus_msi(&vm.bus, 0xfee00004 | 0x0a << 12, 0x51), 2);
	assert_int_equal(who(&vm, 0x51), 0xa);
}

static void test_msi_redirection_hint_gives_it_to_one_of_the_set(void **state)
{
	struct vm vm;

	xapic(&vm, 4);
	for (uint32_t id = 0; id < 4; id++)
		write32(&vm.lapics[id], LDR, 1u << (24 + id));
	assert_int_equal(lapic_bus_msi(&vm.bus, 0xfee0000c | 0x0f << 12, 0x51), 1);
	assert_int_equal(__builtin_popcountll(who(&vm, 0x51)), 1);
	/* physical: no redirection */
	assert_int_equal(lapic_bus_msi(&vm.bus, 0xfee00008 | 0x02 << 12, 0x51), 1);
	assert_int_equal(who(&vm, 0x51), 1 << 2);
}

static void test_msi_extended_destination_is_15_bits(void **state)
{
	struct lapic *table[LAPIC_MAX + 0x100] = {NULL};
	struct vm vm;

	x2apic(&vm, 2);
	/* An id above 8 bits, to see the bits of the address arrive. */
	vm.bus.lapics = table;
	vm.bus.count = LAPIC_MAX + 0x100;
	table[0x101] = &vm.lapics[1];
	table[0x001] = &vm.lapics[0];
	vm.bus.wake = NULL;
	assert_int_equal(lapic_bus_msi(&vm.bus, 0xfee00000 | 0x01 << 12 | 0x01 << 5, 0x51), 1);
	lapic_collect(&vm.lapics[0]);
	lapic_collect(&vm.lapics[1]);
	assert_false(lapic_has_irr(&vm.lapics[0]));
	assert_true(lapic_has_irr(&vm.lapics[1]));
}

static void test_msi_level_sets_tmr_and_deassert_is_ignored(void **state)
{
	struct vm vm;

	xapic(&vm, 1);
	assert_int_equal(lapic_bus_msi(&vm.bus, 0xfee00000, 0x8051), 0);
	assert_int_equal(lapic_bus_msi(&vm.bus, 0xfee00000, 0xc051), 1);
	lapic_collect(&vm.lapics[0]);
	assert_int_equal(vm.lapics[0].tmr[2], 1u << 17);
}

static void test_msi_outside_the_window_is_nobody(void **state)
{
	struct vm vm;

	xapic(&vm, 1);
	assert_int_equal(lapic_bus_msi(&vm.bus, 0xfed00000, 0x51), 0);
	assert_int_equal(lapic_bus_msi(&vm.bus, 0xfef00000, 0x51), 0);
	assert_int_equal(lapic_bus_msi(&vm.bus, UINT64_C(0x1fee00000), 0x51), 0);
	assert_int_equal(vm.wakes[0], 0);
}

static void test_msi_reserved_delivery_modes_are_nobody(void **state)
{
	struct vm vm;

	xapic(&vm, 1);
	assert_int_equal(lapic_bus_msi(&vm.bus, 0xfee00000, 0x351), 0);
	assert_int_equal(lapic_bus_msi(&vm.bus, 0xfee00000, LAPIC_SIPI << 8 | 0x51), 0);
	assert_int_equal(lapic_bus_msi(&vm.bus, 0xfee00000, LAPIC_EXTINT << 8 | 0x51), 0);
	assert_int_equal(lapic_bus_msi(&vm.bus, 0xfee00000, LAPIC_NMI << 8), 1);
	assert_int_equal(who_event(&vm, LAPIC_EVENT_NMI), 1);
}

static void test_msi_illegal_vector_is_not_taken_but_logged(void **state)
{
	struct vm vm;

	xapic(&vm, 1);
	assert_int_equal(lapic_bus_msi(&vm.bus, 0xfee00000, 0x0f), 0);
	lapic_collect(&vm.lapics[0]);
	assert_int_equal(vm.lapics[0].esr_pending, LAPIC_ESR_RECEIVE_ILLEGAL);
	assert_false(lapic_has_irr(&vm.lapics[0]));
}

/* Posting, from other threads */

static void test_inbox_is_empty_after_collect(void **state)
{
	struct vm vm;

	xapic(&vm, 1);
	assert_false(lapic_inbox_pending(&vm.lapics[0]));
	lapic_bus_msi(&vm.bus, 0xfee00000, 0x51);
	assert_true(lapic_inbox_pending(&vm.lapics[0]));
	lapic_collect(&vm.lapics[0]);
	assert_false(lapic_inbox_pending(&vm.lapics[0]));
}

static void test_a_vector_posted_as_edge_and_level_gets_its_eoi(void **state)
{
	struct vm vm;

	xapic(&vm, 1);
	lapic_bus_msi(&vm.bus, 0xfee00000, 0xc051);
	lapic_bus_msi(&vm.bus, 0xfee00000, 0x0051);
	lapic_collect(&vm.lapics[0]);
	assert_int_equal(vm.lapics[0].tmr[2], 1u << 17);
}

#define SENDERS 4
#define ROUNDS	5000

struct sender {
	struct vm *vm;
	_Atomic uint32_t *acknowledged; /* per vector */
	uint8_t vector;
};

static void *send_and_wait(void *arg)
{
	struct sender *s = arg;
	uint32_t data = s->vector | (s->vector & 1 ? 0xc000 : 0);

	for (uint32_t i = 0; i < ROUNDS; i++) {
		lapic_bus_msi(&s->vm->bus, 0xfee00000, data);
		while (atomic_load(&s->acknowledged[s->vector]) == i)
			sched_yield(); /* there may be fewer processors than senders */
	}
	return NULL;
}

static void no_wake(void *ctx, uint32_t id, bool ipi)
{
}

static void test_posting_from_threads_loses_no_vector_and_no_trigger_mode(void **state)
{
	static _Atomic uint32_t acknowledged[256];
	struct sender senders[SENDERS];
	pthread_t threads[SENDERS];
	struct vm vm;
	struct lapic *l = &vm.lapics[0];
	uint32_t total = 0;

	xapic(&vm, 1);
	vm.bus.wake = no_wake;
	for (unsigned int i = 0; i < SENDERS; i++) {
		/* All in one word, so that they contend. */
		senders[i] = (struct sender){&vm, acknowledged, (uint8_t)(0x50 + i)};
		assert_int_equal(pthread_create(&threads[i], NULL, send_and_wait, &senders[i]), 0);
	}
	while (total < SENDERS * ROUNDS) {
		int vector;

		lapic_collect(l);
		/* The owner changes what senders read. */
		write32(l, TPR, total & 0x3f);
		vector = lapic_pending_vector(l);
		if (vector < 0) {
			sched_yield();
			continue;
		}
		assert_int_equal(l->tmr[2] >> (vector & 31) & 1, vector & 1);
		lapic_accept(l, (uint8_t)vector);
		lapic_eoi(l);
		total++;
		atomic_fetch_add(&acknowledged[vector], 1);
	}
	for (unsigned int i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	lapic_collect(l);
	assert_false(lapic_has_irr(l));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_physical_destination_reaches_that_id_only),
		cmocka_unit_test(test_physical_destination_that_does_not_exist_is_nobody),
		cmocka_unit_test(test_broadcast_is_ff_in_xapic),
		cmocka_unit_test(test_broadcast_is_ffffffff_in_x2apic),
		cmocka_unit_test(test_broadcast_from_8_bits_reaches_x2apics_too),
		cmocka_unit_test(test_shorthand_self),
		cmocka_unit_test(test_message_to_self_is_posted_like_any_other),
		cmocka_unit_test(test_shorthand_all_including_self),
		cmocka_unit_test(test_shorthand_all_excluding_self),
		cmocka_unit_test(test_shorthand_without_a_sender_is_nobody),
		cmocka_unit_test(test_self_and_all_send_fixed_only),
		cmocka_unit_test(test_self_ipi_register),
		cmocka_unit_test(test_flat_model_is_a_mask_of_8),
		cmocka_unit_test(test_flat_model_with_ldr_0_is_in_no_set),
		cmocka_unit_test(test_cluster_model_is_cluster_and_mask_of_4),
		cmocka_unit_test(test_reserved_destination_formats_match_nothing),
		cmocka_unit_test(test_x2apic_logical_is_cluster_and_mask_of_16),
		cmocka_unit_test(test_mixed_modes_each_match_by_their_own_rule),
		cmocka_unit_test(test_lowest_priority_picks_the_lowest_ppr),
		cmocka_unit_test(test_lowest_priority_takes_turns_among_equals),
		cmocka_unit_test(test_lowest_priority_passes_over_the_disabled),
		cmocka_unit_test(test_ipis_are_edges_whatever_the_trigger_mode),
		cmocka_unit_test(test_nmi_smi_and_init_are_events),
		cmocka_unit_test(test_init_level_deassert_is_ignored),
		cmocka_unit_test(test_init_sipi_carries_the_start_vector),
		cmocka_unit_test(test_init_discards_a_sipi_before_it),
		cmocka_unit_test(test_extint_and_reserved_delivery_modes_send_nothing),
		cmocka_unit_test(test_globally_disabled_apics_receive_nothing),
		cmocka_unit_test(test_icr_reads_back_and_delivery_status_is_idle),
		cmocka_unit_test(test_writing_the_high_half_sends_nothing),
		cmocka_unit_test(test_holes_in_the_bus_are_skipped),
		cmocka_unit_test(test_msi_fixed_to_a_physical_id),
		cmocka_unit_test(test_msi_logical_destination),
		cmocka_unit_test(test_msi_redirection_hint_gives_it_to_one_of_the_set),
		cmocka_unit_test(test_msi_extended_destination_is_15_bits),
		cmocka_unit_test(test_msi_level_sets_tmr_and_deassert_is_ignored),
		cmocka_unit_test(test_msi_outside_the_window_is_nobody),
		cmocka_unit_test(test_msi_reserved_delivery_modes_are_nobody),
		cmocka_unit_test(test_msi_illegal_vector_is_not_taken_but_logged),
		cmocka_unit_test(test_inbox_is_empty_after_collect),
		cmocka_unit_test(test_a_vector_posted_as_edge_and_level_gets_its_eoi),
		cmocka_unit_test(test_posting_from_threads_loses_no_vector_and_no_trigger_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
