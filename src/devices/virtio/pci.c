/* SPDX-License-Identifier: Apache-2.0 */
/* virtio over PCI: capabilities (4.1.4), registers (4.1.4.3 to 4.1.4.9), interrupts (4.1.5). */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <stddef.h>
#include <string.h>

#include "devices/bytes.h"
#include "devices/virtio/pci.h"
#include "relaxed.h"

#define VENDOR		0x1af4
#define DEVICE_BASE	0x1040 /* and the device type */
#define SUBSYSTEM	0x0040 /* from here on: not a transitional device */
#define REVISION	1
#define CLASS_OTHER	0x00ff00
#define CAP_VENDOR	0x09 /* PCI_CAP_ID_VNDR */
#define NO_VECTOR	VIRTIO_MSI_NO_VECTOR
#define ISR_QUEUE	1
#define ISR_CONFIG	2
#define DEVICE_CFG_MAX	(VIRTIO_PCI_NOTIFY - VIRTIO_PCI_DEVICE)
#define NOTIFY_MAX	(VIRTIO_PCI_BAR_SIZE - VIRTIO_PCI_NOTIFY)
#define CFG_WINDOW_DATA offsetof(struct virtio_pci_cfg_cap, pci_cfg_data)

_Static_assert(sizeof(struct virtio_pci_cap) == 16, "virtio 1.2, 4.1.4");
_Static_assert(sizeof(struct virtio_pci_notify_cap) == 20, "virtio 1.2, 4.1.4.4");
_Static_assert(sizeof(struct virtio_pci_cfg_cap) == 20, "virtio 1.2, 4.1.4.9");
_Static_assert(sizeof(struct virtio_pci_cfg_cap) <= PCI_WATCHED_SIZE, "it is watched");
_Static_assert(sizeof(struct virtio_pci_common_cfg) == 56, "virtio 1.2, 4.1.4.3");
_Static_assert(VIRTIO_QUEUES_MAX *VIRTIO_PCI_DOORBELL <= NOTIFY_MAX, "all have a doorbell");

/* Returns the class that PCI would give the device; drivers go by the device id. */
static uint32_t class_of(uint16_t id)
{
	switch (id) {
	case VIRTIO_ID_NET:
		return 0x020000; /* Ethernet controller */
	case VIRTIO_ID_BLOCK:
		return 0x018000; /* other mass storage */
	case VIRTIO_ID_CONSOLE:
	case VIRTIO_ID_VSOCK:
		return 0x078000; /* other communication */
	default:
		return CLASS_OTHER;
	}
}

/* -- interrupts ------------------------------------------------------------------------------- */

/* Returns whether the pin is to be up. 4.1.4.5.1: it is the interrupt status, unless there is
 * MSI-X. The function's lock is held. */
static bool intx_wanted(void *ctx)
{
	struct virtio_pci *t = ctx;

	return atomic_load(&t->isr) && !msix_enabled(&t->msix);
}

static void interrupt_status(struct virtio_pci *t, uint8_t bit)
{
	if (!(atomic_fetch_or(&t->isr, bit) & bit))
		pci_function_update_intx(&t->function);
}

/* Returns the status as it was, and makes it 0. */
static uint8_t take_status(struct virtio_pci *t)
{
	uint8_t was = atomic_exchange(&t->isr, 0);

	if (was)
		pci_function_update_intx(&t->function);
	return was;
}

/* Interrupts for a queue. 4.1.5.1.3: with MSI-X the interrupt status says nothing of queues. */
static void interrupt_queue(void *transport, unsigned int index)
{
	struct virtio_pci *t = transport;
	uint16_t vector = relaxed_load(&t->queue_vectors[index]);

	if (vector == NO_VECTOR || !msix_raise(&t->msix, vector))
		interrupt_status(t, ISR_QUEUE);
}

static void interrupt_config(void *transport)
{
	struct virtio_pci *t = transport;
	uint16_t vector = relaxed_load(&t->config_vector);

	interrupt_status(t, ISR_CONFIG);
	if (vector != NO_VECTOR)
		msix_raise(&t->msix, vector);
}

static const struct virtio_transport_ops transport_ops = {interrupt_queue, interrupt_config};

