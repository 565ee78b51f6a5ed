/* SPDX-License-Identifier: Apache-2.0 */
/* The core of a virtio device, with a device that reads bytes from a pipe into its buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "uring.h"
#include "virtio_fixture.h"

#define SIZE	  8
#define QUEUES	  2
#define MEMORY	  0x8000
#define V1	  FEATURE(VIRTIO_F_VERSION_1)
#define FEATURE_X FEATURE(5)

/* ---- the device ---- */

struct model;

struct request {
	struct ring_req req; /* first */
	struct model *m;
	uint16_t head;
	unsigned int queue;
};

struct model {
	struct virtio_device dev; /* first */
	struct request requests[SIZE];
	uint8_t config[10];
	int pipe[2];
	_Atomic unsigned int starts, kicks[QUEUES], stops, resets, done;
	_Atomic bool seen_inflight_at_reset;
	struct catnap_halter *_Atomic kicked_on;
	char message[256];
	unsigned int messages;
};

static void on_done(struct ring_req *req, int res)
{
	struct request *r = (struct request *)req;
	struct model *m = r->m;
	struct virtqueue *q = &m->dev.queues[r->queue].vq;

	assert_int_equal(res, 1);
	atomic_fetch_add(&m->done, 1);
	pthread_mutex_lock(&q->lock);
	vq_push(q, r->head, 1);
	virtio_publish(&m->dev, r->queue);
	pthread_mutex_unlock(&q->lock);
	virtio_request_end(&m->dev);
}

static void model_kick(struct virtio_device *dev, unsigned int index)
{
	struct model *m = (struct model *)dev;
	struct virtqueue *q = &dev->queues[index].vq;
	struct catnap_halter *self = halter_self();
	struct iovec iov[4];
	struct vq_chain c = {.iov = iov, .max = 4};
	int ret = 0;

	atomic_fetch_add(&m->kicks[index], 1);
	atomic_store(&m->kicked_on, self);
	pthread_mutex_lock(&q->lock);
	while (atomic_load(&dev->running) && (ret = vq_pop(q, &c)) > 0) {
		struct request *r = &m->requests[c.head];
		struct io_uring_sqe *sqe = ring_get(&self->ring, &ret);

		if (!sqe)
			abort();
		*r = (struct request){{on_done}, m, c.head, index};
		io_uring_prep_read(sqe, m->pipe[0], iov[0].iov_base, 1, 0);
		ring_queue(&self->ring, sqe, &r->req);
		virtio_request_begin(dev);
	}
	if (ret < 0)
		virtio_broken(dev, q->fault);
	pthread_mutex_unlock(&q->lock);
}

static void model_start(struct virtio_device *dev)
{
	atomic_fetch_add(&((struct model *)dev)->starts, 1);
}

static void model_stop(struct virtio_device *dev)
{
	assert_false(atomic_load(&dev->running));
	atomic_fetch_add(&((struct model *)dev)->stops, 1);
}

static void model_reset(struct virtio_device *dev)
{
	struct model *m = (struct model *)dev;

	if (atomic_load(&dev->inflight))
		atomic_store(&m->seen_inflight_at_reset, true);
	atomic_fetch_add(&m->resets, 1);
}

static const struct virtio_ops model_ops = {
	.start = model_start, .kick = model_kick, .stop = model_stop, .reset = model_reset};

static void on_log(void *ctx, const char *message)
{
	struct model *m = ctx;

	m->messages++;
	snprintf(m->message, sizeof(m->message), "%s", message);
}

struct fix {
	struct guest g;
	struct driver d[QUEUES];
	struct model m;
	struct fake_transport t;
	uint64_t data;
	struct catnap_halter *halter;
};

static struct catnap_halter *new_halter(void)
{
	struct catnap_halter_config cfg;
	struct catnap_halter *h = NULL;

	catnap_halter_config_init(&cfg);
	assert_int_equal(catnap_halter_create(&cfg, &h), 0);
	return h;
}

