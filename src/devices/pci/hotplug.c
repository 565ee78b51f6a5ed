/* SPDX-License-Identifier: Apache-2.0 */
/* The registers of PCI hotplug. See hotplug.h. */
#include <string.h>

#include "devices/bytes.h"
#include "devices/pci/bus.h"
#include "devices/pci/hotplug.h"

_Static_assert(PCI_HOTPLUG_PORTS == PCI_HOTPLUG_OST + 4 * PCI_SLOTS, "one for each slot");

#define BRIDGE 1u /* slot 0: it never goes */

static void drive(struct pci_hotplug *h)
{
	h->set_line(h->ctx, h->up | h->down);
}

/* Returns the slots in @which, and clears them. */
static uint32_t take(struct pci_hotplug *h, uint32_t *which)
{
	uint32_t slots;

	pthread_mutex_lock(&h->lock);
	slots = *which;
	*which = 0;
	drive(h);
	pthread_mutex_unlock(&h->lock);
	return slots;
}

/* Reads a register. An access that is not a whole one reads 0, and changes nothing. */
static void port_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	struct pci_hotplug *h = dev;

	memset(data, 0, len);
	if (len != 4)
		return;
	if (offset == PCI_HOTPLUG_UP)
		set32(data, take(h, &h->up));
	else if (offset == PCI_HOTPLUG_DOWN)
		set32(data, take(h, &h->down));
}

static void port_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct pci_hotplug *h = dev;
	uint32_t slots;

	if (len != 4 || offset & 3 || offset < PCI_HOTPLUG_EJECT)
		return;
	if (offset > PCI_HOTPLUG_OST) {
		h->answered(h->ctx, (unsigned int)(offset - PCI_HOTPLUG_OST) / 4, get32(data));
		return;
	}
	if (offset == PCI_HOTPLUG_OST) /* the bridge's */
		return;
	slots = get32(data) & ~BRIDGE;
	if (slots)
		h->eject(h->ctx, slots);
}

static const struct bus_ops port_ops = {port_read, port_write};

int pci_hotplug_add(struct pci_hotplug *h, struct bus *pio)
{
	h->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	h->up = h->down = 0;
	return bus_add(pio, PCI_HOTPLUG_PORT, PCI_HOTPLUG_PORTS, &port_ops, h);
}

/* Sets and clears bits of what the guest has not read. */
static void change(struct pci_hotplug *h, uint32_t up, uint32_t down, uint32_t none)
{
	pthread_mutex_lock(&h->lock);
	h->up = (h->up & ~none) | up;
	h->down = (h->down & ~none) | down;
	drive(h);
	pthread_mutex_unlock(&h->lock);
}

void pci_hotplug_came(struct pci_hotplug *h, unsigned int slot)
{
	change(h, 1u << slot, 0, 1u << slot);
}

void pci_hotplug_ask(struct pci_hotplug *h, unsigned int slot)
{
	change(h, 0, 1u << slot, 0);
}

void pci_hotplug_gone(struct pci_hotplug *h, unsigned int slot)
{
	change(h, 0, 0, 1u << slot);
}

void pci_hotplug_reset(struct pci_hotplug *h)
{
	change(h, 0, 0, UINT32_MAX);
}

void pci_hotplug_save(struct pci_hotplug *h, struct state_writer *w)
{
	pthread_mutex_lock(&h->lock);
	state_put_u32(w, h->up);
	state_put_u32(w, h->down);
	pthread_mutex_unlock(&h->lock);
}

int pci_hotplug_load(struct pci_hotplug *h, struct state_in *in, struct error *err)
{
	uint32_t up = state_get_u32(in), down = state_get_u32(in);
	int ret;

	state_check(in, !((up | down) & BRIDGE), "the slots of PCI hotplug");
	ret = state_finish(in, err);
	if (ret < 0)
		return ret;
	h->up = up;
	h->down = down;
	return 0;
}

void pci_hotplug_drive(struct pci_hotplug *h)
{
	change(h, 0, 0, 0);
}