/* Tells where each queue's interrupts go now. The lock of MSI-X is held. */
static void tell_queues(void *ctx)
{
	struct virtio_pci *t = ctx;

	for (unsigned int i = 0; i < t->dev->queue_count; i++) {
		const uint16_t vector = relaxed_load(&t->queue_vectors[i]);
		struct msix_message m;

		t->queue_message(t->queue_ctx, i,
				 vector != NO_VECTOR && msix_message(&t->msix, vector, &m) ? &m
											   : NULL);
	}
}

void virtio_pci_watch_queues(struct virtio_pci *t,
			     void (*message)(void *ctx, unsigned int queue,
					     const struct msix_message *m),
			     void *ctx)
{
	t->queue_message = message;
	t->queue_ctx = ctx;
	t->msix.changed_ctx = t;
	t->msix.changed = tell_queues;
}

/* -- common configuration --------------------------------------------------------------------- */

static uint16_t selected_queue(const struct virtio_pci *t)
{
	return relaxed_load(&t->queue_select);
}

static void read_queue(struct virtio_pci *t, struct virtio_pci_common_cfg *c)
{
	uint16_t index = selected_queue(t);
	struct virtio_queue_state *q = virtio_queue(t->dev, index);

	c->queue_select = index;
	c->queue_msix_vector = NO_VECTOR;
	if (!q)
		return; /* a size of 0: there is no such queue */
	c->queue_msix_vector = relaxed_load(&t->queue_vectors[index]);
	c->queue_notify_off = index;
	pthread_mutex_lock(&t->dev->lock);
	c->queue_size = q->vq.size;
	c->queue_enable = q->vq.enabled;
	c->queue_desc_lo = (uint32_t)q->vq.desc_gpa;
	c->queue_desc_hi = (uint32_t)(q->vq.desc_gpa >> 32);
	c->queue_avail_lo = (uint32_t)q->vq.avail_gpa;
	c->queue_avail_hi = (uint32_t)(q->vq.avail_gpa >> 32);
	c->queue_used_lo = (uint32_t)q->vq.used_gpa;
	c->queue_used_hi = (uint32_t)(q->vq.used_gpa >> 32);
	pthread_mutex_unlock(&t->dev->lock);
}

/* Reads the common configuration, all of it, whatever is asked for: nothing here is read often, and
 * any width is then right. */
static void common_read(struct virtio_pci *t, uint64_t offset, void *data, unsigned int len)
{
	struct virtio_pci_common_cfg c = {
		.device_feature_select = relaxed_load(&t->device_feature_select),
		.guest_feature_select = relaxed_load(&t->driver_feature_select),
		.msix_config = relaxed_load(&t->config_vector),
		.num_queues = (uint16_t)t->dev->queue_count,
		.device_status = virtio_status(t->dev),
		.config_generation = (uint8_t)atomic_load(&t->dev->generation),
	};
	uint64_t features = atomic_load(&t->dev->features);

	memset(data, 0, len);
	if (offset >= sizeof(c))
		return;
	c.device_feature = virtio_features_offered(t->dev, c.device_feature_select);
	if (c.guest_feature_select < 2)
		c.guest_feature = (uint32_t)(features >> 32 * c.guest_feature_select);
	read_queue(t, &c);
	if (len > sizeof(c) - offset)
		len = (unsigned int)(sizeof(c) - offset);
	memcpy(data, (const uint8_t *)&c + offset, len);
}

static uint16_t legal_vector(const struct virtio_pci *t, uint16_t vector)
{
	return vector < t->msix.vectors ? vector : NO_VECTOR;
}

/* Puts the transport into the state that a driver finds after a reset (4.1.4.3). The queues are the
 * device's. */
static void forget(struct virtio_pci *t)
{
	atomic_store(&t->device_feature_select, 0);
	atomic_store(&t->driver_feature_select, 0);
	atomic_store(&t->queue_select, 0);
	atomic_store(&t->config_vector, NO_VECTOR);
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		atomic_store(&t->queue_vectors[i], NO_VECTOR);
	if (t->queue_message)
		msix_look(&t->msix);
	take_status(t);
}

/*
 * Writes the status. A reset is complete when it reads as 0, so all else is forgotten before; and
 * once more the interrupts that came of what was still in flight.
 */
static void write_status(struct virtio_pci *t, uint8_t status)
{
	if (!status)
		forget(t);
	virtio_set_status(t->dev, status);
	if (!status)
		take_status(t);
}

static void write_byte(struct virtio_pci *t, unsigned int offset, uint8_t value)
{
	if (offset == VIRTIO_PCI_COMMON_STATUS)
		write_status(t, value);
}

