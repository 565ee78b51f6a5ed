/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial port: a 16550A (National Semiconductor PC16550D data sheet), 8 registers. Output
 * leaves at once, so the transmitter is always empty; input waits in a FIFO. Any thread: a mutex
 * protects the state. It is not held while output leaves, which may take its time: input is taken
 * and registers are read meanwhile.
 */
#ifndef DEVICES_SERIAL_H
#define DEVICES_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/bus.h"
#include "devices/outlet.h"
#include "errors.h"
#include "state.h"

#define SERIAL_COM1_PORT 0x3f8
#define SERIAL_COM1_IRQ	 4
#define SERIAL_PORTS	 8
#define SERIAL_FIFO \
	64 /* more than the 16 of the chip: drivers read until the line status says empty */

struct serial {
	struct outlet outlet;
	pthread_mutex_t lock;
	void (*irq)(void *ctx, bool level); /* called with the lock held, only on changes */
	void *irq_ctx;
	bool irq_level;
	bool thr_empty_pending; /* the "transmitter empty" interrupt was not yet read from IIR */
	uint8_t ier, lcr, mcr, scr, fcr, dll, dlm;
	bool overrun;
	bool uses_rts; /* RTS was raised once: whoever lowers it wants no input */
	uint8_t fifo[SERIAL_FIFO];
	unsigned int head, used;
};

extern const struct bus_ops serial_ops; /* dev is the struct serial */

int serial_init(struct serial *s);
void serial_destroy(struct serial *s);
/* Resets the port to its state at power-on: input that was not read is gone. Any thread. */
void serial_reset(struct serial *s);
/* Does string output (REP OUTSB) to the data register in one go. Returns false if the port is not
 * set up for it. */
bool serial_write_many(struct serial *s, const void *data, size_t len);
/* Gives the port input. Returns how many bytes there was room for. Any thread. */
size_t serial_input(struct serial *s, const void *data, size_t len);

#define SERIAL_STATE_VERSION 1
/* Writes registers and input that was not read, in an open section. Any thread. */
void serial_save(struct serial *s, struct state_writer *w);
/* Reads that section whole, checks it, and takes it over. The interrupt's level is taken to be what
 * follows from it. 0, or -EINVAL with a sentence. */
int serial_load(struct serial *s, struct state_in *in, struct error *err);
/* Tells irq() how the level is. Any thread. */
void serial_drive(struct serial *s);

#endif
