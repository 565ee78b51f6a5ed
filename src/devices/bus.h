/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An address space of devices: I/O ports or MMIO. Filled before the vCPUs start, constant
 * afterwards, so that any vCPU may look things up without a lock; devices protect themselves.
 *
 * The BARs of PCI functions move while the guest runs. They are behind a window: one range, as
 * constant as the others, whose owner knows which device answers at an address just now.
 */
#ifndef DEVICES_BUS_H
#define DEVICES_BUS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BUS_RANGES 64

struct bus_ops {
	/* @offset is within the range; @len is 1, 2, 4 or 8 and the access does not leave the
	 * range. */
	void (*read)(void *dev, uint64_t offset, void *data, unsigned int len);
	void (*write)(void *dev, uint64_t offset, const void *data, unsigned int len);
};

struct bus_range {
	uint64_t base, size;
	const struct bus_ops *ops; /* NULL: a window */
	void *dev;
	/* Of a window: fills @found with the range, not itself a window, that has @addr. False:
	 * none. Any thread, also while what is behind the window moves. */
	bool (*find)(void *dev, uint64_t addr, struct bus_range *found);
};

struct bus {
	struct bus_range ranges[BUS_RANGES];
	unsigned int count;
};

/* Adds a range. Returns 0, -ENOSPC, -EEXIST (overlaps another range), -EINVAL (empty or wraps). */
int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *dev);
/* Adds a window. Returns the same. */
int bus_add_window(struct bus *bus, uint64_t base, uint64_t size,
		   bool (*find)(void *dev, uint64_t addr, struct bus_range *found), void *dev);
/*
 * Adds a range as bus_add(), but ranges that are there already may lie within: an access that is
 * wholly theirs stays theirs, and this one has the others. -EEXIST: one of them lies only partly
 * within.
 */
int bus_add_around(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops,
		   void *dev);
/* Returns false if nobody is there; a read then gives all ones, a write is ignored. */
bool bus_read(const struct bus *bus, uint64_t addr, void *data, unsigned int len);
bool bus_write(const struct bus *bus, uint64_t addr, const void *data, unsigned int len);

#endif