static void write_half(struct virtio_pci *t, unsigned int offset, uint16_t value)
{
	uint16_t index = selected_queue(t);

	switch (offset) {
	case VIRTIO_PCI_COMMON_MSIX:
		atomic_store(&t->config_vector, legal_vector(t, value));
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		atomic_store(&t->queue_select, value);
		break;
	case VIRTIO_PCI_COMMON_Q_SIZE:
		virtio_queue_set_size(t->dev, index, value);
		break;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		if (virtio_queue(t->dev, index))
			atomic_store(&t->queue_vectors[index], legal_vector(t, value));
		if (t->queue_message)
			msix_look(&t->msix);
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		if (value == 1) /* there is no way back but a reset */
			virtio_queue_enable(t->dev, index);
		break;
	default:
		break;
	}
}

static void write_word(struct virtio_pci *t, unsigned int offset, uint32_t value)
{
	uint16_t index = selected_queue(t);

	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		atomic_store(&t->device_feature_select, value);
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		atomic_store(&t->driver_feature_select, value);
		break;
	case VIRTIO_PCI_COMMON_GF:
		virtio_features_accept(t->dev, relaxed_load(&t->driver_feature_select), value);
		break;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		virtio_queue_set_addr(t->dev, index, VIRTIO_RING_DESC,
				      offset == VIRTIO_PCI_COMMON_Q_DESCHI, value);
		break;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		virtio_queue_set_addr(t->dev, index, VIRTIO_RING_AVAIL,
				      offset == VIRTIO_PCI_COMMON_Q_AVAILHI, value);
		break;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		virtio_queue_set_addr(t->dev, index, VIRTIO_RING_USED,
				      offset == VIRTIO_PCI_COMMON_Q_USEDHI, value);
		break;
	default:
		break;
	}
}

/* Writes the common configuration. 4.1.3.1: each field in its own width, addresses also whole.
 * Anything else is ignored. */
static void common_write(struct virtio_pci *t, uint64_t offset, const void *data, unsigned int len)
{
	unsigned int at = (unsigned int)offset;

	if (len == 1) {
		write_byte(t, at, *(const uint8_t *)data);
	} else if (len == 2) {
		write_half(t, at, get16(data));
	} else if (len == 4) {
		write_word(t, at, get32(data));
	} else if (at >= VIRTIO_PCI_COMMON_Q_DESCLO && at % 8 == 0) {
		write_word(t, at, get32(data));
		write_word(t, at + 4, get32((const uint8_t *)data + 4));
	}
}

/* -- the BAR ---------------------------------------------------------------------------------- */

static void bar_read(void *ctx, uint64_t offset, void *data, unsigned int len)
{
	struct virtio_pci *t = ctx;

	if (offset < VIRTIO_PCI_INTERRUPT) {
		common_read(t, offset - VIRTIO_PCI_COMMON, data, len);
		return;
	}
	memset(data, 0, len);
	if (offset == VIRTIO_PCI_INTERRUPT)
		*(uint8_t *)data = take_status(t); /* reading acknowledges */
	else if (offset >= VIRTIO_PCI_DEVICE && offset < VIRTIO_PCI_NOTIFY)
		virtio_config_read(t->dev, (uint32_t)offset - VIRTIO_PCI_DEVICE, data, len);
}

static void bar_write(void *ctx, uint64_t offset, const void *data, unsigned int len)
{
	struct virtio_pci *t = ctx;

	if (offset >= VIRTIO_PCI_NOTIFY) {
		uint64_t index = (offset - VIRTIO_PCI_NOTIFY) / VIRTIO_PCI_DOORBELL;

		if (offset % VIRTIO_PCI_DOORBELL == 0 && index < t->dev->queue_count)
			virtio_kick(t->dev, (unsigned int)index);
	} else if (offset >= VIRTIO_PCI_DEVICE) {
		virtio_config_write(t->dev, (uint32_t)offset - VIRTIO_PCI_DEVICE, data, len);
	} else if (offset < VIRTIO_PCI_INTERRUPT) {
		common_write(t, offset - VIRTIO_PCI_COMMON, data, len);
	}
}

static const struct bus_ops bar_ops = {bar_read, bar_write};

/* -- the window in configuration space (4.1.4.9) ---------------------------------------------- */

struct target {
	unsigned int bar;
	uint32_t offset, len;
};

/* Tells whether the access [offset, offset + len) of the capability touches the data, and where
 * that leads. */
