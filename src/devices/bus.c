/* SPDX-License-Identifier: Apache-2.0 */
/* Looking up devices by address. A handful of ranges: a linear search is as quick as any. */
#include <errno.h>
#include <string.h>

#include "devices/bus.h"

/* Returns whether [addr, addr + len) is in the range. */
static bool within(const struct bus_range *r, uint64_t addr, uint64_t len)
{
	return addr >= r->base && addr - r->base < r->size && r->size - (addr - r->base) >= len;
}

static int add(struct bus *bus, const struct bus_range *new, bool around)
{
	if (!new->size || new->base + new->size - 1 < new->base)
		return -EINVAL;
	if (bus->count == BUS_RANGES)
		return -ENOSPC;
	for (unsigned int i = 0; i < bus->count; i++) {
		const struct bus_range *r = &bus->ranges[i];

		if (around && within(new, r->base, r->size))
			continue;
		if (new->base <= r->base + (r->size - 1) && r->base <= new->base + (new->size - 1))
			return -EEXIST;
	}
	/* Behind those that it is around: they are found first. */
	bus->ranges[bus->count++] = *new;
	return 0;
}

int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *dev)
{
	return add(bus, &(struct bus_range){.base = base, .size = size, .ops = ops, .dev = dev},
		   false);
}

int bus_add_around(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops,
		   void *dev)
{
	return add(bus, &(struct bus_range){.base = base, .size = size, .ops = ops, .dev = dev},
		   true);
}

int bus_add_window(struct bus *bus, uint64_t base, uint64_t size,
		   bool (*find)(void *dev, uint64_t addr, struct bus_range *found), void *dev)
{
	return add(bus, &(struct bus_range){.base = base, .size = size, .dev = dev, .find = find},
		   false);
}

/* Returns the range of an access, or NULL. An access that begins in a range and leaves it belongs
 * to nobody. */
static const struct bus_range *find(const struct bus *bus, uint64_t addr, unsigned int len,
				    struct bus_range *behind)
{
	for (unsigned int i = 0; i < bus->count; i++) {
		const struct bus_range *r = &bus->ranges[i];

		if (!within(r, addr, len))
			continue;
		if (r->ops)
			return r;
		return r->find(r->dev, addr, behind) && within(behind, addr, len) ? behind : NULL;
	}
	return NULL;
}

bool bus_read(const struct bus *bus, uint64_t addr, void *data, unsigned int len)
{
	struct bus_range behind;
	const struct bus_range *r = find(bus, addr, len, &behind);

	memset(data, 0xff, len); /* also what a handler leaves untouched */
	if (!r)
		return false;
	r->ops->read(r->dev, addr - r->base, data, len);
	return true;
}

bool bus_write(const struct bus *bus, uint64_t addr, const void *data, unsigned int len)
{
	struct bus_range behind;
	const struct bus_range *r = find(bus, addr, len, &behind);

	if (!r)
		return false;
	r->ops->write(r->dev, addr - r->base, data, len);
	return true;
}