static int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));
	struct model *m = &f->m;

	guest_init(&f->g, MEMORY);
	for (size_t i = 0; i < sizeof(m->config); i++)
		m->config[i] = (uint8_t)(i + 1);
	m->dev.ops = &model_ops;
	m->dev.name = "model";
	m->dev.offered = FEATURE_X;
	m->dev.config = m->config;
	m->dev.config_len = sizeof(m->config);
	m->dev.queue_count = QUEUES;
	m->dev.dma = &f->g.dma;
	m->dev.transport_ops = &fake_transport_ops;
	m->dev.transport = &f->t;
	m->dev.log = on_log;
	m->dev.log_ctx = m;
	assert_int_equal(pipe(m->pipe), 0);
	assert_int_equal(virtio_init(&m->dev, SIZE), 0);
	f->data = GUEST_BASE;
	for (unsigned int i = 0; i < QUEUES; i++)
		f->data = driver_init(&f->d[i], &f->g, f->data, SIZE);
	f->halter = new_halter();
	halter_set_self(f->halter);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	halter_set_self(NULL);
	catnap_halter_destroy(&f->halter);
	virtio_fini(&f->m.dev);
	close(f->m.pipe[0]);
	close(f->m.pipe[1]);
	guest_fini(&f->g);
	free(f);
	return 0;
}

static void up(struct fix *f, uint64_t features)
{
	assert_true(driver_negotiate(&f->m.dev, features));
	for (unsigned int i = 0; i < QUEUES; i++) {
		driver_init(&f->d[i], &f->g, f->d[i].desc, SIZE);
		driver_enable(&f->m.dev, i, &f->d[i]);
	}
	driver_ok(&f->m.dev);
}

static void read_one(struct fix *f, unsigned int queue, uint16_t head)
{
	driver_desc(&f->d[queue], head, f->data + head, 1, F_WRITE, 0);
	driver_offer(&f->d[queue], head);
}

/* ---- status and features ---- */

static void test_features(void **state)
{
	struct fix *f = *state;
	struct virtio_device *dev = &f->m.dev;

	assert_int_equal(virtio_features_offered(dev, 0), FEATURE_X | 3u << 28);
	assert_int_equal(virtio_features_offered(dev, 1), 1);
	assert_int_equal(virtio_features_offered(dev, 2), 0);
	assert_int_equal(virtio_features_offered(dev, UINT32_MAX), 0);
	assert_true(driver_negotiate(dev, V1));
	assert_true(driver_negotiate(dev, V1 | FEATURE_X));
	assert_true(virtio_has(dev, 5));
	/* Not after FEATURES_OK. */
	virtio_features_accept(dev, 0, 0);
	assert_true(virtio_has(dev, 5));
	/* Without version 1, and what was not offered. */
	assert_false(driver_negotiate(dev, FEATURE_X));
	assert_false(driver_negotiate(dev, 0));
	assert_false(driver_negotiate(dev, V1 | 1));
	assert_false(driver_negotiate(dev, V1 | FEATURE(63)));
	assert_false(driver_negotiate(dev, V1 | FEATURE(VIRTIO_F_ACCESS_PLATFORM)));
	/* A driver that gives way can go on without a reset. */
	virtio_features_accept(dev, 1, 1);
	virtio_set_status(dev, 11);
	assert_int_equal(virtio_status(dev), 11);
	/* Words of features that nobody has. */
	virtio_set_status(dev, 0);
	virtio_features_accept(dev, 1, 1);
	virtio_features_accept(dev, 2, 1);
	virtio_set_status(dev, 11);
	assert_int_equal(virtio_status(dev), 3);
}

