/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupt pins (PCI Local Bus Specification 3.0, 2.2.6, 6.2.2 to 6.2.4): who drives which input,
 * and what holds it back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "devices/pci/bus.h"

#define DEVICES 31
#define DISABLE 0x400u
#define STATUS	8u
#define ROUNDS	2000
#define SHARING 4 /* slots that lead to one input */

struct vm;

struct device {
	struct vm *vm;
	struct pci_function f;
	_Atomic bool wants;
};

struct vm {
	struct bus pio, mmio;
	struct pci_bus pci;
	struct device devices[DEVICES];
	uint32_t inputs;
	unsigned int changes;
};

static const struct pci_id id = {.vendor = 0x1234, .device = 0x5678};

static void on_input(void *ctx, unsigned int input, bool level)
{
	struct vm *vm = ctx;

	assert_in_range(input, 16, 23);
	assert_int_not_equal(vm->inputs >> input & 1, level);
	vm->inputs ^= 1u << input;
	vm->changes++;
}

static bool wanted(void *ctx)
{
	return atomic_load(&((struct device *)ctx)->wants);
}

static int setup(void **state)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	assert_int_equal(pci_bus_init(&vm->pci, &vm->pio, &vm->mmio), 0);
	pci_bus_route_intx(&vm->pci, on_input, vm);
	for (unsigned int i = 0; i < DEVICES; i++) {
		struct device *d = &vm->devices[i];

		d->vm = vm;
		assert_int_equal(pci_function_init(&d->f, &id), 0);
		/* The last has no interrupts. */
		if (i + 1 < DEVICES)
			d->f.intx = (struct pci_intx){.wanted = wanted, .ctx = d};
		assert_int_equal(pci_bus_plug(&vm->pci, &d->f), i + 1);
	}
	*state = vm;
	return 0;
}

static int teardown(void **state)
{
	struct vm *vm = *state;

	for (unsigned int i = 0; i < DEVICES; i++)
		pci_function_fini(&vm->devices[i].f);
	pci_bus_fini(&vm->pci);
	free(vm);
	return 0;
}

static void want(struct device *d, bool wants)
{
	atomic_store(&d->wants, wants);
	pci_function_update_intx(&d->f);
}

static uint32_t cfg(struct vm *vm, unsigned int slot, unsigned int reg, unsigned int len)
{
	uint32_t value = 0;

	bus_read(&vm->mmio, PCI_ECAM_BASE + (slot << 15) + reg, &value, len);
	return value;
}

static void set(struct vm *vm, unsigned int slot, unsigned int reg, uint32_t value,
		unsigned int len)
{
	bus_write(&vm->mmio, PCI_ECAM_BASE + (slot << 15) + reg, &value, len);
}

static void test_registers(void **state)
{
	struct vm *vm = *state;

	for (unsigned int slot = 1; slot < DEVICES; slot++) {
		assert_int_equal(cfg(vm, slot, 0x3d, 1), 1);
		assert_int_equal(cfg(vm, slot, 0x3c, 1), 16 + slot % 8);
		/* The line is for software to keep, the pin is not to be changed. */
		set(vm, slot, 0x3c, 0x0304, 2);
		assert_int_equal(cfg(vm, slot, 0x3c, 2), 0x0104);
	}
	assert_int_equal(cfg(vm, 0, 0x3d, 1), 0);
	assert_int_equal(cfg(vm, DEVICES, 0x3d, 1), 0);
	pci_function_update_intx(&vm->devices[DEVICES - 1].f);
	assert_int_equal(vm->changes, 0);
}

static void test_shared(void **state)
{
	struct vm *vm = *state;
	struct device *d = vm->devices;

	want(&d[0], true);
	assert_int_equal(vm->inputs, 1 << 17);
	want(&d[1], true);
	assert_int_equal(vm->inputs, 3 << 17);
	/* Slot 9, and slot 1 again: one input. */
	want(&d[8], true);
	want(&d[0], false);
	assert_int_equal(vm->inputs, 3 << 17);
	want(&d[0], true);
	want(&d[8], false);
	assert_int_equal(vm->inputs, 3 << 17);
	assert_int_equal(vm->changes, 2);
	want(&d[0], false);
	want(&d[1], false);
	assert_int_equal(vm->inputs, 0);
}

static void test_disable(void **state)
{
	struct vm *vm = *state;
	struct device *d = vm->devices;

	set(vm, 1, 4, DISABLE, 2);
	want(&d[0], true);
	assert_int_equal(vm->inputs, 0);
	assert_int_equal(cfg(vm, 1, 6, 2) & STATUS, STATUS);
	/* It is not written. */
	set(vm, 1, 6, 0xffff, 2);
	set(vm, 1, 6, 0, 2);
	assert_int_equal(cfg(vm, 1, 6, 2) & STATUS, STATUS);
	set(vm, 1, 4, 0, 2);
	assert_int_equal(vm->inputs, 1 << 17);
	/* A byte of it will do. */
	set(vm, 1, 5, DISABLE >> 8, 1);
	assert_int_equal(vm->inputs, 0);
	set(vm, 1, 5, 0, 1);
	want(&d[0], false);
	assert_int_equal(cfg(vm, 1, 6, 2) & STATUS, 0);
	assert_int_equal(vm->inputs, 0);
}

static void *change_often(void *arg)
{
	struct device *d = arg;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		want(d, i & 1);
		set(d->vm, d->f.intx.slot, 4, i & 2 ? DISABLE : 0, 2);
	}
	set(d->vm, d->f.intx.slot, 4, 0, 2);
	return NULL;
}

static void test_threads(void **state)
{
	struct vm *vm = *state;
	pthread_t threads[SHARING - 1];

	for (unsigned int i = 0; i < SHARING - 1; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, change_often, &vm->devices[8 * i]), 0);
	for (unsigned int i = 0; i < SHARING - 1; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(vm->inputs, 1 << 17); /* each has ended with wanting */
	for (unsigned int i = 0; i < SHARING - 1; i++)
		want(&vm->devices[8 * i], false);
	assert_int_equal(vm->inputs, 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {test(test_registers), test(test_shared),
					   test(test_disable), test(test_threads)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