static bool window_target(const uint8_t *regs, unsigned int offset, unsigned int len,
			  struct target *to)
{
	to->bar = regs[offsetof(struct virtio_pci_cap, bar)];
	to->offset = get32(regs + offsetof(struct virtio_pci_cap, offset));
	to->len = get32(regs + offsetof(struct virtio_pci_cap, length));
	return offset + len > CFG_WINDOW_DATA && (to->len == 1 || to->len == 2 || to->len == 4) &&
	       to->offset % to->len == 0;
}

static void window_read(void *ctx, const uint8_t *regs, unsigned int offset, void *data,
			unsigned int len)
{
	struct virtio_pci *t = ctx;
	uint8_t value[4];
	struct target to;

	if (!window_target(regs, offset, len, &to) ||
	    !pci_function_bar_read(&t->function, to.bar, to.offset, value, to.len))
		return;
	for (unsigned int i = 0; i < len; i++)
		if (offset + i >= CFG_WINDOW_DATA && offset + i - CFG_WINDOW_DATA < to.len)
			((uint8_t *)data)[i] = value[offset + i - CFG_WINDOW_DATA];
}

static void window_write(void *ctx, const uint8_t *regs, unsigned int offset, const void *data,
			 unsigned int len)
{
	struct virtio_pci *t = ctx;
	struct target to;

	if (window_target(regs, offset, len, &to))
		pci_function_bar_write(&t->function, to.bar, to.offset, regs + CFG_WINDOW_DATA,
				       to.len);
}

/* -- making ----------------------------------------------------------------------------------- */

static int add_part(struct virtio_pci *t, uint8_t type, uint32_t offset, uint32_t len)
{
	const struct virtio_pci_cap cap = {
		.cap_vndr = CAP_VENDOR,
		.cap_len = sizeof(cap),
		.cfg_type = type,
		.bar = VIRTIO_PCI_BAR,
		.offset = offset,
		.length = len,
	};
	int at = pci_function_add_capability(&t->function, &cap, NULL, sizeof(cap));

	return at < 0 ? at : 0;
}

static int add_notify(struct virtio_pci *t)
{
	const struct virtio_pci_notify_cap cap = {
		.cap =
			{
				.cap_vndr = CAP_VENDOR,
				.cap_len = sizeof(cap),
				.cfg_type = VIRTIO_PCI_CAP_NOTIFY_CFG,
				.bar = VIRTIO_PCI_BAR,
				.offset = VIRTIO_PCI_NOTIFY,
				.length = t->dev->queue_count * VIRTIO_PCI_DOORBELL,
			},
		.notify_off_multiplier = VIRTIO_PCI_DOORBELL,
	};
	int at = pci_function_add_capability(&t->function, &cap, NULL, sizeof(cap));

	return at < 0 ? at : 0;
}

static int add_window(struct virtio_pci *t)
{
	const struct virtio_pci_cfg_cap cap = {
		.cap =
			{
				.cap_vndr = CAP_VENDOR,
				.cap_len = sizeof(cap),
				.cfg_type = VIRTIO_PCI_CAP_PCI_CFG,
			},
	};
	struct virtio_pci_cfg_cap writable = {.cap = {.bar = 0xff}};
	struct pci_watch watch = {
		.len = sizeof(cap), .ctx = t, .read = window_read, .write = window_write};
	int at;

	writable.cap.offset = writable.cap.length = UINT32_MAX;
	memset(writable.pci_cfg_data, 0xff, sizeof(writable.pci_cfg_data));
	at = pci_function_add_capability(&t->function, &cap, &writable, sizeof(cap));
	if (at < 0)
		return at;
	watch.start = (uint8_t)at;
	return pci_function_watch(&t->function, &watch);
}

static int add_capabilities(struct virtio_pci *t)
{
	int ret = add_part(t, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_COMMON,
			   sizeof(struct virtio_pci_common_cfg));

	if (ret == 0)
		ret = add_notify(t);
	if (ret == 0)
		ret = add_part(t, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_INTERRUPT, 1);
	if (ret == 0 && t->dev->config_len)
		ret = add_part(t, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_DEVICE, t->dev->config_len);
	return ret < 0 ? ret : add_window(t);
}

