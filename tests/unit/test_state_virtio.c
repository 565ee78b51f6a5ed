/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device and both of its transports in a snapshot. The device is a model that holds chains
 * back until it is told to give them.
 */
#include "snap.h"

#include "devices/pci/bus.h"
#include "devices/virtio/mmio.h"
#include "devices/virtio/pci.h"
#include "virtio_fixture.h"

#define QUEUES	  3
#define QUEUE_MAX 16
#define MEMORY	  0x8000
#define V1	  FEATURE(VIRTIO_F_VERSION_1)
#define FEATURE_X FEATURE(5)
#define FEATURE_Y FEATURE(6)

struct model {
	struct virtio_device dev; /* first */
	unsigned int kicks[QUEUES], restores;
	uint32_t value; /* its own state */
	uint16_t held[QUEUE_MAX];
	unsigned int held_count;
	int fail;
};

/* Queue 0 holds all chains, the others give them back. */
static void model_kick(struct virtio_device *dev, unsigned int index)
{
	struct model *m = (struct model *)dev;
	struct virtqueue *q = &dev->queues[index].vq;
	struct iovec iov[4];
	struct vq_chain c = {.iov = iov, .max = 4};

	m->kicks[index]++;
	pthread_mutex_lock(&q->lock);
	while (q->enabled && atomic_load(&dev->running) && vq_pop(q, &c) > 0) {
		if (index)
			vq_push(q, c.head, c.in_len);
		else
			m->held[m->held_count++] = c.head;
	}
	virtio_publish(dev, index);
	pthread_mutex_unlock(&q->lock);
}

static void give_back(struct model *m, unsigned int i, uint32_t written)
{
	struct virtqueue *q = &m->dev.queues[0].vq;

	pthread_mutex_lock(&q->lock);
	vq_push(q, m->held[i], written);
	virtio_publish(&m->dev, 0);
	pthread_mutex_unlock(&q->lock);
}

static int model_save(struct virtio_device *dev, struct state_writer *w, struct error *err)
{
	struct model *m = (struct model *)dev;

	if (m->fail)
		return error_fail(err, m->fail, "the model fails");
	state_put_u32(w, m->value);
	return 0;
}

static int model_load(struct virtio_device *dev, struct state_in *in, struct error *err)
{
	uint32_t value = state_get_u32(in);
	int ret = state_finish(in, err);

	if (ret == 0)
		((struct model *)dev)->value = value;
	return ret;
}

static int model_restored(struct virtio_device *dev, struct error *err)
{
	((struct model *)dev)->restores++;
	virtio_config_changed(dev);
	return 0;
}

static const struct virtio_ops ops = {.kick = model_kick,
				      .state_id = STATE_ID('m', 'o', 'd', 'l'),
				      .state_version = 1,
				      .save = model_save,
				      .load = model_load,
				      .restored = model_restored,
				      .kept_features = FEATURE_Y};

static const struct virtio_ops lasting_ops = {.kick = model_kick};

struct fix {
	struct guest g;
	struct model m;
	struct driver d[QUEUES];
	struct fake_transport fake;
};

static void make_model(struct fix *f, const struct guest *g, uint64_t offered)
{
	memset(f, 0, sizeof(*f));
	f->g = *g;
	f->g.dma.ctx = &f->g;
	f->m.dev.ops = &ops;
	f->m.dev.name = "model";
	f->m.dev.id = 4;
	f->m.dev.offered = offered;
	f->m.dev.queue_count = QUEUES;
	f->m.dev.dma = &f->g.dma;
	f->m.dev.transport = &f->fake;
	f->m.dev.transport_ops = &fake_transport_ops;
	assert_int_equal(virtio_init(&f->m.dev, QUEUE_MAX), 0);
}

/* A driver has set up queues 0 and 2. */
static void drive(struct fix *f, uint64_t features)
{
	uint64_t at = GUEST_BASE;

	assert_true(driver_negotiate(&f->m.dev, features));
	for (unsigned int i = 0; i < QUEUES; i += 2) {
		at = driver_init(&f->d[i], &f->g, at, 8);
		driver_enable(&f->m.dev, i, &f->d[i]);
	}
	driver_ok(&f->m.dev);
}

