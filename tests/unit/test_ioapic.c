/* SPDX-License-Identifier: Apache-2.0 */
/* The I/O APIC, rule by rule of the 82093AA data sheet, with two local APICs behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "devices/ioapic.h"

#define SELECT 0x00
#define WINDOW 0x10
#define EOI    0x40

#define LOGICAL	   (1u << 11)
#define LOW_ACTIVE (1u << 13)
#define REMOTE_IRR (1u << 14)
#define LEVEL	   (1u << 15)
#define MASKED	   (1u << 16)

struct vm {
	struct lapic lapics[2];
	struct lapic *pointers[2];
	struct lapic_bus bus;
	struct clock clock;
	struct ioapic io;
	unsigned int wakes;
};

static void on_wake(void *ctx, uint32_t id, bool ipi)
{
	struct vm *vm = ctx;

	assert_false(ipi);
	vm->wakes++;
}

static void on_eoi(void *ctx, uint8_t vector)
{
	struct vm *vm = ctx;

	ioapic_eoi(&vm->io, vector);
}

static struct ioapic *setup(struct vm *vm)
{
	const uint32_t svr = 0x1ff;

	memset(vm, 0, sizeof(*vm));
	vm->clock = (struct clock){
		.khz = 1000000, .to_ns = UINT64_C(1) << 32, .to_ticks = UINT64_C(1) << 32};
	vm->bus = (struct lapic_bus){
		.lapics = vm->pointers, .count = 2, .wake = on_wake, .eoi = on_eoi, .ctx = vm};
	for (uint32_t id = 0; id < 2; id++) {
		vm->pointers[id] = &vm->lapics[id];
		lapic_init(&vm->lapics[id], &vm->bus, id, id == 0, &vm->clock);
		lapic_mmio_write(&vm->lapics[id], 0xf0, &svr, 4, 0);
	}
	assert_int_equal(ioapic_init(&vm->io, &vm->bus), 0);
	return &vm->io;
}

static void write32(struct ioapic *io, uint64_t offset, uint32_t value)
{
	ioapic_mmio_write(io, offset, &value, 4);
}

static uint32_t read32(struct ioapic *io, uint64_t offset)
{
	uint32_t value = 0xdeadbeef;

	ioapic_mmio_read(io, offset, &value, 4);
	return value;
}

static void write_reg(struct ioapic *io, uint32_t reg, uint32_t value)
{
	write32(io, SELECT, reg);
	write32(io, WINDOW, value);
}

static uint32_t read_reg(struct ioapic *io, uint32_t reg)
{
	write32(io, SELECT, reg);
	return read32(io, WINDOW);
}

static uint32_t entry_low(struct ioapic *io, unsigned int pin)
{
	return read_reg(io, 0x10 + 2 * pin);
}

static void set_entry(struct ioapic *io, unsigned int pin, uint8_t dest, uint32_t low)
{
	write_reg(io, 0x11 + 2 * pin, (uint32_t)dest << 24);
	write_reg(io, 0x10 + 2 * pin, low);
}

static void pulse(struct ioapic *io, unsigned int pin)
{
	ioapic_set_pin(io, pin, true);
	ioapic_set_pin(io, pin, false);
}

/* The vector that local APIC @id would inject, now in service; or -1. */
static int take(struct vm *vm, uint32_t id)
{
	int vector;

	lapic_collect(&vm->lapics[id]);
	vector = lapic_pending_vector(&vm->lapics[id]);
	if (vector >= 0)
		lapic_accept(&vm->lapics[id], (uint8_t)vector);
	return vector;
}

/* Registers */

static void test_version_says_24_pins_and_the_eoi_register(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	assert_int_equal(read_reg(io, 1), 0x170020);
	write_reg(io, 1, 0);
	assert_int_equal(read_reg(io, 1), 0x170020);
	ioapic_destroy(io);
}

static void test_id_is_bits_27_to_24_and_loads_the_arbitration_id(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	write_reg(io, 0, 0xffffffff);
	assert_int_equal(read_reg(io, 0), 0x0f000000);
	assert_int_equal(read_reg(io, 2), 0x0f000000);
	write_reg(io, 2, 0);
	assert_int_equal(read_reg(io, 2), 0x0f000000);
	ioapic_destroy(io);
}

