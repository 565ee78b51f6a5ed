/* SPDX-License-Identifier: Apache-2.0 */
/* pvpanic: reads say which events are understood, writes are events. */
#include <string.h>

#include "devices/pvpanic.h"

#define EVENTS (PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)

static void events_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	memset(data, 0, len);
	if (offset == 0)
		*(uint8_t *)data = EVENTS;
}

static void events_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct pvpanic *p = dev;
	uint8_t value = *(const uint8_t *)data & EVENTS;

	if (offset == 0 && value)
		p->event(p->ctx, value);
}

static const struct bus_ops ops = {events_read, events_write};

int pvpanic_add(struct pvpanic *p, struct bus *pio, struct bus *mmio)
{
	int ret = bus_add(pio, PVPANIC_PORT, 1, &ops, p);

	return ret < 0 ? ret : bus_add(mmio, PVPANIC_MMIO_BASE, PVPANIC_MMIO_SIZE, &ops, p);
}