static void offer(struct fix *f, unsigned int queue, uint16_t head)
{
	driver_desc(&f->d[queue], head, GUEST_BASE + 0x4000, 64, F_WRITE, 0);
	driver_offer(&f->d[queue], head);
}

/* The guest is the same, and what its driver knows. */
static void copy_driver(struct fix *to, const struct fix *from)
{
	memcpy(to->d, from->d, sizeof(to->d));
	for (unsigned int i = 0; i < QUEUES; i++)
		to->d[i].g = &to->g;
}

static void save(struct snap *s, struct fix *f)
{
	memset(s, 0, sizeof(*s));
	state_writer_init(&s->w);
	assert_int_equal(virtio_save(&f->m.dev, 7, &s->w, &s->err), 0);
	snap_open(s);
}

/* Heads 3, 5 and 6 were offered, 5 was given back; one more waits, and nobody was kicked. */
static void rich(struct fix *f)
{
	f->m.value = 0x12345678;
	drive(f, V1 | FEATURE_X | FEATURE(VIRTIO_F_EVENT_IDX));
	offer(f, 0, 3);
	offer(f, 0, 5);
	offer(f, 0, 6);
	virtio_kick(&f->m.dev, 0);
	assert_int_equal(f->m.held_count, 3);
	give_back(&f->m, 1, 17);
	offer(f, 0, 1);
	offer(f, 2, 4);
	virtio_kick(&f->m.dev, 2);
	atomic_store(&f->m.dev.generation, 99);
}

static struct guest memory;

static void test_queues_go_on(void **state)
{
	struct fix f, g;
	struct snap s, t;
	uint32_t id, len;

	make_model(&f, &memory, FEATURE_X);
	rich(&f);
	save(&s, &f);
	make_model(&g, &memory, FEATURE_X);
	copy_driver(&g, &f);
	assert_int_equal(virtio_load(&g.m.dev, 7, &s.r, &s.err), 0);
	save(&t, &g);
	assert_same_snap(&s, &t);
	snap_free(&t);
	assert_int_equal(g.m.value, 0x12345678);
	assert_int_equal(virtio_status(&g.m.dev), 15);
	/* It does nothing until all is there. */
	assert_false(atomic_load(&g.m.dev.running));
	virtio_kick(&g.m.dev, 0);
	assert_int_equal(g.m.kicks[0], 0);
	assert_int_equal(g.fake.config, 0);
	assert_int_equal(virtio_restored(&g.m.dev, &s.err), 0);
	assert_int_equal(g.m.restores, 1);
	assert_int_equal(g.fake.config, 1);
	assert_int_equal(atomic_load(&g.m.dev.generation), 100);
	for (unsigned int i = 0; i < QUEUES; i++)
		assert_int_equal(g.m.kicks[i], 1);
	/* First what was in flight, and then the one that has waited. */
	assert_int_equal(g.m.held_count, 3);
	assert_int_equal(g.m.held[0], 3);
	assert_int_equal(g.m.held[1], 6);
	assert_int_equal(g.m.held[2], 1);
	assert_true(driver_used(&g.d[0], &id, &len));
	assert_int_equal(id, 5);
	assert_int_equal(len, 17);
	assert_false(driver_used(&g.d[0], &id, &len));
	give_back(&g.m, 1, 2);
	give_back(&g.m, 2, 3);
	give_back(&g.m, 0, 1);
	for (uint32_t i = 0; i < 3; i++) {
		static const uint32_t ids[] = {6, 1, 3};

		assert_true(driver_used(&g.d[0], &id, &len));
		assert_int_equal(id, ids[i]);
	}
	/* The next ones, on both queues. */
	offer(&g, 0, 5);
	offer(&g, 2, 0);
	virtio_kick(&g.m.dev, 0);
	virtio_kick(&g.m.dev, 2);
	assert_int_equal(g.m.held[3], 5);
	assert_true(driver_used(&g.d[2], &id, &len));
	assert_int_equal(id, 4);
	assert_true(driver_used(&g.d[2], &id, &len));
	assert_int_equal(id, 0);
	assert_int_equal(virtio_status(&g.m.dev), 15);
	snap_free(&s);
	virtio_fini(&f.m.dev);
	virtio_fini(&g.m.dev);
}

