/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By what a guest knows that it goes on from a snapshot, which others may do as well: the Virtual
 * Machine Generation ID (Microsoft's specification of that name, 2012), 16 bytes that are others
 * then, and vmclock (Linux include/uapi/linux/vmclock-abi.h), a page with counters of the same. Both
 * lie in guest memory, where firmware has its data, and one interrupt says that they have changed.
 *
 * vmclock could tell the time, too. Here it does not: kvmclock does.
 *
 * Threads: before the vCPUs run, or while all of them stand.
 */
#ifndef DEVICES_GENID_H
#define DEVICES_GENID_H

#include <stddef.h>
#include <stdint.h>

#include "errors.h"
#include "state.h"

#define GENID_BASE	UINT64_C(0xee000)
#define GENID_SIZE	16
#define VMCLOCK_BASE	UINT64_C(0xef000)
#define VMCLOCK_SIZE	UINT64_C(0x1000)
#define GENID_GSI	13	   /* an edge, of both */
#define GENID_AREA	GENID_BASE /* both lie in [GENID_AREA, GENID_AREA + GENID_AREA_SIZE) */
#define GENID_AREA_SIZE UINT64_C(0x2000)

struct genid {
	uint8_t id[GENID_SIZE];
	uint32_t updates;     /* how often the page has changed */
	uint64_t disruptions; /* of the processor's counter */
	uint64_t generation;
};

/* Makes a new id. 0 or -errno of getrandom(2). */
int genid_init(struct genid *g);
/* Writes both to the area, which is at @area. */
void genid_write(const struct genid *g, void *area);

#define GENID_STATE_VERSION 1
/* Writes the state, in an open section. */
void genid_save(const struct genid *g, struct state_writer *w);
/* Reads that section whole, and becomes the next generation of it: with another id, and counters
 * that have changed. 0, or -errno with a sentence. */
int genid_load(struct genid *g, struct state_in *in, struct error *err);

#endif
