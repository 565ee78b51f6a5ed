/* SPDX-License-Identifier: Apache-2.0 */
/* The registers of PCI hotplug, access by access, and slots that are used again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/pci/bus.h"
#include "devices/pci/hotplug.h"

#define UP    (PCI_HOTPLUG_PORT + PCI_HOTPLUG_UP)
#define DOWN  (PCI_HOTPLUG_PORT + PCI_HOTPLUG_DOWN)
#define EJECT (PCI_HOTPLUG_PORT + PCI_HOTPLUG_EJECT)
#define OST   (PCI_HOTPLUG_PORT + PCI_HOTPLUG_OST)

struct board {
	struct bus pio, mmio;
	struct pci_hotplug hotplug;
	bool line;
	uint32_t ejected;
	unsigned int ejections, answers, slot;
	uint32_t status;
};

static void set_line(void *ctx, bool level)
{
	((struct board *)ctx)->line = level;
}

static void eject(void *ctx, uint32_t slots)
{
	struct board *b = ctx;

	b->ejected = slots;
	b->ejections++;
}

static void answered(void *ctx, unsigned int slot, uint32_t status)
{
	struct board *b = ctx;

	b->answers++;
	b->slot = slot;
	b->status = status;
}

static int setup(void **state)
{
	struct board *b = calloc(1, sizeof(*b));

	b->hotplug.set_line = set_line;
	b->hotplug.eject = eject;
	b->hotplug.answered = answered;
	b->hotplug.ctx = b;
	assert_int_equal(pci_hotplug_add(&b->hotplug, &b->pio), 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static uint64_t in(struct board *b, uint64_t port, unsigned int len)
{
	uint64_t value = 0;

	assert_true(bus_read(&b->pio, port, &value, len));
	return value;
}

static void out(struct board *b, uint64_t port, uint64_t value, unsigned int len)
{
	assert_true(bus_write(&b->pio, port, &value, len));
}

static void the_line_is_up_until_all_is_read(void **state)
{
	struct board *b = *state;

	assert_false(b->line);
	pci_hotplug_came(&b->hotplug, 3);
	assert_true(b->line);
	pci_hotplug_ask(&b->hotplug, 31);
	assert_int_equal(in(b, UP, 4), 1u << 3);
	assert_true(b->line);
	assert_int_equal(in(b, UP, 4), 0);
	assert_int_equal(in(b, DOWN, 4), 1u << 31);
	assert_false(b->line);
	assert_int_equal(in(b, DOWN, 4), 0);
}

static void what_has_gone_is_not_told_of(void **state)
{
	struct board *b = *state;

	pci_hotplug_ask(&b->hotplug, 5);
	pci_hotplug_came(&b->hotplug, 6);
	pci_hotplug_gone(&b->hotplug, 5);
	assert_true(b->line);
	assert_int_equal(in(b, DOWN, 4), 0);
	/* Another in its slot is no old request's. */
	pci_hotplug_ask(&b->hotplug, 5);
	pci_hotplug_came(&b->hotplug, 5);
	assert_int_equal(in(b, DOWN, 4), 0);
	assert_int_equal(in(b, UP, 4), 1u << 5 | 1u << 6);
	assert_false(b->line);
	pci_hotplug_came(&b->hotplug, 7);
	pci_hotplug_reset(&b->hotplug);
	assert_false(b->line);
	assert_int_equal(in(b, UP, 4), 0);
}

/* Parts of registers read 0 and change nothing; nor do writes where nothing is to be written. */
static void only_whole_accesses_count(void **state)
{
	struct board *b = *state;

	pci_hotplug_came(&b->hotplug, 1);
	pci_hotplug_ask(&b->hotplug, 2);
	for (unsigned int len = 1; len <= 8; len *= 2)
		for (uint64_t at = 0; at + len <= PCI_HOTPLUG_PORTS; at++) {
			if (len == 4 && (at == PCI_HOTPLUG_UP || at == PCI_HOTPLUG_DOWN))
				continue;
			assert_int_equal(in(b, PCI_HOTPLUG_PORT + at, len), 0);
			if (len != 4 || at < PCI_HOTPLUG_EJECT || at & 3)
				out(b, PCI_HOTPLUG_PORT + at, UINT64_MAX, len);
		}
	assert_int_equal(b->ejections, 0);
	assert_int_equal(b->answers, 0);
	assert_true(b->line);
	assert_int_equal(in(b, UP, 4), 1u << 1);
	assert_int_equal(in(b, DOWN, 4), 1u << 2);
}

static void each_slot_has_an_answer(void **state)
{
	struct board *b = *state;

	for (unsigned int slot = 1; slot < PCI_SLOTS; slot++) {
		out(b, OST + 4 * (uint64_t)slot, 0x80000000 + slot, 4);
		assert_int_equal(b->answers, slot);
		assert_int_equal(b->slot, slot);
		assert_int_equal(b->status, 0x80000000 + slot);
	}
	assert_int_equal(b->ejections, 0);
}