/* Saved again before anybody has taken them: the chains in flight are still that. */
static void test_chains_in_flight_stay_it(void **state)
{
	struct fix f, g;
	struct snap s, t;
	struct iovec iov[4];
	struct vq_chain c = {.iov = iov, .max = 4};
	struct virtqueue *q;

	make_model(&f, &memory, FEATURE_X);
	rich(&f);
	save(&s, &f);
	make_model(&g, &memory, FEATURE_X);
	assert_int_equal(virtio_load(&g.m.dev, 7, &s.r, &s.err), 0);
	q = &g.m.dev.queues[0].vq;
	assert_true(vq_waiting(q));
	/* One is taken, and given back as if it had not been. */
	assert_int_equal(vq_pop(q, &c), 1);
	assert_int_equal(c.head, 3);
	vq_unpop(q);
	save(&t, &g);
	assert_same_snap(&s, &t);
	snap_free(&t);
	assert_int_equal(vq_pop(q, &c), 1);
	assert_int_equal(c.head, 3);
	save(&t, &g);
	assert_same_snap(&s, &t);
	snap_free(&t);
	/* A reset forgets them. */
	virtio_set_status(&g.m.dev, 0);
	assert_false(vq_waiting(q));
	assert_int_equal(q->again_count, 0);
	snap_free(&s);
	virtio_fini(&f.m.dev);
	virtio_fini(&g.m.dev);
}

/* In the middle of what a driver does before it begins; and a device that it has broken. */
static void test_each_status(void **state)
{
	static const uint8_t stages[] = {0, 1, 3, 11, 15, 79, 143};
	struct fix f, g;
	struct snap s, t;

	for (size_t i = 0; i < sizeof(stages); i++) {
		make_model(&f, &memory, FEATURE_X);
		drive(&f, V1);
		if (stages[i] < 15)
			virtio_set_status(&f.m.dev, 0);
		if (stages[i] == 79)
			virtio_broken(&f.m.dev, "the test");
		for (uint8_t bit = 1; bit; bit = (uint8_t)(bit << 1))
			if (stages[i] & bit) {
				virtio_set_status(&f.m.dev, stages[i] & ((bit << 1) - 1));
				if (bit == 2)
					virtio_features_accept(&f.m.dev, 1, 1);
			}
		virtio_queue_set_size(&f.m.dev, 1, 77);
		virtio_queue_set_addr(&f.m.dev, 1, VIRTIO_RING_AVAIL, true, 5);
		assert_int_equal(virtio_status(&f.m.dev), stages[i]);
		save(&s, &f);
		make_model(&g, &memory, FEATURE_X);
		assert_int_equal(virtio_load(&g.m.dev, 7, &s.r, &s.err), 0);
		assert_int_equal(virtio_restored(&g.m.dev, &s.err), 0);
		assert_int_equal(g.m.restores, stages[i] & VIRTIO_STATUS_DRIVER_OK ? 1 : 0);
		atomic_store(&g.m.dev.generation, atomic_load(&f.m.dev.generation));
		save(&t, &g);
		assert_same_snap(&s, &t);
		snap_free(&t);
		snap_free(&s);
		virtio_fini(&f.m.dev);
		virtio_fini(&g.m.dev);
	}
}

static void test_features_that_are_not_here(void **state)
{
	struct fix f, g;
	struct snap s;

	make_model(&f, &memory, FEATURE_X | FEATURE_Y);
	drive(&f, V1 | FEATURE_X);
	save(&s, &f);
	make_model(&g, &memory, FEATURE_Y);
	assert_int_equal(virtio_load(&g.m.dev, 7, &s.r, &s.err), -ENOTSUP);
	assert_non_null(strstr(s.err.text, "model: the guest uses feature 5"));
	snap_free(&s);
	virtio_fini(&g.m.dev);
	/* One that may stay is offered from now on. */
	drive(&f, V1 | FEATURE_Y);
	save(&s, &f);
	make_model(&g, &memory, FEATURE_X);
	assert_int_equal(virtio_load(&g.m.dev, 7, &s.r, &s.err), 0);
	assert_true(virtio_has(&g.m.dev, 6));
	assert_true(g.m.dev.offered & FEATURE_Y);
	snap_free(&s);
	virtio_fini(&f.m.dev);
	virtio_fini(&g.m.dev);
}