int virtio_pci_init(struct virtio_pci *t, struct virtio_device *dev,
		    void (*send)(void *ctx, uint64_t address, uint32_t data), void *ctx)
{
	const struct pci_id id = {
		.vendor = VENDOR,
		.device = (uint16_t)(DEVICE_BASE + dev->id),
		.subsystem_vendor = VENDOR,
		.subsystem = SUBSYSTEM,
		.revision = REVISION,
		.class_code = class_of(dev->id),
	};
	int ret;

	memset(t, 0, sizeof(*t));
	if (!dev->queue_count || dev->queue_count > VIRTIO_QUEUES_MAX ||
	    dev->config_len > DEVICE_CFG_MAX)
		return -EINVAL;
	t->dev = dev;
	forget(t);
	ret = pci_function_init(&t->function, &id);
	if (ret < 0)
		return ret;
	t->function.intx.wanted = intx_wanted;
	t->function.intx.ctx = t;
	ret = pci_function_add_bar(&t->function, VIRTIO_PCI_BAR, VIRTIO_PCI_BAR_SIZE, true,
				   &bar_ops, t);
	if (ret == 0)
		ret = msix_init(&t->msix, &t->function, VIRTIO_PCI_MSIX_BAR, dev->queue_count + 1,
				send, ctx);
	if (ret == 0)
		ret = add_capabilities(t);
	if (ret < 0) {
		virtio_pci_fini(t);
		return ret;
	}
	dev->transport_ops = &transport_ops;
	dev->transport = t;
	return 0;
}

void virtio_pci_reset(struct virtio_pci *t)
{
	write_status(t, 0);
	pci_function_reset(&t->function);
	msix_reset(&t->msix);
}

void virtio_pci_fini(struct virtio_pci *t)
{
	msix_fini(&t->msix);
	pci_function_fini(&t->function);
}

/* -- snapshots -------------------------------------------------------------------------------- */

void virtio_pci_save(struct virtio_pci *t, struct state_writer *w)
{
	state_put_u32(w, atomic_load(&t->device_feature_select));
	state_put_u32(w, atomic_load(&t->driver_feature_select));
	state_put_u16(w, selected_queue(t));
	state_put_u8(w, atomic_load(&t->isr));
	state_put_u16(w, atomic_load(&t->config_vector));
	for (unsigned int i = 0; i < t->dev->queue_count; i++)
		state_put_u16(w, atomic_load(&t->queue_vectors[i]));
	msix_save(&t->msix, w);
	pci_function_save(&t->function, w);
}

static uint16_t get_vector(const struct virtio_pci *t, struct state_in *in)
{
	uint16_t vector = state_get_u16(in);

	state_check(in, vector == NO_VECTOR || legal_vector(t, vector) == vector,
		    "a queue's or the configuration's vector");
	return vector;
}

struct registers {
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select, config_vector, queue_vectors[VIRTIO_QUEUES_MAX];
	uint8_t isr;
};

static void take_registers(struct virtio_pci *t, const struct registers *r)
{
	atomic_store(&t->device_feature_select, r->device_feature_select);
	atomic_store(&t->driver_feature_select, r->driver_feature_select);
	atomic_store(&t->queue_select, r->queue_select);
	atomic_store(&t->config_vector, r->config_vector);
	for (unsigned int i = 0; i < t->dev->queue_count; i++)
		atomic_store(&t->queue_vectors[i], r->queue_vectors[i]);
	atomic_store(&t->isr, r->isr);
}

int virtio_pci_load(struct virtio_pci *t, struct state_in *in, struct error *err)
{
	struct pci_function_state function;
	struct msix_state msix;
	struct registers r;
	int ret;

	r.device_feature_select = state_get_u32(in);
	r.driver_feature_select = state_get_u32(in);
	r.queue_select = state_get_u16(in);
	r.isr = state_get_u8(in);
	state_check(in, !(r.isr & ~(ISR_QUEUE | ISR_CONFIG)), "the interrupt status");
	r.config_vector = get_vector(t, in);
	for (unsigned int i = 0; i < t->dev->queue_count; i++)
		r.queue_vectors[i] = get_vector(t, in);
	ret = msix_read(&t->msix, &msix, in);
	if (ret < 0)
		return state_refuse(in, err, ret, "%s", strerror(-ret));
	pci_function_read_state(&t->function, &function, in);
	ret = state_finish(in, err);
	if (ret == 0) {
		take_registers(t, &r);
		/* It says whether MSI-X is on. */
		pci_function_load(&t->function, &function);
		msix_load(&t->msix, &msix);
	}
	msix_state_free(&msix);
	return ret;
}
