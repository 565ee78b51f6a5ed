/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workloads with devices: blk and echo (probe.h). Both take the time with the same loop as the
 * others (io_shot in hot.S), so that hardly more than the doorbell, the halt and the handler's
 * first instruction is measured.
 */
#ifndef PROBE_IO_H
#define PROBE_IO_H

#include <stdint.h>

struct io_request {
	uint64_t *samples;
	uint64_t count, warmup;
	uint64_t seed;
	uint32_t apic_id, vector;
	int drain; /* echo: as many packets as there are */
	int id;	   /* blk: ask for the id */
	int write; /* blk: write, to a disk that may cache that until it is flushed */
	/* Calls a loop; what it does there, it does by the other two: writes a doorbell and waits for
	 * the interrupt, as io_shot in hot.S, or only writes it. */
	void (*run)(void (*loop)(void *), void *arg);
	uint64_t (*shot)(uint64_t doorbell, uint32_t value, uint64_t *before);
	void (*ring)(uint64_t doorbell, uint32_t value);
};

/* A disk that runs, and its queue with one request in it that a step of avail_idx makes
 * available. */
struct io_disk {
	uint64_t doorbell;
	uint64_t blocks; /* of 4 KiB */
};

/* NULL, or what is wrong. */
const char *io_blk_begin(const struct io_request *req, struct io_disk *disk);
const char *io_blk(const struct io_request *req);
/* Until stop is set; *recorded: how many samples there are. */
const char *io_echo(const struct io_request *req, volatile uint32_t *handled,
		    volatile const uint32_t *stop, uint64_t *recorded);

#endif