static void test_what_cannot_be_saved(void **state)
{
	struct snap s = {.err.text = ""};
	struct fix f;

	make_model(&f, &memory, 0);
	state_writer_init(&s.w);
	virtio_request_begin(&f.m.dev);
	assert_int_equal(virtio_save(&f.m.dev, 0, &s.w, &s.err), -EBUSY);
	assert_non_null(strstr(s.err.text, "model: requests"));
	virtio_request_end(&f.m.dev);
	f.m.fail = -EIO;
	assert_int_equal(virtio_save(&f.m.dev, 0, &s.w, &s.err), -EIO);
	assert_string_equal(s.err.text, "the model fails");
	f.m.dev.ops = &lasting_ops;
	assert_int_equal(virtio_save(&f.m.dev, 0, &s.w, &s.err), -ENOTSUP);
	assert_non_null(strstr(s.err.text, "model: "));
	snap_free(&s);
	virtio_fini(&f.m.dev);
}

static int load_any(struct state_reader *r, struct error *err)
{
	struct fix f;
	int ret;

	make_model(&f, &memory, FEATURE_X);
	ret = virtio_load(&f.m.dev, 7, r, err);
	if (ret == 0)
		ret = virtio_restored(&f.m.dev, err);
	for (unsigned int i = 0; ret == 0 && i < f.m.held_count; i++)
		give_back(&f.m, i, 1);
	virtio_set_status(&f.m.dev, 0);
	virtio_fini(&f.m.dev);
	return ret;
}

static void test_any_byte_may_be_wrong(void **state)
{
	struct fix f;
	struct snap s;

	make_model(&f, &memory, FEATURE_X);
	rich(&f);
	save(&s, &f);
	snap_attack(&s, load_any);
	snap_free(&s);
	virtio_fini(&f.m.dev);
}

/* Of the section of all devices: queue 0 begins behind 26 bytes. */
enum {
	AT_ID = 0,
	AT_OFFERED = 2,
	AT_FEATURES = 10,
	AT_BEYOND = 18,
	AT_STATUS = 19,
	AT_QUEUES = 24,
	AT_SIZE = 26,
	AT_DESC = 28,
	AT_AVAIL = 36,
	AT_NEXT_AVAIL = 55,
	AT_NEXT_USED = 57,
	AT_PUBLISHED = 59,
	AT_COUNT = 61,
	AT_HEAD = 63,
};