static void test_all_entries_are_masked_after_reset(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		assert_int_equal(read_reg(io, 0x10 + 2 * pin), MASKED);
		assert_int_equal(read_reg(io, 0x11 + 2 * pin), 0);
	}
	ioapic_destroy(io);
}

static void test_entry_reserved_and_read_only_bits_are_masked(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		write_reg(io, 0x11 + 2 * pin, 0xffffffff);
		write_reg(io, 0x10 + 2 * pin, 0xffffffff);
		assert_int_equal(read_reg(io, 0x10 + 2 * pin), 0x1afff);
		assert_int_equal(read_reg(io, 0x11 + 2 * pin), 0xff000000);
	}
	ioapic_destroy(io);
}

static void test_select_register_holds_8_bits(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	write32(io, SELECT, 0x12345601);
	assert_int_equal(read32(io, SELECT), 0x01);
	assert_int_equal(read32(io, WINDOW), 0x170020);
	ioapic_destroy(io);
}

static void test_unknown_registers_read_ones_and_are_counted(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);
	uint8_t data[3];

	assert_int_equal(read_reg(io, 3), 0xffffffff);
	assert_int_equal(read_reg(io, 0x40), 0xffffffff);
	assert_int_equal(read_reg(io, 0xff), 0xffffffff);
	write_reg(io, 0x40, 0);
	assert_int_equal(read32(io, 0x20), 0xffffffff);
	assert_int_equal(read32(io, 0x11), 0xffffffff);
	write32(io, 0x1000, 0);
	ioapic_mmio_read(io, WINDOW, data, 3);
	assert_memory_equal(data, "\xff\xff\xff", 3);
	ioapic_mmio_write(io, WINDOW, data, 3);
	assert_int_equal(io->illegal, 9);
	ioapic_destroy(io);
}

static void test_accesses_of_1_2_4_and_8_bytes(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);
	const uint8_t one = 1;
	const uint64_t wide = UINT64_C(0xffffffff00000001);
	uint64_t value;

	ioapic_mmio_write(io, SELECT, &one, 1);
	for (unsigned int len = 1; len <= 8; len *= 2) {
		value = 0;
		ioapic_mmio_read(io, WINDOW, &value, len);
		assert_int_equal(value, len == 1 ? 0x20 : len == 2 ? 0x0020 : 0x170020);
	}
	write32(io, SELECT, 0);
	ioapic_mmio_write(io, SELECT, &wide, 8);
	assert_int_equal(read32(io, SELECT), 1);
	ioapic_destroy(io);
}

/* Edge */

static void test_edge_sends_once_for_each_rise(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 4, 1, 0x51);
	ioapic_set_pin(io, 4, true);
	ioapic_set_pin(io, 4, true);
	ioapic_set_pin(io, 4, false);
	assert_int_equal(vm.wakes, 1);
	assert_int_equal(take(&vm, 0), -1);
	assert_int_equal(take(&vm, 1), 0x51);
	assert_int_equal(entry_low(io, 4), 0x51);
	/* The next one need not wait for an EOI to be sent. */
	pulse(io, 4);
	assert_int_equal(vm.wakes, 2);
	lapic_eoi(&vm.lapics[1]);
	assert_int_equal(take(&vm, 1), 0x51);
	ioapic_destroy(io);
}

static void test_edge_while_masked_is_lost(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 4, 0, MASKED | 0x51);
	ioapic_set_pin(io, 4, true);
	write_reg(io, 0x10 + 2 * 4, 0x51);
	assert_int_equal(take(&vm, 0), -1);
	ioapic_set_pin(io, 4, false);
	ioapic_set_pin(io, 4, true);
	assert_int_equal(take(&vm, 0), 0x51);
	ioapic_destroy(io);
}

static void test_edge_is_not_broadcast_at_eoi(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 4, 0, 0x51);
	ioapic_set_pin(io, 4, true);
	assert_int_equal(take(&vm, 0), 0x51);
	lapic_eoi(&vm.lapics[0]);
	assert_int_equal(take(&vm, 0), -1);
	ioapic_destroy(io);
}

/* Level, remote IRR, EOI */

static void test_level_sets_remote_irr_when_accepted(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 9, 0, LEVEL | 0x61);
	ioapic_set_pin(io, 9, true);
	assert_int_equal(entry_low(io, 9), REMOTE_IRR | LEVEL | 0x61);
	assert_int_equal(take(&vm, 0), 0x61);
	ioapic_destroy(io);
}

