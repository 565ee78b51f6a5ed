/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Computing in user mode (ring 3): what processors need for that beyond what start.S gives them.
 * On hosts that emulate a guest's kernel mode, user mode is what runs by itself, and what only an
 * interrupt ends.
 */
#ifndef PROBE_COMPUTE_H
#define PROBE_COMPUTE_H

#include "hot.h"

/* Computes as processor @index of those that do, until an event finds stop set: the boot processor;
 * the others are sent none. */
void compute_run(uint32_t index, const struct compute_regs *regs);

#endif