static void test_what_cannot_be_is_refused(void **state)
{
	static const struct {
		size_t at, len;
		uint64_t value;
		const char *what;
	} wrong[] = {
		{AT_ID, 2, 5, "kind of device"},
		{AT_OFFERED, 8, 0, "features"},
		{AT_FEATURES, 8, FEATURE_X, "features"}, /* without version 1 */
		{AT_BEYOND, 1, 1, "features"},
		{AT_STATUS, 1, 0x1f, "device status"},
		{AT_STATUS, 1, 7, "device status"},
		{AT_STATUS, 1, 3, "enabled queue"},
		{AT_QUEUES, 2, 4, "number of queues"},
		{AT_QUEUES, 2, 65535, "number of queues"},
		{AT_SIZE, 2, 0, "queue's size"},
		{AT_SIZE, 2, 7, "queue's size"},
		{AT_SIZE, 2, 32, "queue's size"},
		{AT_SIZE, 2, 32768, "queue's size"},
		{AT_DESC, 8, GUEST_BASE + 1, "rings of queue 0 of model"},
		{AT_DESC, 8, UINT64_MAX - 15, "rings of queue 0 of model"},
		{AT_AVAIL, 8, GUEST_BASE + MEMORY - 4, "rings of queue 0 of model"},
		{AT_NEXT_AVAIL, 2, 77, "chains are in flight"},
		{AT_NEXT_USED, 2, 77, "chains are in flight"},
		{AT_PUBLISHED, 2, 77, "index of used"},
		{AT_COUNT, 2, 3, "chains are in flight"},
		{AT_COUNT, 2, 65535, "chains are in flight"},
		{AT_HEAD, 2, 8, "a chain in flight"},
		{AT_HEAD, 2, 65535, "a chain in flight"},
		{AT_HEAD, 2, 6, "a chain in flight"}, /* twice */
	};
	struct fix f, g;
	struct snap s, t;

	make_model(&f, &memory, FEATURE_X);
	rich(&f);
	save(&s, &f);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memset(&t, 0, sizeof(t));
		state_writer_init(&t.w);
		for (uint32_t n = 0; n < s.r.count; n++) {
			const struct state_section *from = &s.r.sections[n];
			size_t payload;

			state_begin(&t.w, from->id, from->instance, from->version);
			payload = t.w.len;
			state_put_bytes(&t.w, from->payload, from->len);
			if (from->id == STATE_ID('v', 'd', 'e', 'v'))
				memcpy(t.w.data + payload + wrong[i].at, &wrong[i].value,
				       wrong[i].len);
			state_end(&t.w);
		}
		snap_open(&t);
		make_model(&g, &memory, FEATURE_X);
		assert_int_equal(virtio_load(&g.m.dev, 7, &t.r, &t.err), -EINVAL);
		if (!strstr(t.err.text, wrong[i].what))
			fail_msg("%zu: \"%s\", not of \"%s\"", i, t.err.text, wrong[i].what);
		virtio_fini(&g.m.dev);
		snap_free(&t);
	}
	snap_free(&s);
	virtio_fini(&f.m.dev);
}

/* -- virtio-mmio ------------------------------------------------------------------------------ */

struct line {
	unsigned int edges, calls;
	bool level;
};

static void set_pin(void *ctx, bool level)
{
	struct line *l = ctx;

	l->calls++;
	l->edges += level && !l->level;
	l->level = level;
}

static uint32_t reg(struct virtio_mmio *m, uint64_t offset)
{
	uint32_t value;

	virtio_mmio_ops.read(m, offset, &value, 4);
	return value;
}

static void set_reg(struct virtio_mmio *m, uint64_t offset, uint32_t value)
{
	virtio_mmio_ops.write(m, offset, &value, 4);
}

static void test_mmio(void **state)
{
	struct line line = {0}, other = {0};
	struct virtio_mmio m, n;
	struct fix f, g;
	struct snap s, t;

	make_model(&f, &memory, FEATURE_X);
	virtio_mmio_init(&m, &f.m.dev, set_pin, &line);
	drive(&f, V1);
	set_reg(&m, 0x14, 1);
	set_reg(&m, 0x24, 1);
	set_reg(&m, 0x30, 2);
	virtio_config_changed(&f.m.dev);
	assert_true(line.level);
	virtio_mmio_save(&m, snap_begin(&s));
	snap_in(&s);
	make_model(&g, &memory, FEATURE_X);
	virtio_mmio_init(&n, &g.m.dev, set_pin, &other);
	assert_int_equal(virtio_mmio_load(&n, &s.in, &s.err), 0);
	virtio_mmio_save(&n, snap_begin(&t));
	snap_in(&t);
	assert_same_snap(&s, &t);
	assert_int_equal(other.calls, 0);
	virtio_mmio_drive(&n);
	assert_int_equal(other.calls, 1);
	assert_true(other.level);
	assert_int_equal(reg(&n, 0x60), 2);
	assert_int_equal(reg(&n, 0x10), 1); /* of the upper features, version 1 */
	assert_int_equal(reg(&n, 0x34), QUEUE_MAX);
	/* One more bit is a new edge; acknowledged, it goes down. */
	atomic_store(&g.m.dev.status, 15);
	n.dev->transport_ops->interrupt_queue(&n, 0);
	assert_int_equal(other.edges, 2);
	set_reg(&n, 0x64, 3);
	assert_false(other.level);
	snap_free(&t);
	snap_with(&t, &s, 12, 4, 4);
	assert_int_equal(virtio_mmio_load(&n, &t.in, &t.err), -EINVAL);
	assert_non_null(strstr(t.err.text, "interrupt status"));
	snap_free(&t);
	snap_free(&s);
	virtio_fini(&f.m.dev);
	virtio_fini(&g.m.dev);
}