static void test_level_is_not_sent_again_while_remote_irr_is_set(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 9, 0, LEVEL | 0x61);
	ioapic_set_pin(io, 9, true);
	pulse(io, 9);
	ioapic_set_pin(io, 9, true);
	assert_int_equal(vm.wakes, 1);
	ioapic_destroy(io);
}

static void test_level_still_asserted_at_eoi_is_sent_again(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 9, 0, LEVEL | 0x61);
	ioapic_set_pin(io, 9, true);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(take(&vm, 0), 0x61);
		lapic_eoi(&vm.lapics[0]);
		assert_int_equal(entry_low(io, 9), REMOTE_IRR | LEVEL | 0x61);
	}
	assert_int_equal(take(&vm, 0), 0x61);
	ioapic_set_pin(io, 9, false);
	lapic_eoi(&vm.lapics[0]);
	assert_int_equal(entry_low(io, 9), LEVEL | 0x61);
	assert_int_equal(take(&vm, 0), -1);
	ioapic_destroy(io);
}

static void test_level_deasserted_before_eoi_keeps_remote_irr(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 9, 0, LEVEL | 0x61);
	pulse(io, 9);
	assert_int_equal(entry_low(io, 9), REMOTE_IRR | LEVEL | 0x61);
	assert_int_equal(take(&vm, 0), 0x61);
	lapic_eoi(&vm.lapics[0]);
	assert_int_equal(entry_low(io, 9), LEVEL | 0x61);
	ioapic_destroy(io);
}

static void test_level_while_masked_is_sent_when_unmasked(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 9, 0, MASKED | LEVEL | 0x61);
	ioapic_set_pin(io, 9, true);
	assert_int_equal(vm.wakes, 0);
	write_reg(io, 0x10 + 2 * 9, LEVEL | 0x61);
	assert_int_equal(take(&vm, 0), 0x61);
	ioapic_destroy(io);
}

static void test_level_masked_in_service_is_not_sent_at_eoi(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 9, 0, LEVEL | 0x61);
	ioapic_set_pin(io, 9, true);
	assert_int_equal(take(&vm, 0), 0x61);
	write_reg(io, 0x10 + 2 * 9, MASKED | LEVEL | 0x61);
	lapic_eoi(&vm.lapics[0]);
	assert_int_equal(entry_low(io, 9), MASKED | LEVEL | 0x61);
	assert_int_equal(take(&vm, 0), -1);
	/* Linux's way of handling it: unmask after the EOI. */
	write_reg(io, 0x10 + 2 * 9, LEVEL | 0x61);
	assert_int_equal(take(&vm, 0), 0x61);
	ioapic_destroy(io);
}

static void test_level_that_nobody_takes_has_no_remote_irr(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);
	const uint32_t off = 0xff, on = 0x1ff;

	lapic_mmio_write(&vm.lapics[0], 0xf0, &off, 4, 0);
	set_entry(io, 9, 0, LEVEL | 0x61);
	ioapic_set_pin(io, 9, true);
	assert_int_equal(entry_low(io, 9), LEVEL | 0x61);
	lapic_mmio_write(&vm.lapics[0], 0xf0, &on, 4, 0);
	ioapic_set_pin(io, 9, true); /* still asserted: tried again */
	assert_int_equal(take(&vm, 0), 0x61);
	ioapic_destroy(io);
}

static void test_eoi_register_ends_like_a_broadcast(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 9, 0, LEVEL | 0x61);
	pulse(io, 9);
	write32(io, EOI, 0x60);
	assert_int_equal(entry_low(io, 9), REMOTE_IRR | LEVEL | 0x61);
	write32(io, EOI, 0x61);
	assert_int_equal(entry_low(io, 9), LEVEL | 0x61);
	write32(io, EOI, 0x61); /* with nothing to end */
	assert_int_equal(entry_low(io, 9), LEVEL | 0x61);
	assert_int_equal(read32(io, EOI), 0); /* write-only */
	ioapic_destroy(io);
}

static void test_eoi_ends_all_pins_of_the_vector(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 9, 0, LEVEL | 0x61);
	set_entry(io, 23, 0, LEVEL | 0x61);
	set_entry(io, 10, 0, LEVEL | 0x62);
	pulse(io, 9);
	ioapic_set_pin(io, 23, true);
	pulse(io, 10);
	ioapic_eoi(io, 0x61);
	assert_int_equal(entry_low(io, 9), LEVEL | 0x61);
	assert_int_equal(entry_low(io, 23), REMOTE_IRR | LEVEL | 0x61); /* sent again */
	assert_int_equal(entry_low(io, 10), REMOTE_IRR | LEVEL | 0x62);
	ioapic_destroy(io);
}

