/* SPDX-License-Identifier: Apache-2.0 */
/* Looking up devices by address. A handful of ranges: a linear search is as quick as any. */
#include <errno.h>
#include <string.h>

#include "devices/bus.h"

int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *dev)
{
	if (!size || base + size - 1 < base)
		return -EINVAL;
	if (bus->count == BUS_RANGES)
		return -ENOSPC;
	for (unsigned int i = 0; i < bus->count; i++) {
		const struct bus_range *r = &bus->ranges[i];

		if (base <= r->base + (r->size - 1) && r->base <= base + (size - 1))
			return -EEXIST;
	}
	bus->ranges[bus->count++] = (struct bus_range){base, size, ops, dev};
	return 0;
}

/* An access that begins in a range and leaves it belongs to nobody. */
static const struct bus_range *find(const struct bus *bus, uint64_t addr, unsigned int len)
{
	for (unsigned int i = 0; i < bus->count; i++) {
		const struct bus_range *r = &bus->ranges[i];

		if (addr >= r->base && addr - r->base < r->size)
			return r->size - (addr - r->base) >= len ? r : NULL;
	}
	return NULL;
}

bool bus_read(const struct bus *bus, uint64_t addr, void *data, unsigned int len)
{
	const struct bus_range *r = find(bus, addr, len);

	memset(data, 0xff, len); /* also what a handler leaves untouched */
	if (!r)
		return false;
	r->ops->read(r->dev, addr - r->base, data, len);
	return true;
}

bool bus_write(const struct bus *bus, uint64_t addr, const void *data, unsigned int len)
{
	const struct bus_range *r = find(bus, addr, len);

	if (!r)
		return false;
	r->ops->write(r->dev, addr - r->base, data, len);
	return true;
}
