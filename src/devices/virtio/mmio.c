/* SPDX-License-Identifier: Apache-2.0 */
/* The registers of virtio-mmio (virtio 1.2, section 4.2.2). */
#include <string.h>

#include "devices/virtio/mmio.h"

#define MAGIC	0x74726976u /* "virt" */
#define VERSION 2
#define VENDOR	0x54414e43u /* "CNAT" */

#define INTERRUPT_USED	 1u
#define INTERRUPT_CONFIG 2u

enum {
	REG_MAGIC = 0x000,
	REG_VERSION = 0x004,
	REG_DEVICE_ID = 0x008,
	REG_VENDOR_ID = 0x00c,
	REG_DEVICE_FEATURES = 0x010,
	REG_DEVICE_FEATURES_SEL = 0x014,
	REG_DRIVER_FEATURES = 0x020,
	REG_DRIVER_FEATURES_SEL = 0x024,
	REG_QUEUE_SEL = 0x030,
	REG_QUEUE_NUM_MAX = 0x034,
	REG_QUEUE_NUM = 0x038,
	REG_QUEUE_READY = 0x044,
	REG_QUEUE_NOTIFY = 0x050,
	REG_INTERRUPT_STATUS = 0x060,
	REG_INTERRUPT_ACK = 0x064,
	REG_STATUS = 0x070,
	REG_QUEUE_DESC = 0x080,
	REG_QUEUE_DRIVER = 0x090,
	REG_QUEUE_DEVICE = 0x0a0,
	REG_SHM_LEN_LOW = 0x0b0,
	REG_SHM_BASE_HIGH = 0x0bc,
	REG_CONFIG_GENERATION = 0x0fc,
	REG_CONFIG = 0x100,
};

/* Drives the line. Its lock is held. */
static void drive(struct virtio_mmio *m, bool up)
{
	if (m->up == up)
		return;
	m->up = up;
	m->set_pin(m->ctx, up);
}

/*
 * Sets @bit, and decides under the lock whether the line goes up for it. A bit that was
 * acknowledged meanwhile has been seen, and nobody would take down a line that went up for it.
 */
static void interrupt(struct virtio_mmio *m, uint32_t bit)
{
	if (atomic_fetch_or(&m->interrupt_status, bit) & bit)
		return;
	pthread_mutex_lock(&m->line);
	drive(m, false);
	if (atomic_load(&m->interrupt_status))
		drive(m, true);
	pthread_mutex_unlock(&m->line);
}

static void acknowledge(struct virtio_mmio *m, uint32_t bits)
{
	pthread_mutex_lock(&m->line);
	if (!(atomic_fetch_and(&m->interrupt_status, ~bits) & ~bits))
		drive(m, false);
	pthread_mutex_unlock(&m->line);
}

static void interrupt_queue(void *transport, unsigned int index)
{
	interrupt(transport, INTERRUPT_USED);
}

static void interrupt_config(void *transport)
{
	interrupt(transport, INTERRUPT_CONFIG);
}

static const struct virtio_transport_ops transport_ops = {interrupt_queue, interrupt_config};

static uint32_t queue_num_max(struct virtio_mmio *m)
{
	struct virtio_queue_state *q = virtio_queue(m->dev, atomic_load(&m->queue_sel));

	return q ? q->size_max : 0;
}

static uint32_t queue_ready(struct virtio_mmio *m)
{
	struct virtio_queue_state *q = virtio_queue(m->dev, atomic_load(&m->queue_sel));
	bool ready;

	if (!q)
		return 0;
	pthread_mutex_lock(&q->vq.lock);
	ready = q->vq.enabled;
	pthread_mutex_unlock(&q->vq.lock);
	return ready;
}

static uint32_t read_register(struct virtio_mmio *m, uint64_t offset)
{
	switch (offset) {
	case REG_MAGIC:
		return MAGIC;
	case REG_VERSION:
		return VERSION;
	case REG_DEVICE_ID:
		return m->dev->id;
	case REG_VENDOR_ID:
		return VENDOR;
	case REG_DEVICE_FEATURES:
		return virtio_features_offered(m->dev, atomic_load(&m->device_features_sel));
	case REG_QUEUE_NUM_MAX:
		return queue_num_max(m);
	case REG_QUEUE_READY:
		return queue_ready(m);
	case REG_INTERRUPT_STATUS:
		return atomic_load(&m->interrupt_status);
	case REG_STATUS:
		return virtio_status(m->dev);
	case REG_CONFIG_GENERATION:
		return atomic_load(&m->dev->generation);
	default:
		break;
	}
	/* No shared memory: a region's length is all ones (4.2.2.2). */
	return offset >= REG_SHM_LEN_LOW && offset <= REG_SHM_BASE_HIGH ? UINT32_MAX : 0;
}

static void set_queue_addr(struct virtio_mmio *m, enum virtio_ring_part part, bool high,
			   uint32_t value)
{
	virtio_queue_set_addr(m->dev, atomic_load(&m->queue_sel), part, high, value);
}

