/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration space of a PCI function: bytes, and for each byte the bits that can change. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "devices/bytes.h"
#include "devices/pci/function.h"
#include "relaxed.h"

#define COMMAND_BITS (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE)
#define CAP_FIRST    0x40u
#define CAP_ALIGN    4u

static unsigned int bar_register(unsigned int index)
{
	return PCI_BASE_ADDRESS_0 + 4 * index;
}

int pci_function_init(struct pci_function *f, const struct pci_id *id)
{
	uint8_t *c = f->config;

	memset(f, 0, sizeof(*f));
	for (unsigned int i = 0; i < PCI_BARS; i++)
		atomic_init(&f->bars[i].base, PCI_BAR_OFF);
	f->cap_end = CAP_FIRST;
	set16(c + PCI_VENDOR_ID, id->vendor);
	set16(c + PCI_DEVICE_ID, id->device);
	c[PCI_REVISION_ID] = id->revision;
	c[PCI_CLASS_PROG] = (uint8_t)id->class_code;
	set16(c + PCI_CLASS_DEVICE, (uint16_t)(id->class_code >> 8));
	set16(c + PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor);
	set16(c + PCI_SUBSYSTEM_ID, id->subsystem);
	set16(f->writable + PCI_COMMAND, COMMAND_BITS);
	/* For software alone: nothing here looks at them. */
	f->writable[PCI_CACHE_LINE_SIZE] = 0xff;
	f->writable[PCI_LATENCY_TIMER] = 0xff;
	f->writable[PCI_INTERRUPT_LINE] = 0xff;
	return -pthread_mutex_init(&f->lock, NULL);
}

void pci_function_fini(struct pci_function *f)
{
	pthread_mutex_destroy(&f->lock);
}

int pci_function_add_bar(struct pci_function *f, unsigned int index, uint64_t size, bool wide,
			 const struct bus_ops *ops, void *dev)
{
	uint64_t limit = UINT64_C(1) << (wide ? 62 : 31), rounded = PCI_BAR_MIN, mask;
	unsigned int reg = bar_register(index);
	struct pci_bar *b;

	if (index >= PCI_BARS || (wide && index + 1 >= PCI_BARS) || !size || size > limit)
		return -EINVAL;
	b = &f->bars[index];
	if (b->size || (wide && b[1].size) || (index && b[-1].size && b[-1].wide))
		return -EINVAL;
	while (rounded < size)
		rounded *= 2;
	b->size = rounded;
	b->wide = wide;
	b->ops = ops;
	b->dev = dev;
	mask = ~(rounded - 1);
	set32(f->writable + reg, (uint32_t)mask);
	f->config[reg] = wide ? PCI_BASE_ADDRESS_MEM_TYPE_64 : PCI_BASE_ADDRESS_MEM_TYPE_32;
	if (wide)
		set32(f->writable + reg + 4, (uint32_t)(mask >> 32));
	return 0;
}

int pci_function_add_capability(struct pci_function *f, const void *bytes, const void *writable,
				unsigned int len)
{
	unsigned int at = f->cap_end, link = f->cap_last ? f->cap_last + 1 : PCI_CAPABILITY_LIST;

	if (len < 2 || len > PCI_CONFIG_SIZE - at)
		return -ENOSPC;
	memcpy(f->config + at, bytes, len);
	if (writable)
		memcpy(f->writable + at, writable, len);
	f->config[at + 1] = 0;
	set16(f->writable + at, 0);
	f->config[link] = (uint8_t)at;
	f->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	f->cap_last = at;
	f->cap_end = (at + len + CAP_ALIGN - 1) & ~(CAP_ALIGN - 1);
	return (int)at;
}

int pci_function_watch(struct pci_function *f, const struct pci_watch *watch)
{
	if (f->watch_count == PCI_WATCHES || watch->len > PCI_WATCHED_SIZE)
		return -ENOSPC;
	f->watches[f->watch_count++] = *watch;
	return 0;
}

