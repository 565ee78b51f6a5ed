/* SPDX-License-Identifier: Apache-2.0 */
/* The root bus: which function an access to configuration space or to the window is for. */
#include <errno.h>
#include <linux/pci.h>
#include <string.h>

#include "devices/pci/bus.h"
#include "relaxed.h"

/* The host bridge of QEMU's generic PCI Express machines at 00:00.0: no driver wants it, none
 * dislikes it. */
#define BRIDGE_VENDOR 0x1b36
#define BRIDGE_DEVICE 0x0008
#define BRIDGE_CLASS  0x060000

#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_BITS   0x80fffffcu
#define CONFIG_ADDRESS 0 /* from PCI_PORTS_BASE */
#define CONFIG_DATA    4

#define PAGE 4096u

#define ECAM_FUNCTION_SHIFT 12
#define ECAM_REGISTER_MASK  0xfffu

/* Returns the function at @where: device and function, as in bits 15 to 8 of CONFIG_ADDRESS. NULL:
 * nobody there. */
static struct pci_function *function_at(struct pci_bus *bus, unsigned int where)
{
	unsigned int slot = PCI_SLOT(where);

	return PCI_FUNC(where) == 0 ? atomic_load(&bus->slots[slot]) : NULL;
}

static void config_read(struct pci_bus *bus, unsigned int where, unsigned int reg, void *data,
			unsigned int len)
{
	struct pci_function *f = function_at(bus, where);

	if (f)
		pci_function_read(f, reg, data, len);
	else
		memset(data, 0xff, len);
}

static void config_write(struct pci_bus *bus, unsigned int where, unsigned int reg,
			 const void *data, unsigned int len)
{
	struct pci_function *f = function_at(bus, where);

	if (f)
		pci_function_write(f, reg, data, len);
}

/* -- ports ------------------------------------------------------------------------------------ */

/* Finds where CONFIG_DATA leads. Returns false if that is nowhere: the window is closed, or the bus
 * is another. */
static bool selected(struct pci_bus *bus, uint64_t offset, unsigned int *where, unsigned int *reg)
{
	uint32_t address = relaxed_load(&bus->address);

	if (!(address & ADDRESS_ENABLE) || (address >> 16 & 0xff) != 0)
		return false;
	*where = address >> 8 & 0xff;
	*reg = (address & 0xfc) + (unsigned int)(offset - CONFIG_DATA);
	return true;
}

/* Reads a port. CONFIG_ADDRESS is there for accesses of 32 bits only. */
static void ports_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	struct pci_bus *bus = dev;
	unsigned int where, reg;

	if (offset == CONFIG_ADDRESS && len == 4) {
		uint32_t value = relaxed_load(&bus->address);

		memcpy(data, &value, sizeof(value));
	} else if (offset >= CONFIG_DATA && selected(bus, offset, &where, &reg)) {
		config_read(bus, where, reg, data, len);
	}
}

static void ports_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct pci_bus *bus = dev;
	unsigned int where, reg;

	if (offset == CONFIG_ADDRESS && len == 4) {
		uint32_t value;

		memcpy(&value, data, sizeof(value));
		relaxed_store(&bus->address, value & ADDRESS_BITS);
	} else if (offset >= CONFIG_DATA && selected(bus, offset, &where, &reg)) {
		config_write(bus, where, reg, data, len);
	}
}

static const struct bus_ops ports_ops = {ports_read, ports_write};

/* -- ECAM ------------------------------------------------------------------------------------- */

static void ecam_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	unsigned int reg = (unsigned int)offset & ECAM_REGISTER_MASK;

	if (len <= ECAM_REGISTER_MASK + 1 - reg)
		config_read(dev, (unsigned int)(offset >> ECAM_FUNCTION_SHIFT), reg, data, len);
}

static void ecam_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	unsigned int reg = (unsigned int)offset & ECAM_REGISTER_MASK;

	if (len <= ECAM_REGISTER_MASK + 1 - reg)
		config_write(dev, (unsigned int)(offset >> ECAM_FUNCTION_SHIFT), reg, data, len);
}

static const struct bus_ops ecam_ops = {ecam_read, ecam_write};