static void test_eoi_follows_an_entry_to_its_new_vector(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 9, 0, LEVEL | 0x61);
	set_entry(io, 9, 0, LEVEL | 0x71);
	pulse(io, 9);
	ioapic_eoi(io, 0x61);
	assert_int_equal(entry_low(io, 9), REMOTE_IRR | LEVEL | 0x71);
	ioapic_eoi(io, 0x71);
	assert_int_equal(entry_low(io, 9), LEVEL | 0x71);
	ioapic_destroy(io);
}

static void test_going_to_edge_and_back_clears_remote_irr(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 9, 0, LEVEL | 0x61);
	pulse(io, 9);
	write_reg(io, 0x10 + 2 * 9, MASKED | 0x61);
	write_reg(io, 0x10 + 2 * 9, LEVEL | 0x61);
	assert_int_equal(entry_low(io, 9), LEVEL | 0x61);
	ioapic_destroy(io);
}

static void test_writing_the_high_half_keeps_remote_irr(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 9, 0, LEVEL | 0x61);
	pulse(io, 9);
	write_reg(io, 0x11 + 2 * 9, 1u << 24);
	assert_int_equal(entry_low(io, 9), REMOTE_IRR | LEVEL | 0x61);
	assert_int_equal(vm.wakes, 1);
	ioapic_destroy(io);
}

/* Delivery */

static void test_logical_destination(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	for (uint32_t id = 0; id < 2; id++) {
		const uint32_t ldr = 1u << (24 + id);

		lapic_mmio_write(&vm.lapics[id], 0xd0, &ldr, 4, 0);
	}
	set_entry(io, 4, 0x03, LOGICAL | 0x51);
	ioapic_set_pin(io, 4, true);
	assert_int_equal(take(&vm, 0), 0x51);
	assert_int_equal(take(&vm, 1), 0x51);
	ioapic_destroy(io);
}

static void test_lowest_priority_reaches_one_and_may_be_a_level(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 4, 0xff, LEVEL | LAPIC_LOWEST << 8 | 0x51);
	ioapic_set_pin(io, 4, true);
	assert_int_equal(vm.wakes, 1);
	assert_int_equal(entry_low(io, 4), REMOTE_IRR | LEVEL | LAPIC_LOWEST << 8 | 0x51);
	ioapic_destroy(io);
}

static void test_nmi_is_an_edge_even_if_programmed_as_level(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 4, 0, LEVEL | LAPIC_NMI << 8);
	ioapic_set_pin(io, 4, true);
	ioapic_set_pin(io, 4, true);
	assert_int_equal(vm.wakes, 1);
	assert_int_equal(entry_low(io, 4), LEVEL | LAPIC_NMI << 8);
	assert_int_equal(lapic_collect(&vm.lapics[0]), LAPIC_EVENT_NMI);
	ioapic_destroy(io);
}

static void test_extint_and_reserved_modes_send_nothing(void **state)
{
	static const uint32_t modes[] = {3, LAPIC_SIPI, LAPIC_EXTINT};
	struct vm vm;
	struct ioapic *io = setup(&vm);

	for (size_t i = 0; i < 3; i++) {
		set_entry(io, 4, 0, modes[i] << 8 | 0x51);
		pulse(io, 4);
	}
	assert_int_equal(vm.wakes, 0);
	ioapic_destroy(io);
}

static void test_polarity_is_kept_and_changes_nothing(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 9, 0, LOW_ACTIVE | LEVEL | 0x61);
	assert_int_equal(vm.wakes, 0);
	ioapic_set_pin(io, 9, true);
	assert_int_equal(vm.wakes, 1);
	assert_int_equal(entry_low(io, 9), REMOTE_IRR | LOW_ACTIVE | LEVEL | 0x61);
	ioapic_destroy(io);
}

static void test_pins_outside_the_table_are_ignored(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	ioapic_set_pin(io, IOAPIC_PINS, true);
	ioapic_set_pin(io, 32, true);
	ioapic_set_pin(io, UINT32_MAX, true);
	assert_int_equal(io->level, 0);
	ioapic_destroy(io);
}