/* Follows a change of the header. The lock is held, or nobody else is here yet. */
static void follow_header(struct pci_function *f)
{
	uint16_t command = get16(f->config + PCI_COMMAND);

	relaxed_store(&f->master, command & PCI_COMMAND_MASTER);
	for (unsigned int i = 0; i < PCI_BARS; i++) {
		const uint8_t *reg = f->config + bar_register(i);
		struct pci_bar *b = &f->bars[i];
		uint64_t base;

		if (!b->size)
			continue;
		base = get32(reg) & PCI_BASE_ADDRESS_MEM_MASK;
		if (b->wide)
			base |= (uint64_t)get32(reg + 4) << 32;
		if (!(command & PCI_COMMAND_MEMORY))
			base = PCI_BAR_OFF;
		if (base == relaxed_load(&b->base))
			continue;
		/* Alone in its word: nothing else is published by it. */
		relaxed_store(&b->base, base);
		if (b->moved)
			b->moved(b->moved_ctx, base);
	}
}

/*
 * Brings the pin in line. 6.2.3: the status says what the device wants, whether or not the pin may;
 * 6.2.2: the command register holds the pin back. The lock is held.
 */
static void follow_intx(struct pci_function *f)
{
	bool wanted = f->intx.wanted && f->intx.wanted(f->intx.ctx), up;

	if (wanted)
		f->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	else
		f->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	up = wanted && !(get16(f->config + PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE);
	if (up == f->intx_up || !f->intx.drive)
		return;
	f->intx_up = up;
	f->intx.drive(f->intx.bus, f->intx.slot, up);
}

void pci_function_update_intx(struct pci_function *f)
{
	pthread_mutex_lock(&f->lock);
	follow_intx(f);
	pthread_mutex_unlock(&f->lock);
}

/* Does firmware's part: places BAR @index at its home, where it is decoded. */
static void place_bar(struct pci_function *f, unsigned int index)
{
	unsigned int reg = bar_register(index);
	const struct pci_bar *b = &f->bars[index];
	uint8_t *c = f->power_on;

	for (unsigned int i = 0; i < (b->wide ? 8u : 4u); i++)
		c[reg + i] = (uint8_t)((c[reg + i] & ~f->writable[reg + i]) |
				       (uint8_t)(b->home >> 8 * i & f->writable[reg + i]));
	c[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
}

void pci_function_remember(struct pci_function *f)
{
	memcpy(f->power_on, f->config, sizeof(f->power_on));
	for (unsigned int i = 0; i < PCI_BARS; i++)
		if (f->bars[i].home)
			place_bar(f, i);
}

void pci_function_unplug(struct pci_function *f)
{
	pthread_mutex_lock(&f->lock);
	for (unsigned int i = 0; i < PCI_BARS; i++) {
		struct pci_bar *b = &f->bars[i];

		if (!b->size || relaxed_load(&b->base) == PCI_BAR_OFF)
			continue;
		relaxed_store(&b->base, PCI_BAR_OFF);
		if (b->moved)
			b->moved(b->moved_ctx, PCI_BAR_OFF);
	}
	if (f->intx_up)
		f->intx.drive(f->intx.bus, f->intx.slot, false);
	f->intx_up = false;
	f->intx.drive = NULL;
	pthread_mutex_unlock(&f->lock);
}

void pci_function_reset(struct pci_function *f)
{
	pthread_mutex_lock(&f->lock);
	memcpy(f->config, f->power_on, sizeof(f->config));
	follow_header(f);
	for (unsigned int i = 0; i < f->watch_count; i++)
		if (f->watches[i].written)
			f->watches[i].written(f->watches[i].ctx);
	follow_intx(f);
	pthread_mutex_unlock(&f->lock);
}

/* An access, and the part of it that concerns a watch. */
struct part {
	const struct pci_watch *watch;
	uint8_t regs[PCI_WATCHED_SIZE];
	unsigned int offset, skip, len; /* in the watch, in the data, of both */
};

static bool overlap(const struct pci_watch *w, unsigned int reg, unsigned int len)
{
	return reg < (unsigned int)w->start + w->len && w->start < reg + len;
}

/* Finds the parts of an access that somebody watches. Lock held. */
static unsigned int find_parts(const struct pci_function *f, unsigned int reg, unsigned int len,
			       struct part *parts)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < f->watch_count; i++) {
		const struct pci_watch *w = &f->watches[i];
		unsigned int first = reg > w->start ? reg : w->start;
		unsigned int end = reg + len;

		if (!overlap(w, reg, len) || (!w->read && !w->write))
			continue;
		if (end > (unsigned int)w->start + w->len)
			end = (unsigned int)w->start + w->len;
		parts[n].watch = w;
		parts[n].offset = first - w->start;
		parts[n].skip = first - reg;
		parts[n].len = end - first;
		memcpy(parts[n].regs, f->config + w->start, w->len);
		n++;
	}
	return n;
}

