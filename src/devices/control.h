/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports by which a guest ends or resets the machine: the keyboard controller's pulse (port 0x64,
 * 0xfe), the reset control register (0xcf9), and a debug-exit port. Port 0x80 takes POST codes and
 * delays.
 */
#ifndef DEVICES_CONTROL_H
#define DEVICES_CONTROL_H

#include <stdint.h>

#include "devices/bus.h"
#include "errors.h"
#include "state.h"

enum control_event { CONTROL_RESET, CONTROL_DEBUG_EXIT };

struct control {
	/* On the vCPU's thread that wrote. @value: what was written to the debug-exit port. */
	void (*event)(void *ctx, enum control_event event, uint32_t value);
	void *ctx;
	_Atomic uint8_t reset_register;
};

/* Adds the ports. 0, or -EEXIST: @debug_exit_port (-1: none) is taken. */
int control_add(struct control *c, struct bus *pio, int debug_exit_port);

#define CONTROL_STATE_VERSION 1
/* Writes the reset control register, in an open section. */
void control_save(const struct control *c, struct state_writer *w);
/* Reads that section whole, checks it, and takes it over. 0, or -EINVAL with a sentence. */
int control_load(struct control *c, struct state_in *in, struct error *err);

#endif