static void test_illegal_vector_is_logged_by_the_local_apic(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);

	set_entry(io, 9, 0, LEVEL | 0x05);
	ioapic_set_pin(io, 9, true);
	assert_int_equal(take(&vm, 0), -1);
	assert_int_equal(entry_low(io, 9), LEVEL | 0x05);
	assert_int_equal(vm.lapics[0].esr_pending, LAPIC_ESR_RECEIVE_ILLEGAL);
	ioapic_destroy(io);
}

#define ROUNDS 20000

static void *assert_pins(void *arg)
{
	struct vm *vm = arg;

	for (int i = 0; i < ROUNDS; i++)
		ioapic_set_pin(&vm->io, 9, i & 1);
	ioapic_set_pin(&vm->io, 9, true);
	return NULL;
}

static void no_wake(void *ctx, uint32_t id, bool ipi)
{
}

static void test_pins_from_another_thread_while_acknowledging(void **state)
{
	struct vm vm;
	struct ioapic *io = setup(&vm);
	pthread_t thread;

	vm.bus.wake = no_wake;
	set_entry(io, 9, 0, LEVEL | 0x61);
	assert_int_equal(pthread_create(&thread, NULL, assert_pins, &vm), 0);
	for (int i = 0; i < ROUNDS; i++) {
		if (take(&vm, 0) == 0x61)
			lapic_eoi(&vm.lapics[0]);
		if (i % 64 == 0)
			write_reg(io, 0x10 + 2 * 9, (i & 64 ? MASKED : 0) | LEVEL | 0x61);
	}
	pthread_join(thread, NULL);
	/* In whatever order, an asserted, unmasked level is on its way or arrived. */
	write_reg(io, 0x10 + 2 * 9, LEVEL | 0x61);
	assert_int_equal(entry_low(io, 9), REMOTE_IRR | LEVEL | 0x61);
	assert_int_equal(take(&vm, 0), 0x61);
	ioapic_destroy(io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version_says_24_pins_and_the_eoi_register),
		cmocka_unit_test(test_id_is_bits_27_to_24_and_loads_the_arbitration_id),
		cmocka_unit_test(test_all_entries_are_masked_after_reset),
		cmocka_unit_test(test_entry_reserved_and_read_only_bits_are_masked),
		cmocka_unit_test(test_select_register_holds_8_bits),
		cmocka_unit_test(test_unknown_registers_read_ones_and_are_counted),
		cmocka_unit_test(test_accesses_of_1_2_4_and_8_bytes),
		cmocka_unit_test(test_edge_sends_once_for_each_rise),
		cmocka_unit_test(test_edge_while_masked_is_lost),
		cmocka_unit_test(test_edge_is_not_broadcast_at_eoi),
		cmocka_unit_test(test_level_sets_remote_irr_when_accepted),
		cmocka_unit_test(test_level_is_not_sent_again_while_remote_irr_is_set),
		cmocka_unit_test(test_level_still_asserted_at_eoi_is_sent_again),
		cmocka_unit_test(test_level_deasserted_before_eoi_keeps_remote_irr),
		cmocka_unit_test(test_level_while_masked_is_sent_when_unmasked),
		cmocka_unit_test(test_level_masked_in_service_is_not_sent_at_eoi),
		cmocka_unit_test(test_level_that_nobody_takes_has_no_remote_irr),
		cmocka_unit_test(test_eoi_register_ends_like_a_broadcast),
		cmocka_unit_test(test_eoi_ends_all_pins_of_the_vector),
		cmocka_unit_test(test_eoi_follows_an_entry_to_its_new_vector),
		cmocka_unit_test(test_going_to_edge_and_back_clears_remote_irr),
		cmocka_unit_test(test_writing_the_high_half_keeps_remote_irr),
		cmocka_unit_test(test_logical_destination),
		cmocka_unit_test(test_lowest_priority_reaches_one_and_may_be_a_level),
		cmocka_unit_test(test_nmi_is_an_edge_even_if_programmed_as_level),
		cmocka_unit_test(test_extint_and_reserved_modes_send_nothing),
		cmocka_unit_test(test_polarity_is_kept_and_changes_nothing),
		cmocka_unit_test(test_pins_outside_the_table_are_ignored),
		cmocka_unit_test(test_illegal_vector_is_logged_by_the_local_apic),
		cmocka_unit_test(test_pins_from_another_thread_while_acknowledging),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