static void set_status(struct virtio_mmio *m, uint32_t value)
{
	virtio_set_status(m->dev, (uint8_t)value);
	if (value & 0xff)
		return;
	acknowledge(m, UINT32_MAX);
	atomic_store(&m->device_features_sel, 0);
	atomic_store(&m->driver_features_sel, 0);
	atomic_store(&m->queue_sel, 0);
}

static void write_register(struct virtio_mmio *m, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case REG_DEVICE_FEATURES_SEL:
		atomic_store(&m->device_features_sel, value);
		break;
	case REG_DRIVER_FEATURES:
		virtio_features_accept(m->dev, atomic_load(&m->driver_features_sel), value);
		break;
	case REG_DRIVER_FEATURES_SEL:
		atomic_store(&m->driver_features_sel, value);
		break;
	case REG_QUEUE_SEL:
		atomic_store(&m->queue_sel, value);
		break;
	case REG_QUEUE_NUM:
		/* A value that does not fit the field is no size either. */
		virtio_queue_set_size(m->dev, atomic_load(&m->queue_sel),
				      value > UINT16_MAX ? UINT16_MAX : (uint16_t)value);
		break;
	case REG_QUEUE_READY:
		if (value & 1)
			virtio_queue_enable(m->dev, atomic_load(&m->queue_sel));
		else
			virtio_queue_disable(m->dev, atomic_load(&m->queue_sel));
		break;
	case REG_QUEUE_NOTIFY:
		virtio_kick(m->dev, value);
		break;
	case REG_INTERRUPT_ACK:
		acknowledge(m, value);
		break;
	case REG_STATUS:
		set_status(m, value);
		break;
	case REG_QUEUE_DESC:
	case REG_QUEUE_DESC + 4:
		set_queue_addr(m, VIRTIO_RING_DESC, offset & 4, value);
		break;
	case REG_QUEUE_DRIVER:
	case REG_QUEUE_DRIVER + 4:
		set_queue_addr(m, VIRTIO_RING_AVAIL, offset & 4, value);
		break;
	case REG_QUEUE_DEVICE:
	case REG_QUEUE_DEVICE + 4:
		set_queue_addr(m, VIRTIO_RING_USED, offset & 4, value);
		break;
	default:
		break;
	}
}

/* Reads registers, which are accessed by aligned words, configuration as its fields are
 * (4.2.2.2). */
static void mmio_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	struct virtio_mmio *m = dev;
	uint32_t value;

	if (offset >= REG_CONFIG) {
		virtio_config_read(m->dev, (uint32_t)(offset - REG_CONFIG), data, len);
	} else if (len == 4 && !(offset & 3)) {
		value = read_register(m, offset);
		memcpy(data, &value, sizeof(value));
	} else {
		memset(data, 0, len);
	}
}

static void mmio_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct virtio_mmio *m = dev;
	uint32_t value;

	if (offset >= REG_CONFIG) {
		virtio_config_write(m->dev, (uint32_t)(offset - REG_CONFIG), data, len);
	} else if (len == 4 && !(offset & 3)) {
		memcpy(&value, data, sizeof(value));
		write_register(m, offset, value);
	}
}

const struct bus_ops virtio_mmio_ops = {mmio_read, mmio_write};

void virtio_mmio_reset(struct virtio_mmio *m)
{
	set_status(m, 0);
}

void virtio_mmio_init(struct virtio_mmio *m, struct virtio_device *dev,
		      void (*set_pin)(void *ctx, bool level), void *ctx)
{
	memset(m, 0, sizeof(*m));
	m->dev = dev;
	m->set_pin = set_pin;
	m->ctx = ctx;
	m->line = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	dev->transport_ops = &transport_ops;
	dev->transport = m;
}

void virtio_mmio_save(struct virtio_mmio *m, struct state_writer *w)
{
	state_put_u32(w, atomic_load(&m->device_features_sel));
	state_put_u32(w, atomic_load(&m->driver_features_sel));
	state_put_u32(w, atomic_load(&m->queue_sel));
	state_put_u32(w, atomic_load(&m->interrupt_status));
}

int virtio_mmio_load(struct virtio_mmio *m, struct state_in *in, struct error *err)
{
	uint32_t device_sel = state_get_u32(in), driver_sel = state_get_u32(in);
	uint32_t queue_sel = state_get_u32(in), status = state_get_u32(in);
	int ret;

	state_check(in, !(status & ~(INTERRUPT_USED | INTERRUPT_CONFIG)), "the interrupt status");
	ret = state_finish(in, err);
	if (ret < 0)
		return ret;
	atomic_store(&m->device_features_sel, device_sel);
	atomic_store(&m->driver_features_sel, driver_sel);
	atomic_store(&m->queue_sel, queue_sel);
	atomic_store(&m->interrupt_status, status);
	m->up = status != 0;
	return 0;
}

void virtio_mmio_drive(struct virtio_mmio *m)
{
	pthread_mutex_lock(&m->line);
	m->set_pin(m->ctx, m->up);
	pthread_mutex_unlock(&m->line);
}