static void test_status(void **state)
{
	struct fix *f = *state;
	struct virtio_device *dev = &f->m.dev;

	virtio_set_status(dev, 1);
	assert_int_equal(virtio_status(dev), 1);
	virtio_set_status(dev, 3);
	/* Bits stay. NEEDS_RESET and those without a name are not the driver's. */
	virtio_set_status(dev, 2 | 64 | 16 | 32);
	assert_int_equal(virtio_status(dev), 3);
	/* Not without features. */
	virtio_set_status(dev, 7);
	assert_int_equal(virtio_status(dev), 3);
	assert_int_equal(f->m.starts, 0);
	virtio_set_status(dev, 128);
	assert_int_equal(virtio_status(dev), 131);
	virtio_set_status(dev, 0);
	assert_int_equal(virtio_status(dev), 0);
	assert_int_equal(f->m.resets, 1);
	assert_int_equal(f->m.stops, 0);

	up(f, V1);
	assert_int_equal(virtio_status(dev), 15);
	assert_int_equal(f->m.starts, 1);
	/* Again starts nothing. */
	virtio_set_status(dev, 15);
	assert_int_equal(f->m.starts, 1);
	virtio_set_status(dev, 0);
	assert_int_equal(f->m.stops, 1);
	assert_int_equal(virtio_status(dev), 0);
	assert_int_equal(dev->features, 0);
	up(f, V1);
	assert_int_equal(f->m.starts, 2);
}

static void test_config(void **state)
{
	struct fix *f = *state;
	struct virtio_device *dev = &f->m.dev;
	uint8_t b[8];

	virtio_config_read(dev, 0, b, 4);
	assert_memory_equal(b, "\1\2\3\4", 4);
	virtio_config_read(dev, 8, b, 4);
	assert_memory_equal(b, "\11\12\0\0", 4);
	memset(b, 0xff, sizeof(b));
	virtio_config_read(dev, 10, b, 1);
	virtio_config_read(dev, UINT32_MAX, b + 1, 4);
	virtio_config_read(dev, UINT32_MAX - 1, b + 5, 2);
	assert_memory_equal(b, "\0\0\0\0\0\0\0\xff", 8);
	virtio_config_write(dev, 0, b, 4);
	virtio_config_write(dev, UINT32_MAX, b, 4);
	assert_int_equal(f->m.config[0], 1);

	pthread_mutex_lock(&dev->lock);
	virtio_config_changed(dev);
	pthread_mutex_unlock(&dev->lock);
	assert_int_equal(f->t.config, 0); /* nobody is there */
	assert_int_equal(dev->generation, 1);
	up(f, V1);
	pthread_mutex_lock(&dev->lock);
	virtio_config_changed(dev);
	pthread_mutex_unlock(&dev->lock);
	assert_int_equal(f->t.config, 1);
	assert_int_equal(dev->generation, 2);
}

/* ---- queues ---- */

static void test_setup(void **state)
{
	struct fix *f = *state;
	struct virtio_device *dev = &f->m.dev;
	struct virtio_queue_state *q = virtio_queue(dev, 0);

	assert_null(virtio_queue(dev, QUEUES));
	assert_int_equal(q->size_max, SIZE);
	assert_int_equal(q->vq.size, SIZE);
	/* Nothing happens to queues that are not there. */
	driver_enable(dev, QUEUES, &f->d[0]);
	driver_enable(dev, UINT32_MAX, &f->d[0]);
	virtio_queue_disable(dev, UINT32_MAX);
	virtio_kick(dev, UINT32_MAX);
	assert_int_equal(virtio_status(dev), 0);
	assert_true(driver_negotiate(dev, V1));
	driver_enable(dev, 0, &f->d[0]);
	assert_true(q->vq.enabled);
	/* Not while it is enabled. */
	virtio_queue_set_size(dev, 0, 4);
	virtio_queue_set_addr(dev, 0, VIRTIO_RING_USED, true, 1);
	assert_int_equal(q->vq.size, SIZE);
	assert_int_equal(q->vq.used_gpa, f->d[0].used);
	virtio_queue_disable(dev, 0);
	assert_false(q->vq.enabled);
	virtio_queue_set_size(dev, 0, 4);
	virtio_queue_set_addr(dev, 0, VIRTIO_RING_USED, true, 1);
	assert_int_equal(q->vq.size, 4);
	assert_int_equal(q->vq.used_gpa, (uint64_t)1 << 32);
	driver_ok(dev);
	virtio_queue_set_size(dev, 1, 4);
	driver_enable(dev, 1, &f->d[1]);
	assert_int_equal(virtio_queue(dev, 1)->vq.size, SIZE);
	assert_false(virtio_queue(dev, 1)->vq.enabled);
	virtio_set_status(dev, 0);
	assert_int_equal(q->vq.size, SIZE);
	assert_int_equal(q->vq.used_gpa, 0);
}

