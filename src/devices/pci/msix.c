/* SPDX-License-Identifier: Apache-2.0 */
/* MSI-X: table, pending bits, masks. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#include "devices/bytes.h"
#include "devices/pci/msix.h"

#define BITS		64u
#define ENTRY_MASKED	PCI_MSIX_ENTRY_CTRL_MASKBIT
#define ADDRESS_BITS	0xfffffffcu /* a message is a whole word */
#define PENDING_ALIGN	UINT64_C(0x800)
#define CAPABILITY_SIZE 12

struct capability {
	uint8_t id, next;
	uint16_t control;
	uint32_t table, pending; /* offset, and in the low bits the BAR */
};
_Static_assert(sizeof(struct capability) == CAPABILITY_SIZE, "PCI 3.0, 6.8.2");

static uint64_t table_size(const struct msix *m)
{
	return (uint64_t)m->vectors * sizeof(struct msix_entry);
}

static uint64_t pending_size(const struct msix *m)
{
	return (uint64_t)(m->vectors + BITS - 1) / BITS * sizeof(uint64_t);
}

static bool may_send(const struct msix *m, unsigned int vector)
{
	return !m->masked && !(m->table[vector].control & ENTRY_MASKED) &&
	       atomic_load_explicit(&m->function->master, memory_order_relaxed);
}

static void send(struct msix *m, unsigned int vector)
{
	const struct msix_entry *e = &m->table[vector];

	m->pending[vector / BITS] &= ~(UINT64_C(1) << vector % BITS);
	m->send(m->ctx, (uint64_t)e->address_high << 32 | e->address_low, e->data);
}

/* Something has been unmasked: what waited for that goes out. */
static void send_pending(struct msix *m)
{
	if (!m->enabled)
		return;
	for (unsigned int i = 0; i < pending_size(m) / sizeof(uint64_t); i++) {
		for (uint64_t left = m->pending[i]; left; left &= left - 1) {
			unsigned int vector = i * BITS + (unsigned int)__builtin_ctzll(left);

			if (may_send(m, vector))
				send(m, vector);
		}
	}
}

bool msix_raise(struct msix *m, unsigned int vector)
{
	bool enabled;

	pthread_mutex_lock(&m->lock);
	enabled = m->enabled;
	if (enabled && vector < m->vectors) {
		if (may_send(m, vector))
			send(m, vector);
		else
			m->pending[vector / BITS] |= UINT64_C(1) << vector % BITS;
	}
	pthread_mutex_unlock(&m->lock);
	return enabled;
}

bool msix_enabled(const struct msix *m)
{
	return get16(m->function->config + m->control) & PCI_MSIX_FLAGS_ENABLE;
}

/* The function's lock is held: Message Control or the command register was written. */
static void config_written(void *ctx)
{
	struct msix *m = ctx;
	uint16_t control = get16(m->function->config + m->control);

	pthread_mutex_lock(&m->lock);
	m->enabled = control & PCI_MSIX_FLAGS_ENABLE;
	m->masked = control & PCI_MSIX_FLAGS_MASKALL;
	/* What was pending belonged to a driver that has gone. */
	if (!m->enabled)
		memset(m->pending, 0, pending_size(m));
	send_pending(m);
	pthread_mutex_unlock(&m->lock);
}

/* -- the BAR ---------------------------------------------------------------------------------- */

static void copy_part(const void *from, uint64_t size, uint64_t offset, void *data,
		      unsigned int len)
{
	memset(data, 0, len);
	if (offset >= size)
		return;
	if (len > size - offset)
		len = (unsigned int)(size - offset);
	memcpy(data, (const uint8_t *)from + offset, len);
}

static void bar_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	struct msix *m = dev;

	pthread_mutex_lock(&m->lock);
	if (offset < m->pending_offset)
		copy_part(m->table, table_size(m), offset, data, len);
	else
		copy_part(m->pending, pending_size(m), offset - m->pending_offset, data, len);
	pthread_mutex_unlock(&m->lock);
}

static void write_word(struct msix *m, uint64_t offset, uint32_t value)
{
	struct msix_entry *e = &m->table[offset / sizeof(*e)];

	switch (offset % sizeof(*e)) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		e->address_low = value & ADDRESS_BITS;
		break;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		e->address_high = value;
		break;
	case PCI_MSIX_ENTRY_DATA:
		e->data = value;
		break;
	default:
		e->control = value & ENTRY_MASKED;
		break;
	}
}

/* Aligned words and double words: all else is undefined, and here ignored, as are the pending bits.
 */
static void bar_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct msix *m = dev;
	uint32_t words[2];

	if (len < 4 || offset % len || offset >= table_size(m))
		return;
	memcpy(words, data, len);
	pthread_mutex_lock(&m->lock);
	for (unsigned int i = 0; i < len / 4; i++)
		write_word(m, offset + 4 * i, words[i]);
	send_pending(m);
	pthread_mutex_unlock(&m->lock);
}

static const struct bus_ops bar_ops = {bar_read, bar_write};

/* -- making ----------------------------------------------------------------------------------- */

static int add_capability(struct msix *m, unsigned int bar)
{
	const uint16_t writable = PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL;
	struct capability cap = {
		.id = PCI_CAP_ID_MSIX,
		.control = (uint16_t)(m->vectors - 1),
		.table = bar,
		.pending = (uint32_t)m->pending_offset | bar,
	};
	uint8_t mask[sizeof(cap)] = {0};
	int at;

	memcpy(mask + PCI_MSIX_FLAGS, &writable, sizeof(writable));
	at = pci_function_add_capability(m->function, &cap, mask, sizeof(cap));
	if (at < 0)
		return at;
	m->control = (unsigned int)at + PCI_MSIX_FLAGS;
	return 0;
}

static int add_watches(struct msix *m)
{
	struct pci_watch watch = {
		.start = (uint8_t)m->control, .len = 2, .ctx = m, .written = config_written};
	int ret = pci_function_watch(m->function, &watch);

	watch.start = PCI_COMMAND;
	return ret < 0 ? ret : pci_function_watch(m->function, &watch);
}

int msix_init(struct msix *m, struct pci_function *f, unsigned int bar, unsigned int vectors,
	      void (*send_message)(void *ctx, uint64_t address, uint32_t data), void *ctx)
{
	int ret;

	memset(m, 0, sizeof(*m));
	if (!vectors || vectors > MSIX_VECTORS_MAX)
		return -EINVAL;
	m->function = f;
	m->vectors = vectors;
	m->send = send_message;
	m->ctx = ctx;
	m->pending_offset = (table_size(m) + PENDING_ALIGN - 1) & ~(PENDING_ALIGN - 1);
	ret = -pthread_mutex_init(&m->lock, NULL);
	if (ret < 0)
		return ret;
	m->made = true;
	m->table = calloc(vectors, sizeof(*m->table));
	m->pending = calloc(1, pending_size(m));
	ret = m->table && m->pending ? 0 : -ENOMEM;
	if (ret == 0)
		ret = pci_function_add_bar(f, bar, m->pending_offset + pending_size(m), false,
					   &bar_ops, m);
	if (ret == 0)
		ret = add_capability(m, bar);
	if (ret == 0)
		ret = add_watches(m);
	if (ret < 0) {
		msix_fini(m);
		return ret;
	}
	for (unsigned int i = 0; i < vectors; i++)
		m->table[i].control = ENTRY_MASKED;
	return 0;
}

void msix_fini(struct msix *m)
{
	if (m->made)
		pthread_mutex_destroy(&m->lock);
	free(m->table);
	free(m->pending);
	m->table = NULL;
	m->pending = NULL;
	m->made = false;
}