static void the_bridge_does_not_go(void **state)
{
	struct board *b = *state;

	out(b, OST, 0x82, 4);
	assert_int_equal(b->answers, 0);
	out(b, EJECT, 1, 4);
	out(b, EJECT, 0, 4);
	assert_int_equal(b->ejections, 0);
	out(b, EJECT, UINT32_MAX, 4);
	assert_int_equal(b->ejections, 1);
	assert_int_equal(b->ejected, UINT32_MAX - 1);
}

static void what_is_not_read_is_saved(void **state)
{
	struct board *b = *state;
	const uint32_t section = STATE_ID('t', 'e', 's', 't');
	struct error err = {.text = ""};
	struct state_reader r;
	struct state_writer w;
	struct state_in in_;

	pci_hotplug_came(&b->hotplug, 9);
	pci_hotplug_ask(&b->hotplug, 10);
	state_writer_init(&w);
	state_begin(&w, section, 0, PCI_HOTPLUG_STATE_VERSION);
	pci_hotplug_save(&b->hotplug, &w);
	assert_int_equal(state_end(&w), 0);
	assert_int_equal(state_seal(&w), 0);
	pci_hotplug_reset(&b->hotplug);
	assert_int_equal(state_open(&r, w.data, w.len, &err), 0);
	assert_int_equal(state_find(&r, section, 0, PCI_HOTPLUG_STATE_VERSION, &in_, &err), 0);
	assert_int_equal(pci_hotplug_load(&b->hotplug, &in_, &err), 0);
	assert_false(b->line);
	pci_hotplug_drive(&b->hotplug);
	assert_true(b->line);
	assert_int_equal(in(b, UP, 4), 1u << 9);
	assert_int_equal(in(b, DOWN, 4), 1u << 10);
	state_close(&r);
	state_writer_fini(&w);
}

/* -- slots ------------------------------------------------------------------------------------ */

static const struct pci_id id = {.vendor = 0x1234, .device = 1, .class_code = 0xff0000};

static void nothing_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	memset(data, 0, len);
}

static void nothing_written(void *dev, uint64_t offset, const void *data, unsigned int len)
{
}

static const struct bus_ops ops = {nothing_read, nothing_written};

static uint32_t config(struct board *b, unsigned int slot, unsigned int reg)
{
	uint32_t value;

	assert_true(bus_read(&b->mmio, PCI_ECAM_BASE + ((uint64_t)slot << 15) + reg, &value, 4));
	return value;
}

static bool anybody_at(struct board *b, uint64_t addr)
{
	uint32_t value;

	return bus_read(&b->mmio, addr, &value, 4);
}

static void make_function(struct pci_function *f)
{
	assert_int_equal(pci_function_init(f, &id), 0);
	assert_int_equal(pci_function_add_bar(f, 0, 0x4000, true, &ops, f), 0);
}

static void slots_are_used_again(void **state)
{
	struct board *b = *state;
	struct pci_function f[3], late;
	struct pci_bus pci;

	assert_int_equal(pci_bus_init(&pci, &b->pio, &b->mmio), 0);
	for (int i = 0; i < 3; i++) {
		make_function(&f[i]);
		assert_int_equal(pci_bus_plug(&pci, &f[i]), i + 1);
	}
	assert_true(anybody_at(b, f[1].bars[0].home));
	pci_bus_hide(&pci, 2);
	assert_int_equal(config(b, 2, 0), UINT32_MAX);
	assert_false(anybody_at(b, f[1].bars[0].home));
	make_function(&late);
	/* A slot is not free before its function is off the bus. */
	assert_int_equal(pci_bus_plug_late(&pci, &late), 4);
	pci_bus_unplug(&pci, 4, &late);
	pci_bus_unplug(&pci, 2, &f[1]);
	assert_int_equal(pci_bus_plug_late(&pci, &late), 2);
	/* It comes with no address, and nobody else's would be its own. */
	assert_int_equal(config(b, 2, 0), 0x00011234);
	assert_int_equal(config(b, 2, 4) & 7, 0);
	assert_int_equal(config(b, 2, 0x10), 4);
	assert_false(anybody_at(b, late.bars[0].home));
	assert_true(late.bars[0].home != f[0].bars[0].home &&
		    late.bars[0].home != f[2].bars[0].home);
	pci_function_reset(&late);
	assert_int_equal(config(b, 2, 4) & 2, 2);
	assert_true(anybody_at(b, late.bars[0].home));
	/* Again and again: neither slots nor room run out. */
	for (int i = 0; i < 100000; i++) {
		pci_bus_unplug(&pci, 2, &late);
		assert_int_equal(pci_bus_plug_late(&pci, &late), 2);
	}
	pci_function_fini(&late);
	for (int i = 0; i < 3; i++)
		pci_function_fini(&f[i]);
	pci_bus_fini(&pci);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_line_is_up_until_all_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(what_has_gone_is_not_told_of, setup, teardown),
		cmocka_unit_test_setup_teardown(only_whole_accesses_count, setup, teardown),
		cmocka_unit_test_setup_teardown(each_slot_has_an_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(the_bridge_does_not_go, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_not_read_is_saved, setup, teardown),
		cmocka_unit_test_setup_teardown(slots_are_used_again, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