/* -- the window ------------------------------------------------------------------------------- */

/* Finds the BAR at @addr. A guest may put two BARs at one place: the first one has it. */
static bool find_bar(void *dev, uint64_t addr, struct bus_range *found)
{
	struct pci_bus *bus = dev;

	for (uint32_t i = 0; i < atomic_load(&bus->bar_count); i++) {
		const struct pci_bar *b = atomic_load(&bus->bars[i]);
		uint64_t base = b ? relaxed_load(&b->base) : PCI_BAR_OFF;

		if (!b || addr < base || addr - base >= b->size)
			continue;
		*found = (struct bus_range){
			.base = base, .size = b->size, .ops = b->ops, .dev = b->dev};
		return true;
	}
	return false;
}

/* -- interrupt pins --------------------------------------------------------------------------- */

/* Drives the input of @slot, which is up as long as one of its slots is. */
static void drive_intx(void *ctx, unsigned int slot, bool level)
{
	struct pci_bus *bus = ctx;
	unsigned int input = pci_intx_input(slot);
	uint32_t *up = &bus->intx_up[input - PCI_INTX_FIRST], was;

	pthread_mutex_lock(&bus->inputs_lock);
	was = *up;
	if (level)
		*up |= 1u << slot;
	else
		*up &= ~(1u << slot);
	if (!was != !*up)
		bus->set_input(bus->input_ctx, input, level);
	pthread_mutex_unlock(&bus->inputs_lock);
}

void pci_bus_route_intx(struct pci_bus *bus,
			void (*set_input)(void *ctx, unsigned int input, bool level), void *ctx)
{
	bus->set_input = set_input;
	bus->input_ctx = ctx;
}

static void connect_intx(struct pci_bus *bus, struct pci_function *f, unsigned int slot)
{
	if (!bus->set_input || !f->intx.wanted)
		return;
	f->intx.drive = drive_intx;
	f->intx.bus = bus;
	f->intx.slot = slot;
	f->config[PCI_INTERRUPT_PIN] = 1; /* INTA# */
	f->config[PCI_INTERRUPT_LINE] = (uint8_t)pci_intx_input(slot);
}

/* -- making ----------------------------------------------------------------------------------- */

int pci_bus_init(struct pci_bus *bus, struct bus *pio, struct bus *mmio)
{
	static const struct pci_id bridge = {
		.vendor = BRIDGE_VENDOR, .device = BRIDGE_DEVICE, .class_code = BRIDGE_CLASS};
	int ret;

	memset(bus, 0, sizeof(*bus));
	bus->inputs_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	ret = pci_function_init(&bus->bridge, &bridge);
	if (ret < 0)
		return ret;
	pci_bus_plug(bus, &bus->bridge);
	ret = bus_add_around(pio, PCI_PORTS_BASE, PCI_PORTS, &ports_ops, bus);
	if (ret == 0)
		ret = bus_add(mmio, PCI_ECAM_BASE, PCI_ECAM_SIZE, &ecam_ops, bus);
	if (ret == 0)
		ret = bus_add_window(mmio, PCI_WINDOW_BASE, PCI_WINDOW_SIZE, find_bar, bus);
	if (ret < 0)
		pci_bus_fini(bus);
	return ret;
}

void pci_bus_reset(struct pci_bus *bus)
{
	atomic_store(&bus->address, 0);
	pci_function_reset(&bus->bridge);
}

void pci_bus_fini(struct pci_bus *bus)
{
	pci_function_fini(&bus->bridge);
}

/* Returns the end of a BAR's room: a page of its own at least, as the next may be another driver's. */
static uint64_t room_end(const struct pci_bar *b, uint64_t place)
{
	return place + (b->size < PAGE ? PAGE : b->size);
}