static void test_bad_enable(void **state)
{
	struct fix *f = *state;
	struct virtio_device *dev = &f->m.dev;
	struct driver bad = f->d[0];

	/* Before FEATURES_OK. */
	driver_enable(dev, 0, &f->d[0]);
	assert_false(virtio_queue(dev, 0)->vq.enabled);
	assert_int_equal(virtio_status(dev), VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(f->t.config, 0);
	for (unsigned int i = 0; i < 3; i++) {
		bad = f->d[0];
		if (i == 0)
			bad.size = SIZE * 2; /* more than was offered */
		else if (i == 1)
			bad.size = 3;
		else
			bad.used = GUEST_BASE + MEMORY - 8;
		assert_true(driver_negotiate(dev, V1));
		driver_enable(dev, 0, &bad);
		assert_false(virtio_queue(dev, 0)->vq.enabled);
		assert_true(virtio_status(dev) & VIRTIO_STATUS_NEEDS_RESET);
	}
	up(f, V1);
	assert_int_equal(virtio_status(dev), 15);
	/* One message for all of that, and it names the device. */
	assert_int_equal(f->m.messages, 1);
	assert_non_null(strstr(f->m.message, "model: "));
}

static void test_kick(void **state)
{
	struct fix *f = *state;
	struct virtio_device *dev = &f->m.dev;
	uint32_t id, len;

	NEED_URING();
	virtio_kick(dev, 0);
	assert_true(driver_negotiate(dev, V1));
	driver_enable(dev, 0, &f->d[0]);
	read_one(f, 0, 2);
	virtio_kick(dev, 0);
	assert_int_equal(f->m.kicks[0], 0);
	/* The buffers that were there before are found. */
	driver_ok(dev);
	assert_int_equal(f->m.kicks[0], 1);
	assert_int_equal(dev->inflight, 1);
	virtio_kick(dev, 0);
	assert_int_equal(f->m.kicks[0], 2);
	assert_int_equal(write(f->m.pipe[1], "z", 1), 1);
	assert_int_equal(halter_drain(f->halter, false), 0);
	assert_int_equal(dev->inflight, 0);
	assert_true(driver_used(&f->d[0], &id, &len));
	assert_int_equal(id, 2);
	assert_int_equal(*(char *)guest_ptr(&f->g, f->data + 2), 'z');
	assert_int_equal(f->t.queue[0], 1);
	assert_int_equal(f->t.queue[1], 0);
	virtio_set_status(dev, 0);
	virtio_kick(dev, 0);
	assert_int_equal(f->m.kicks[0], 2);
}

static void test_broken(void **state)
{
	struct fix *f = *state;
	struct virtio_device *dev = &f->m.dev;

	NEED_URING();
	up(f, V1);
	read_one(f, 1, 0);
	virtio_kick(dev, 1);
	driver_offer(&f->d[0], SIZE);
	for (int i = 0; i < 3; i++)
		virtio_kick(dev, 0);
	assert_int_equal(virtio_status(dev), 15 | VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(f->t.config, 1);
	assert_int_equal(f->m.messages, 1);
	assert_non_null(strstr(f->m.message, "head out of range"));
	assert_int_equal(dev->faults, 1); /* not one for each look at it */
	/* The other queue goes on. */
	assert_int_equal(write(f->m.pipe[1], "z", 1), 1);
	assert_int_equal(halter_drain(f->halter, false), 0);
	assert_int_equal(f->t.queue[1], 1);
	up(f, V1);
	assert_int_equal(virtio_status(dev), 15);
	assert_false(virtio_queue(dev, 0)->vq.broken);
}

/* ---- reset with requests in flight ---- */

/* Lets the requests of a device end once it is being reset. */
static void *release(void *arg)
{
	struct model *m = arg;

	while (atomic_load(&m->dev.running))
		usleep(1000);
	for (uint32_t i = atomic_load(&m->dev.inflight); i > 0; i--)
		assert_int_equal(write(m->pipe[1], "r", 1), 1);
	return NULL;
}

static void test_reset_own(void **state)
{
	struct fix *f = *state;
	pthread_t t;

	NEED_URING();
	for (int round = 0; round < 10; round++) {
		unsigned int before = f->m.done;

		up(f, V1);
		for (uint16_t i = 0; i < 3; i++)
			read_one(f, 0, i);
		read_one(f, 1, 7);
		virtio_kick(&f->m.dev, 0);
		virtio_kick(&f->m.dev, 1);
		assert_int_equal(f->m.dev.inflight, 4);
		assert_int_equal(pthread_create(&t, NULL, release, &f->m), 0);
		virtio_set_status(&f->m.dev, 0);
		assert_int_equal(f->m.done - before, 4);
		assert_int_equal(f->m.dev.inflight, 0);
		assert_false(f->m.seen_inflight_at_reset);
		pthread_join(t, NULL);
	}
}

/* A thread that runs tasks and completions, as a vCPU or the I/O thread does. */
struct worker {
	pthread_t thread;
	struct catnap_halter *h;
	_Atomic bool end;
};

static void *work(void *arg)
{
	struct worker *w = arg;

	halter_set_self(w->h);
	while (!atomic_load(&w->end)) {
		int cause;

		assert_true(halter_serve(w->h, halter_take(w->h)) >= 0);
		assert_int_equal(halter_halt(w->h, UINT64_MAX, &cause), 0);
	}
	assert_int_equal(halter_drain(w->h, false), 0);
	return NULL;
}

static void worker_start(struct worker *w)
{
	w->h = new_halter();
	atomic_store(&w->end, false);
	assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
}

static void worker_stop(struct worker *w)
{
	atomic_store(&w->end, true);
	catnap_halter_wake(w->h, 1 << 5);
	pthread_join(w->thread, NULL);
	catnap_halter_destroy(&w->h);
}

static void test_reset_other(void **state)
{
	struct fix *f = *state;
	struct worker w;
	pthread_t t;

	NEED_URING();
	worker_start(&w);
	f->m.dev.io = w.h;
	for (int round = 0; round < 20; round++) {
		unsigned int before = f->m.done;

		up(f, V1);
		for (uint16_t i = 0; i < 5; i++)
			read_one(f, 0, i);
		virtio_kick(&f->m.dev, 0);
		while (atomic_load(&f->m.dev.inflight) != 5)
			usleep(100);
		assert_ptr_equal(f->m.kicked_on, w.h);
		assert_int_equal(pthread_create(&t, NULL, release, &f->m), 0);
		virtio_set_status(&f->m.dev, 0);
		assert_int_equal(f->m.done - before, 5);
		assert_int_equal(f->m.dev.inflight, 0);
		pthread_join(t, NULL);
	}
	worker_stop(&w);
	f->m.dev.io = NULL;
}

/* A thread without a ring has its kicks done at home. */
static void test_home(void **state)
{
	struct fix *f = *state;
	struct worker w;

	NEED_URING();
	worker_start(&w);
	f->m.dev.home = w.h;
	halter_set_self(NULL);
	up(f, V1);
	read_one(f, 0, 0);
	virtio_kick(&f->m.dev, 0);
	while (atomic_load(&f->m.dev.inflight) != 1)
		usleep(100);
	assert_ptr_equal(f->m.kicked_on, w.h);
	assert_int_equal(write(f->m.pipe[1], "z", 1), 1);
	virtio_set_status(&f->m.dev, 0);
	assert_int_equal(f->m.done, 1);
	worker_stop(&w);
}

/* Two vCPUs, each of which resets the device whose requests are in the other's ring. */
struct crossed {
	struct fix *f;
	struct virtio_device *own, *other;
	pthread_barrier_t *barrier;
};

static void *cross(void *arg)
{
	struct crossed *c = arg;
	struct catnap_halter *h = new_halter();

	halter_set_self(h);
	virtio_kick(c->own, 0);
	pthread_barrier_wait(c->barrier);
	virtio_set_status(c->other, 0);
	halter_set_self(NULL);
	assert_int_equal(halter_drain(h, false), 0);
	catnap_halter_destroy(&h);
	return NULL;
}

static void test_reset_crossed(void **state)
{
	struct fix *f = *state;
	void *second = NULL;
	struct fix *g;
	pthread_barrier_t barrier;
	pthread_t threads[2], releasers[2];

	NEED_URING();
	setup(&second);
	g = second;
	for (int round = 0; round < 20; round++) {
		struct crossed c[2] = {{f, &f->m.dev, &g->m.dev, &barrier},
				       {g, &g->m.dev, &f->m.dev, &barrier}};

		pthread_barrier_init(&barrier, NULL, 2);
		up(f, V1);
		up(g, V1);
		for (uint16_t i = 0; i < 4; i++) {
			read_one(f, 0, i);
			read_one(g, 0, i);
		}
		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, cross, &c[i]), 0);
		while (atomic_load(&f->m.dev.inflight) + atomic_load(&g->m.dev.inflight) < 8 &&
		       atomic_load(&f->m.done) + atomic_load(&g->m.done) < 8u * (unsigned int)round)
			usleep(100);
		assert_int_equal(pthread_create(&releasers[0], NULL, release, &f->m), 0);
		assert_int_equal(pthread_create(&releasers[1], NULL, release, &g->m), 0);
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		for (int i = 0; i < 2; i++)
			pthread_join(releasers[i], NULL);
		assert_int_equal(f->m.dev.inflight, 0);
		assert_int_equal(g->m.dev.inflight, 0);
		pthread_barrier_destroy(&barrier);
	}
	assert_int_equal(f->m.done, 80);
	assert_int_equal(g->m.done, 80);
	teardown(&second);
	halter_set_self(NULL);
}