/* -- virtio-pci ------------------------------------------------------------------------------- */

struct machine {
	struct bus pio, mmio;
	struct pci_bus pci;
	struct virtio_pci t;
	unsigned int sent, drives;
	uint64_t address;
	uint32_t data, inputs;
};

static void on_message(void *ctx, uint64_t address, uint32_t data)
{
	struct machine *m = ctx;

	m->sent++;
	m->address = address;
	m->data = data;
}

static void set_input(void *ctx, unsigned int input, bool level)
{
	struct machine *m = ctx;

	m->drives++;
	if (level)
		m->inputs |= 1u << input;
	else
		m->inputs &= ~(1u << input);
}

static void make_machine(struct machine *m, struct virtio_device *dev)
{
	memset(m, 0, sizeof(*m));
	assert_int_equal(pci_bus_init(&m->pci, &m->pio, &m->mmio), 0);
	pci_bus_route_intx(&m->pci, set_input, m);
	assert_int_equal(virtio_pci_init(&m->t, dev, on_message, m), 0);
	assert_int_equal(pci_bus_plug(&m->pci, &m->t.function), 1);
}

static void free_machine(struct machine *m)
{
	virtio_pci_fini(&m->t);
	pci_bus_fini(&m->pci);
}

static void put(struct machine *m, uint64_t addr, uint64_t value, unsigned int len)
{
	assert_true(bus_write(&m->mmio, addr, &value, len));
}

static uint64_t get(struct machine *m, uint64_t addr, unsigned int len)
{
	uint64_t value = 0;

	assert_true(bus_read(&m->mmio, addr, &value, len));
	return value;
}

#define CONFIG	(PCI_ECAM_BASE + 0x8000)
#define MSIX	0x40 /* its capability */
#define COMMAND 4

static void save_machine(struct snap *s, struct machine *m)
{
	memset(s, 0, sizeof(*s));
	state_writer_init(&s->w);
	state_begin(&s->w, STATE_ID('p', 'c', 'i', 'b'), 0, 1);
	pci_bus_save(&m->pci, &s->w);
	state_end(&s->w);
	state_begin(&s->w, STATE_ID('v', 'p', 'c', 'i'), 0, 1);
	virtio_pci_save(&m->t, &s->w);
	state_end(&s->w);
	snap_open(s);
}

static int load_machine(struct machine *m, struct state_reader *r, struct error *err)
{
	struct state_in in;
	int ret = state_find(r, STATE_ID('p', 'c', 'i', 'b'), 0, 1, &in, err);

	if (ret == 0)
		ret = pci_bus_load(&m->pci, &in, err);
	if (ret == 0)
		ret = state_find(r, STATE_ID('v', 'p', 'c', 'i'), 0, 1, &in, err);
	return ret < 0 ? ret : virtio_pci_load(&m->t, &in, err);
}

/* BARs elsewhere than firmware has put them, MSI-X on, one vector masked and pending. */
static void use_msix(struct machine *m)
{
	uint64_t bar = PCI_WINDOW_BASE + 0x800000, table = PCI_WINDOW_BASE + 0x900000;

	put(m, CONFIG + 0x10, bar, 4);
	put(m, CONFIG + 0x18, table, 4);
	put(m, CONFIG + COMMAND, 6, 2);
	put(m, CONFIG + MSIX + 2, 0x8000, 2);
	for (unsigned int i = 0; i < QUEUES + 1; i++) {
		put(m, table + 16 * i, 0xfee01000, 8);
		put(m, table + 16 * i + 8, 0x40 + i, 8);
	}
	put(m, table + 16 * 2 + 12, 1, 4);
	put(m, bar + 16, 0, 2);
	for (uint16_t i = 0; i < QUEUES; i++) {
		put(m, bar + 22, i, 2);
		put(m, bar + 26, (uint64_t)i + 1, 2);
	}
	put(m, bar + 0, 1, 4);
	put(m, bar + 8, 1, 4);
	m->t.dev->transport_ops->interrupt_queue(&m->t, 1);
	assert_int_equal(m->sent, 0);
	assert_int_equal(get(m, table + 0x800, 8), 1u << 2);
}