/* Returns where firmware puts @b, of @f: the first place that is nobody's. 0: there is none. */
static uint64_t find_place(struct pci_bus *bus, const struct pci_function *f,
			   const struct pci_bar *b)
{
	uint64_t size = room_end(b, 0), place = (PCI_WINDOW_BASE + size - 1) & ~(size - 1);
	const uint64_t end = PCI_WINDOW_BASE + PCI_WINDOW_SIZE;
	bool moved;

	if (size > PCI_WINDOW_SIZE)
		return 0;
	do {
		moved = false;
		for (unsigned int slot = 0; slot <= PCI_SLOTS; slot++) {
			const struct pci_function *other =
				slot < PCI_SLOTS ? atomic_load(&bus->slots[slot]) : f;

			for (unsigned int i = 0; other && i < PCI_BARS; i++) {
				const struct pci_bar *o = &other->bars[i];

				if (!o->home || place >= room_end(o, o->home) ||
				    o->home >= place + size)
					continue;
				place = (room_end(o, o->home) + size - 1) & ~(size - 1);
				moved = true;
			}
		}
	} while (moved && place < end);
	return place <= end - size ? place : 0;
}

/* Finds places for all BARs of @f. Returns 0 or -ENOSPC. */
static int find_places(struct pci_bus *bus, struct pci_function *f)
{
	for (unsigned int i = 0; i < PCI_BARS; i++)
		f->bars[i].home = 0;
	for (unsigned int i = 0; i < PCI_BARS; i++) {
		if (!f->bars[i].size)
			continue;
		f->bars[i].home = find_place(bus, f, &f->bars[i]);
		if (!f->bars[i].home)
			return -ENOSPC;
	}
	return 0;
}

static void add_bar(struct pci_bus *bus, const struct pci_bar *b)
{
	uint32_t i = 0;

	/* There are as many as all slots can have. */
	while (atomic_load(&bus->bars[i]))
		i++;
	atomic_store(&bus->bars[i], b);
	if (i >= atomic_load(&bus->bar_count))
		atomic_store(&bus->bar_count, i + 1);
}

static int plug(struct pci_bus *bus, struct pci_function *f, bool late)
{
	unsigned int slot = 0;
	int ret;

	while (slot < PCI_SLOTS && atomic_load(&bus->taken) >> slot & 1)
		slot++;
	if (slot == PCI_SLOTS)
		return -ENOSPC;
	ret = find_places(bus, f);
	if (ret < 0)
		return ret;
	connect_intx(bus, f, slot);
	pci_function_remember(f);
	if (!late)
		pci_function_reset(f);
	for (unsigned int i = 0; i < PCI_BARS; i++)
		if (f->bars[i].size)
			add_bar(bus, &f->bars[i]);
	atomic_fetch_or(&bus->taken, 1u << slot);
	atomic_store(&bus->slots[slot], f);
	return (int)slot;
}

int pci_bus_plug(struct pci_bus *bus, struct pci_function *f)
{
	return plug(bus, f, false);
}

int pci_bus_plug_late(struct pci_bus *bus, struct pci_function *f)
{
	return plug(bus, f, true);
}

void pci_bus_hide(struct pci_bus *bus, unsigned int slot)
{
	const struct pci_function *f = atomic_exchange(&bus->slots[slot], NULL);

	for (uint32_t i = 0; f && i < atomic_load(&bus->bar_count); i++) {
		const struct pci_bar *b = atomic_load(&bus->bars[i]);

		if (b >= f->bars && b < f->bars + PCI_BARS)
			atomic_store(&bus->bars[i], NULL);
	}
}

void pci_bus_unplug(struct pci_bus *bus, unsigned int slot, struct pci_function *f)
{
	pci_bus_hide(bus, slot);
	pci_function_unplug(f);
	atomic_fetch_and(&bus->taken, ~(1u << slot));
}

void pci_bus_save(struct pci_bus *bus, struct state_writer *w)
{
	state_put_u32(w, relaxed_load(&bus->address));
	pci_function_save(&bus->bridge, w);
}

int pci_bus_load(struct pci_bus *bus, struct state_in *in, struct error *err)
{
	struct pci_function_state bridge;
	uint32_t address = state_get_u32(in);
	int ret;

	state_check(in, !(address & ~ADDRESS_BITS), "the address of configuration space");
	pci_function_read_state(&bus->bridge, &bridge, in);
	ret = state_finish(in, err);
	if (ret < 0)
		return ret;
	relaxed_store(&bus->address, address);
	pci_function_load(&bus->bridge, &bridge);
	return 0;
}