/* Two vCPUs reset the same device at once, again and again; others kick it. */
static void *storm(void *arg)
{
	struct fix *f = arg;
	struct catnap_halter *h = new_halter();

	halter_set_self(h);
	for (int i = 0; i < 300; i++) {
		virtio_set_status(&f->m.dev, 0);
		driver_negotiate(&f->m.dev, V1);
		driver_enable(&f->m.dev, 0, &f->d[0]);
		driver_ok(&f->m.dev);
		virtio_kick(&f->m.dev, 0);
		virtio_kick(&f->m.dev, 1);
		assert_true(halter_reap(h) >= 0);
	}
	virtio_set_status(&f->m.dev, 0);
	halter_set_self(NULL);
	catnap_halter_destroy(&h);
	return NULL;
}

static void test_reset_storm(void **state)
{
	struct fix *f = *state;
	pthread_t threads[3];

	NEED_URING();
	/* Everything that is begun can end at once. */
	for (int i = 0; i < 4096; i++)
		assert_int_equal(write(f->m.pipe[1], "s", 1), 1);
	for (uint16_t i = 0; i < 4; i++)
		read_one(f, 0, i);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, storm, f), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(f->m.dev.inflight, 0);
	assert_int_equal(virtio_status(&f->m.dev), 0);
	assert_false(f->m.seen_inflight_at_reset);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_features),    T(test_status), T(test_config),	    T(test_setup),
		T(test_bad_enable),  T(test_kick),   T(test_broken),	    T(test_reset_own),
		T(test_reset_other), T(test_home),   T(test_reset_crossed), T(test_reset_storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