static void test_pci_with_msix(void **state)
{
	uint64_t bar = PCI_WINDOW_BASE + 0x800000, table = PCI_WINDOW_BASE + 0x900000;
	struct machine m, n;
	struct fix f, g;
	struct snap s, t;
	uint32_t address = 0x80000844;

	make_model(&f, &memory, FEATURE_X);
	make_machine(&m, &f.m.dev);
	use_msix(&m);
	assert_true(bus_write(&m.pio, 0xcf8, &address, 4));
	save_machine(&s, &m);
	make_model(&g, &memory, FEATURE_X);
	make_machine(&n, &g.m.dev);
	assert_int_equal(load_machine(&n, &s.r, &s.err), 0);
	save_machine(&t, &n);
	assert_same_snap(&s, &t);
	snap_free(&t);
	assert_int_equal(n.sent, 0);
	pci_function_update_intx(&n.t.function);
	assert_int_equal(n.drives, 0);
	/* Registers are where the guest has put them. */
	address = 0;
	assert_true(bus_read(&n.pio, 0xcf8, &address, 4));
	assert_int_equal(address, 0x80000844);
	assert_int_equal(get(&n, bar + 22, 2), 2);
	assert_int_equal(get(&n, bar + 26, 2), 3);
	assert_int_equal(get(&n, bar + 4, 4), 1);
	/* Interrupts go where they went, and the pending one goes when it may. */
	n.t.dev->transport_ops->interrupt_queue(&n.t, 2);
	assert_int_equal(n.sent, 1);
	assert_int_equal(n.data, 0x43);
	put(&n, table + 16 * 2 + 12, 0, 4);
	assert_int_equal(n.sent, 2);
	assert_int_equal(n.data, 0x42);
	assert_int_equal(n.address, 0xfee01000);
	assert_int_equal(get(&n, table + 0x800, 8), 0);
	snap_free(&s);
	free_machine(&m);
	free_machine(&n);
	virtio_fini(&f.m.dev);
	virtio_fini(&g.m.dev);
}

static void test_pci_with_its_pin(void **state)
{
	struct machine m, n;
	struct fix f, g;
	struct snap s, t;

	make_model(&f, &memory, FEATURE_X);
	make_machine(&m, &f.m.dev);
	m.t.dev->transport_ops->interrupt_queue(&m.t, 0);
	assert_int_equal(m.inputs, 1u << 17);
	save_machine(&s, &m);
	make_model(&g, &memory, FEATURE_X);
	make_machine(&n, &g.m.dev);
	assert_int_equal(load_machine(&n, &s.r, &s.err), 0);
	assert_int_equal(n.drives, 0);
	pci_function_update_intx(&n.t.function);
	assert_int_equal(n.inputs, 1u << 17);
	save_machine(&t, &n);
	assert_same_snap(&s, &t);
	/* Reading acknowledges. */
	assert_int_equal(get(&n, atomic_load(&n.t.function.bars[0].base) + 0x1000, 1), 1);
	assert_int_equal(n.inputs, 0);
	snap_free(&s);
	snap_free(&t);
	free_machine(&m);
	free_machine(&n);
	virtio_fini(&f.m.dev);
	virtio_fini(&g.m.dev);
}

static int load_any_machine(struct state_reader *r, struct error *err)
{
	struct machine m;
	struct fix f;
	int ret;

	make_model(&f, &memory, FEATURE_X);
	make_machine(&m, &f.m.dev);
	ret = load_machine(&m, r, err);
	if (ret == 0) {
		pci_function_update_intx(&m.t.function);
		for (unsigned int i = 0; i < QUEUES; i++)
			m.t.dev->transport_ops->interrupt_queue(&m.t, i);
		atomic_store(&f.m.dev.status, 15);
		virtio_config_changed(&f.m.dev);
		for (unsigned int i = 0; i < 256; i += 4) {
			get(&m, CONFIG + i, 4);
			put(&m, CONFIG + i, UINT32_MAX, 4);
		}
		atomic_store(&f.m.dev.status, 0);
		virtio_pci_reset(&m.t);
	}
	free_machine(&m);
	virtio_fini(&f.m.dev);
	return ret;
}

