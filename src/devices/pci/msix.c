/* SPDX-License-Identifier: Apache-2.0 */
/* MSI-X: table, pending bits, masks. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#include "devices/bytes.h"
#include "devices/pci/msix.h"
#include "relaxed.h"

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
	       relaxed_load(&m->function->master);
}

bool msix_message(const struct msix *m, unsigned int vector, struct msix_message *message)
{
	const struct msix_entry *e = &m->table[vector];

	if (!m->enabled || vector >= m->vectors || !may_send(m, vector))
		return false;
	*message = (struct msix_message){(uint64_t)e->address_high << 32 | e->address_low, e->data};
	return true;
}

static void tell(struct msix *m)
{
	if (m->changed)
		m->changed(m->changed_ctx);
}

void msix_look(struct msix *m)
{
	pthread_mutex_lock(&m->lock);
	tell(m);
	pthread_mutex_unlock(&m->lock);
}

static void send(struct msix *m, unsigned int vector)
{
	const struct msix_entry *e = &m->table[vector];

	m->pending[vector / BITS] &= ~(UINT64_C(1) << vector % BITS);
	m->send(m->ctx, (uint64_t)e->address_high << 32 | e->address_low, e->data);
}

/* Sends the messages that waited to be unmasked. */
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

/* Takes a write to Message Control or the command register. The function's lock is held. */
static void config_written(void *ctx)
{
	struct msix *m = ctx;
	uint16_t control = get16(m->function->config + m->control);

	pthread_mutex_lock(&m->lock);
	m->enabled = control & PCI_MSIX_FLAGS_ENABLE;
	m->masked = control & PCI_MSIX_FLAGS_MASKALL;
	/* The pending messages belonged to a driver that has gone. */
	if (!m->enabled)
		memset(m->pending, 0, pending_size(m));
	send_pending(m);
	tell(m);
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

/* Takes aligned words and double words: all else is undefined, and here ignored, as are the pending
 * bits. */
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
	tell(m);
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
	msix_reset(m);
	return 0;
}

void msix_reset(struct msix *m)
{
	pthread_mutex_lock(&m->lock);
	memset(m->pending, 0, pending_size(m));
	for (unsigned int i = 0; i < m->vectors; i++)
		m->table[i] = (struct msix_entry){.control = ENTRY_MASKED};
	tell(m);
	pthread_mutex_unlock(&m->lock);
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

/* -- snapshots -------------------------------------------------------------------------------- */

void msix_save(struct msix *m, struct state_writer *w)
{
	pthread_mutex_lock(&m->lock);
	state_put_u16(w, (uint16_t)m->vectors);
	for (unsigned int i = 0; i < m->vectors; i++) {
		state_put_u32(w, m->table[i].address_low);
		state_put_u32(w, m->table[i].address_high);
		state_put_u32(w, m->table[i].data);
		state_put_u32(w, m->table[i].control);
	}
	for (unsigned int i = 0; i < pending_size(m) / sizeof(uint64_t); i++)
		state_put_u64(w, m->pending[i]);
	pthread_mutex_unlock(&m->lock);
}

static void read_entry(struct msix_entry *e, struct state_in *in)
{
	e->address_low = state_get_u32(in);
	e->address_high = state_get_u32(in);
	e->data = state_get_u32(in);
	e->control = state_get_u32(in);
	state_check(in, !(e->address_low & ~ADDRESS_BITS), "a vector's address");
	state_check(in, !(e->control & ~ENTRY_MASKED), "a vector's control");
}

int msix_read(const struct msix *m, struct msix_state *s, struct state_in *in)
{
	unsigned int words = (unsigned int)(pending_size(m) / sizeof(uint64_t));

	s->table = calloc(m->vectors, sizeof(*s->table));
	s->pending = calloc(words, sizeof(*s->pending));
	if (!s->table || !s->pending) {
		msix_state_free(s);
		return -ENOMEM;
	}
	if (!state_check(in, state_get_u16(in) == m->vectors, "the number of vectors"))
		return 0;
	for (unsigned int i = 0; i < m->vectors; i++)
		read_entry(&s->table[i], in);
	for (unsigned int i = 0; i < words; i++)
		s->pending[i] = state_get_u64(in);
	state_check(in, m->vectors % BITS == 0 || !(s->pending[words - 1] >> m->vectors % BITS),
		    "the pending bits");
	return 0;
}

void msix_load(struct msix *m, const struct msix_state *s)
{
	pthread_mutex_lock(&m->lock);
	memcpy(m->table, s->table, table_size(m));
	if (m->enabled)
		memcpy(m->pending, s->pending, pending_size(m));
	pthread_mutex_unlock(&m->lock);
}

void msix_state_free(struct msix_state *s)
{
	free(s->table);
	free(s->pending);
	s->table = NULL;
	s->pending = NULL;
}