static bool in_config(unsigned int reg, unsigned int len)
{
	return reg < PCI_CONFIG_SIZE && len <= PCI_CONFIG_SIZE - reg;
}

void pci_function_read(struct pci_function *f, unsigned int reg, void *data, unsigned int len)
{
	struct part parts[PCI_WATCHES];
	unsigned int n;

	if (!in_config(reg, len)) {
		memset(data, 0xff, len);
		return;
	}
	pthread_mutex_lock(&f->lock);
	memcpy(data, f->config + reg, len);
	n = find_parts(f, reg, len, parts);
	pthread_mutex_unlock(&f->lock);
	for (unsigned int i = 0; i < n; i++)
		if (parts[i].watch->read)
			parts[i].watch->read(parts[i].watch->ctx, parts[i].regs, parts[i].offset,
					     (uint8_t *)data + parts[i].skip, parts[i].len);
}

void pci_function_write(struct pci_function *f, unsigned int reg, const void *data,
			unsigned int len)
{
	const uint8_t *new = data;
	struct part parts[PCI_WATCHES];
	unsigned int n;

	if (!in_config(reg, len))
		return;
	pthread_mutex_lock(&f->lock);
	for (unsigned int i = 0; i < len; i++) {
		uint8_t mask = f->writable[reg + i];

		f->config[reg + i] = (uint8_t)((f->config[reg + i] & ~mask) | (new[i] & mask));
	}
	if (reg < PCI_STD_HEADER_SIZEOF)
		follow_header(f);
	for (unsigned int i = 0; i < f->watch_count; i++)
		if (f->watches[i].written && overlap(&f->watches[i], reg, len))
			f->watches[i].written(f->watches[i].ctx);
	follow_intx(f);
	n = find_parts(f, reg, len, parts);
	pthread_mutex_unlock(&f->lock);
	for (unsigned int i = 0; i < n; i++)
		if (parts[i].watch->write)
			parts[i].watch->write(parts[i].watch->ctx, parts[i].regs, parts[i].offset,
					      new + parts[i].skip, parts[i].len);
}

static const struct pci_bar *bar_at(const struct pci_function *f, unsigned int index,
				    uint64_t offset, unsigned int len)
{
	const struct pci_bar *b;

	if (index >= PCI_BARS)
		return NULL;
	b = &f->bars[index];
	return offset < b->size && len <= b->size - offset ? b : NULL;
}

bool pci_function_bar_read(const struct pci_function *f, unsigned int index, uint64_t offset,
			   void *data, unsigned int len)
{
	const struct pci_bar *b = bar_at(f, index, offset, len);

	memset(data, 0xff, len);
	if (b)
		b->ops->read(b->dev, offset, data, len);
	return b;
}

bool pci_function_bar_write(const struct pci_function *f, unsigned int index, uint64_t offset,
			    const void *data, unsigned int len)
{
	const struct pci_bar *b = bar_at(f, index, offset, len);

	if (b)
		b->ops->write(b->dev, offset, data, len);
	return b;
}

void pci_function_save(struct pci_function *f, struct state_writer *w)
{
	uint8_t config[PCI_CONFIG_SIZE];

	pthread_mutex_lock(&f->lock);
	memcpy(config, f->config, sizeof(config));
	pthread_mutex_unlock(&f->lock);
	/* It follows from the device. */
	config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	state_put_bytes(w, config, sizeof(config));
}

void pci_function_read_state(const struct pci_function *f, struct pci_function_state *s,
			     struct state_in *in)
{
	bool same = true;

	state_get_bytes(in, s->config, sizeof(s->config));
	s->config[PCI_STATUS] |= f->config[PCI_STATUS] & PCI_STATUS_INTERRUPT;
	for (unsigned int i = 0; i < sizeof(s->config); i++)
		same = same && !((s->config[i] ^ f->config[i]) & ~f->writable[i]);
	state_check(in, same, "what no guest can change of configuration space");
}

void pci_function_load(struct pci_function *f, const struct pci_function_state *s)
{
	pthread_mutex_lock(&f->lock);
	memcpy(f->config, s->config, sizeof(f->config));
	follow_header(f);
	for (unsigned int i = 0; i < f->watch_count; i++)
		if (f->watches[i].written)
			f->watches[i].written(f->watches[i].ctx);
	pthread_mutex_unlock(&f->lock);
}
