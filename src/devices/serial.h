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
/* String output (REP OUTSB) to the data register in one go; false: the port is not set up for it.
 */
bool serial_write_many(struct serial *s, const void *data, size_t len);
/* Any thread: input arrives. Returns how many bytes there was room for. */
size_t serial_input(struct serial *s, const void *data, size_t len);

#endif
