/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O APIC (Intel 82093AA data sheet; version 0x20 with the EOI register): 24 input pins, each
 * with a redirection entry. Any thread may drive a pin or a register: a mutex protects the state.
 * The bus's wake() is called with it held, so wake() must not come back here.
 */
#ifndef DEVICES_IOAPIC_H
#define DEVICES_IOAPIC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/lapic.h"

#define IOAPIC_MMIO_BASE UINT64_C(0xfec00000)
#define IOAPIC_MMIO_SIZE UINT64_C(0x1000)
#define IOAPIC_PINS	 24

struct ioapic {
	pthread_mutex_t lock;
	struct lapic_bus *bus;
	uint32_t id;
	uint32_t index;			    /* IOREGSEL */
	uint64_t entry[IOAPIC_PINS];	    /* redirection table, remote IRR in bit 14 */
	uint32_t level;			    /* the pins' present levels, one bit each */
	uint32_t level_mask_of_vector[256]; /* pins with this vector in level mode: fast EOI */
	uint64_t illegal; /* accesses that are not in the data sheet, for statistics */
};

int ioapic_init(struct ioapic *io, struct lapic_bus *bus);
void ioapic_destroy(struct ioapic *io);
/* Resets it to its state at power-on; pins are at the levels that they are driven to. Any
 * thread. */
void ioapic_reset(struct ioapic *io);
/* Drives a pin. An edge is a change from 0 to 1. Pins outside the table are ignored. Any thread. */
void ioapic_set_pin(struct ioapic *io, unsigned int pin, bool level);
/* Returns whether the pin is there and not masked. Any thread. */
bool ioapic_pin_enabled(struct ioapic *io, unsigned int pin);
/* Tells that a local APIC has acknowledged level-triggered @vector. Any thread. */
void ioapic_eoi(struct ioapic *io, uint8_t vector);
/* Does an access to MMIO: IOREGSEL 0x00, IOWIN 0x10, EOI 0x40; 1, 2, 4 or 8 bytes are taken, the
 * register is 32 bits. */
void ioapic_mmio_read(struct ioapic *io, uint64_t offset, void *data, unsigned int len);
void ioapic_mmio_write(struct ioapic *io, uint64_t offset, const void *data, unsigned int len);

#define IOAPIC_STATE_VERSION 1
/* Writes registers and the pins' levels, in an open section. Any thread. */
void ioapic_save(struct ioapic *io, struct state_writer *w);
/* Reads that section whole, checks it, and takes it over. No message is sent. 0, or -EINVAL with a
 * sentence. */
int ioapic_load(struct ioapic *io, struct state_in *in, struct error *err);

#endif