static void test_pci_any_byte_may_be_wrong(void **state)
{
	struct machine m;
	struct fix f;
	struct snap s;

	make_model(&f, &memory, FEATURE_X);
	make_machine(&m, &f.m.dev);
	use_msix(&m);
	save_machine(&s, &m);
	snap_attack(&s, load_any_machine);
	snap_free(&s);
	free_machine(&m);
	virtio_fini(&f.m.dev);
}

/* Of the section of the transport: registers, then MSI-X, then configuration space. */
enum {
	AT_ISR = 10,
	AT_CONFIG_VECTOR = 11,
	AT_VECTOR = 13,
	AT_VECTORS = 19,
	AT_ENTRY = 21,
	AT_PENDING = 21 + 4 * 16,
	AT_SPACE = 21 + 4 * 16 + 8,
};

static void test_pci_refuses(void **state)
{
	static const struct {
		size_t at, len;
		uint64_t value;
		const char *what;
	} wrong[] = {
		{AT_ISR, 1, 4, "interrupt status"},
		{AT_CONFIG_VECTOR, 2, 4, "vector"},
		{AT_VECTOR, 2, 0x8000, "vector"},
		{AT_VECTORS, 2, 5, "number of vectors"},
		{AT_VECTORS, 2, 2049, "number of vectors"},
		{AT_ENTRY, 4, 1, "vector's address"},
		{AT_ENTRY + 12, 4, 2, "vector's control"},
		{AT_PENDING, 8, 1 << 4, "pending bits"},
		{AT_PENDING, 8, UINT64_MAX, "pending bits"},
		{AT_SPACE, 2, 0x8086, "configuration space"},
		{AT_SPACE + COMMAND, 2, 0xffff, "configuration space"},
		{AT_SPACE + 0x10, 4, 0xd0000001, "configuration space"}, /* an I/O BAR */
		{AT_SPACE + MSIX + 2, 2, 0x87ff, "configuration space"},
	};
	struct machine m, n;
	struct fix f, g;
	struct snap s, t;

	make_model(&f, &memory, FEATURE_X);
	make_machine(&m, &f.m.dev);
	use_msix(&m);
	virtio_pci_save(&m.t, snap_begin(&s));
	snap_in(&s);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snap_with(&t, &s, wrong[i].at, wrong[i].value, wrong[i].len);
		make_model(&g, &memory, FEATURE_X);
		make_machine(&n, &g.m.dev);
		assert_int_equal(virtio_pci_load(&n.t, &t.in, &t.err), -EINVAL);
		if (!strstr(t.err.text, wrong[i].what))
			fail_msg("%zu: \"%s\", not of \"%s\"", i, t.err.text, wrong[i].what);
		free_machine(&n);
		virtio_fini(&g.m.dev);
		snap_free(&t);
	}
	snap_free(&s);
	free_machine(&m);
	virtio_fini(&f.m.dev);
}

static int set_up(void **state)
{
	guest_init(&memory, MEMORY);
	return 0;
}

static int tear_down(void **state)
{
	guest_fini(&memory);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queues_go_on),
		cmocka_unit_test(test_chains_in_flight_stay_it),
		cmocka_unit_test(test_each_status),
		cmocka_unit_test(test_features_that_are_not_here),
		cmocka_unit_test(test_what_cannot_be_saved),
		cmocka_unit_test(test_any_byte_may_be_wrong),
		cmocka_unit_test(test_what_cannot_be_is_refused),
		cmocka_unit_test(test_mmio),
		cmocka_unit_test(test_pci_with_msix),
		cmocka_unit_test(test_pci_with_its_pin),
		cmocka_unit_test(test_pci_any_byte_may_be_wrong),
		cmocka_unit_test(test_pci_refuses),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
