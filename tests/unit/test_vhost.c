/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user front end against a back end that does what it is told, one that goes and comes
 * again, and one that does each thing wrong at each step: the device ends or waits, in the time that
 * it was given, and no descriptor is left.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "../lib/usage.h"
#include "back_end.h"
#include "devices/vhost/vhost.h"
#include "poll/clock.h"
#include "vdev.h"

#define MEMORY	       (1u << 20)
#define QUEUE	       16
#define PATIENCE       UINT64_C(30000000)
#define F_FLUSH	       9
#define F_CONFIG_WCE   11
#define F_MQ	       12
#define NEEDS_RESET(v) (virtio_status((v)->dev) & VIRTIO_STATUS_NEEDS_RESET)

static const struct vhost_kind kind = {.id = 2,
				       .features = FEATURE(F_FLUSH) | FEATURE(F_MQ) |
						   FEATURE(F_CONFIG_WCE),
				       .config_len = 60,
				       .remote = true,
				       .write_at = 32,
				       .write_len = 1,
				       .caches = FEATURE(F_FLUSH) | FEATURE(F_CONFIG_WCE),
				       .flush = FEATURE(F_FLUSH),
				       .queues_at = 34,
				       .mq = F_MQ};

#define F_CTRL_VQ 17
#define F_NET_MQ  22

static const struct vhost_kind net_kind = {.id = 1,
					   .features = FEATURE(F_NET_MQ),
					   .own = FEATURE(F_CTRL_VQ),
					   .config_len = 12,
					   .in_order = true,
					   .pairs = true,
					   .mq = F_NET_MQ};

struct bench {
	const struct vhost_kind *kind; /* NULL: a disk */
	struct vdev *v;
	uint64_t patience;
	struct vhost *vhost;
	int memory;
	char path[64];
	char log[512]; /* the last message */
	unsigned int logs;
};

static void log_message(void *ctx, const char *message)
{
	struct bench *b = ctx;

	snprintf(b->log, sizeof(b->log), "%s", message);
	b->logs++;
}

/* With guest memory that a back end can map. */
static void begin_guest(struct bench *b)
{
	b->v = vdev_make(MEMORY);
	free(b->v->g.mem);
	b->v->g.mem = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, b->memory, 0);
	if (b->v->g.mem == MAP_FAILED)
		abort();
	memset(b->v->g.mem, 0, MEMORY);
}

static void end_guest(struct bench *b)
{
	munmap(b->v->g.mem, MEMORY);
	b->v->g.mem = NULL;
	vdev_free(b->v);
}

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	if (!b)
		return -1;
	b->memory = memfd_create("guest", MFD_CLOEXEC);
	if (b->memory < 0 || ftruncate(b->memory, MEMORY) < 0)
		return -1;
	snprintf(b->path, sizeof(b->path), "/tmp/catnap-vhost-%d", (int)getpid());
	begin_guest(b);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	end_guest(b);
	close(b->memory);
	unlink(b->path);
	free(b);
	return 0;
}

static int make(struct bench *b, int socket, const char *path, unsigned int queues,
		struct error *err)
{
	struct vhost_config cfg = {.kind = b->kind ? b->kind : &kind,
				   .name = "disk vhost",
				   .queues = queues,
				   .path = path,
				   .socket = socket,
				   .memory_fd = b->memory,
				   .region_count = 1,
				   .dma = &b->v->g.dma,
				   .log = log_message,
				   .log_ctx = b,
				   .patience_ns = b->patience};
	struct catnap_halter *homes[VHOST_QUEUES_MAX];
	int ret;

	cfg.regions[0] = (struct vhost_region){GUEST_BASE, MEMORY, (uintptr_t)b->v->g.mem, 0};
	ret = vhost_create(&cfg, &b->vhost, err);
	if (ret < 0) {
		close(socket);
		return ret;
	}
	for (unsigned int i = 0; i < queues; i++)
		homes[i] = &b->v->home;
	vhost_device(b->vhost)->home = &b->v->home;
	vdev_use(b->v, vhost_device(b->vhost));
	assert_int_equal(vhost_attach(b->vhost, homes), 0);
	return 0;
}

static void must_make(struct bench *b, int socket, const char *path, unsigned int queues)
{
	struct error err = {.text = ""};

	if (make(b, socket, path, queues, &err) < 0)
		fail_msg("%s", err.text);
}

/* And the guest with it, whose halter has its sources. */
static void unmake(struct bench *b)
{
	vhost_destroy(&b->vhost);
	end_guest(b);
	begin_guest(b);
}

static bool done(struct vdev *v, unsigned int queue, unsigned int *count)
{
	uint32_t id, len;

	while (driver_used(&v->q[queue], &id, &len))
		(*count)--;
	return *count == 0;
}

static void offer(struct vdev *v, unsigned int queue, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		vdev_offer1(v, queue, vdev_alloc(v, 64), 64, true);
	virtio_kick(v->dev, queue);
}

static void requests_are_served_in_each_queue(void **state)
{
	struct bench *b = *state;
	struct vdev *v = b->v;
	struct back back;

	back_init(&back);
	must_make(b, back_begin(&back), NULL, 3);
	for (int round = 0; round < 3; round++) {
		vdev_start(v, FEATURE(F_FLUSH), 3, QUEUE);
		assert_int_equal(back.acked, FEATURE(32) | FEATURE(30) | FEATURE(F_FLUSH));
		for (unsigned int i = 0; i < 3; i++) {
			unsigned int before = v->queue_irqs[i], left = 5;

			offer(v, i, left);
			vdev_until(v, done(v, i, &left));
			vdev_until(v, v->queue_irqs[i] > before);
		}
		virtio_set_status(v->dev, 0);
		assert_false(back.q[0].started);
	}
	assert_int_equal(b->logs, 0);
	back_end(&back);
	unmake(b);
}

/* Gives the control queue a command. Returns the device's answer. */
static uint8_t command(struct vdev *v, unsigned int queue, const void *bytes, uint32_t len)
{
	const uint64_t at[] = {vdev_alloc(v, 16), vdev_alloc(v, 16)};
	const uint32_t lens[] = {len, 1};
	uint8_t *ack = guest_ptr(&v->g, at[1]);
	unsigned int left = 1;

	memcpy(guest_ptr(&v->g, at[0]), bytes, len);
	*ack = 0xee;
	vdev_offer(v, queue, at, lens, 2, 1);
	virtio_kick(v->dev, queue);
	vdev_until(v, done(v, queue, &left));
	return *ack;
}

/* Returns which rings are in use, a bit each. */
static unsigned int rings(const struct back *back)
{
	unsigned int bits = 0;

	for (unsigned int i = 0; i < BACK_QUEUES; i++)
		bits |= (unsigned int)(back->q[i].started && back->q[i].enabled) << i;
	return bits;
}

static void pairs_are_used_as_the_driver_says(void **state)
{
	static const uint8_t two[] = {4, 0, 2, 0}, one[] = {4, 0, 1, 0}, none[] = {4, 0, 0, 0},
			     three[] = {4, 0, 3, 0}, other[] = {0, 0, 1, 0};
	struct bench *b = *state;
	struct vdev *v = b->v;
	unsigned int left = 3;
	struct back back;

	b->kind = &net_kind;
	back_init(&back);
	back.features |= FEATURE(F_NET_MQ);
	must_make(b, back_begin(&back), NULL, 4);
	assert_int_equal(v->dev->queue_count, 5);
	vdev_start(v, FEATURE(F_NET_MQ) | FEATURE(F_CTRL_VQ), 5, QUEUE);
	/* The control queue and its feature are nothing to the back end. */
	assert_int_equal(back.acked, FEATURE(32) | FEATURE(30) | FEATURE(F_NET_MQ));
	assert_int_equal(rings(&back), 0x3);
	assert_int_equal(command(v, 4, two, sizeof(two)), 0);
	assert_int_equal(rings(&back), 0xf);
	offer(v, 3, left);
	vdev_until(v, done(v, 3, &left));
	assert_int_equal(command(v, 4, three, sizeof(three)), 1);
	assert_int_equal(command(v, 4, none, sizeof(none)), 1);
	assert_int_equal(command(v, 4, other, sizeof(other)), 1);
	assert_int_equal(command(v, 4, two, 3), 1);
	assert_int_equal(rings(&back), 0xf);
	assert_int_equal(command(v, 4, one, sizeof(one)), 0);
	assert_int_equal(rings(&back), 0x3);
	/* After a reset there is one again. */
	command(v, 4, two, sizeof(two));
	virtio_set_status(v->dev, 0);
	vdev_start(v, FEATURE(F_NET_MQ) | FEATURE(F_CTRL_VQ), 5, QUEUE);
	assert_int_equal(rings(&back), 0x3);
	/* A driver without it has one, whatever it sets up. */
	virtio_set_status(v->dev, 0);
	vdev_start(v, 0, 3, QUEUE);
	assert_int_equal(rings(&back), 0x3);
	assert_false(back.q[2].started);
	assert_int_equal(b->logs, 0);
	back_end(&back);
	unmake(b);
	b->kind = NULL;
}

/* The next back end has as many pairs as the last one had. */
static void pairs_stay_with_another_back_end(void **state)
{
	static const uint8_t two[] = {4, 0, 2, 0};
	struct bench *b = *state;
	struct vdev *v = b->v;
	struct back back, next;
	int socket;

	b->kind = &net_kind;
	back_init(&back);
	back.features |= FEATURE(F_NET_MQ);
	back_listen(&back, b->path);
	assert_int_equal(vhost_connect(b->path, &socket), 0);
	must_make(b, socket, b->path, 4);
	vdev_start(v, FEATURE(F_NET_MQ) | FEATURE(F_CTRL_VQ), 5, QUEUE);
	assert_int_equal(command(v, 4, two, sizeof(two)), 0);
	back_end(&back);
	back_init(&next);
	next.features |= FEATURE(F_NET_MQ);
	back_listen(&next, b->path);
	vdev_until(v, rings(&next) == 0xf);
	back_end(&next);
	unmake(b);
	b->kind = NULL;
}

static void configuration_is_the_back_ends(void **state)
{
	const struct vhost_message change = {.head = {2, VHOST_VERSION, 0}};
	struct bench *b = *state;
	struct back back;
	uint16_t queues;
	uint8_t value = 0;
	unsigned int before;

	back_init(&back);
	must_make(b, back_begin(&back), NULL, 2);
	vdev_start(b->v, 0, 2, QUEUE);
	virtio_config_read(b->v->dev, 0, &value, 1);
	assert_int_equal(value, 8);
	virtio_config_read(b->v->dev, 34, &queues, 2);
	assert_int_equal(queues, 2);
	/* One byte may be written, and nothing else. */
	assert_int_equal(back.config_writes, 1);
	value = 0;
	virtio_config_write(b->v->dev, 32, &value, 1);
	assert_int_equal(back.config_writes, 2);
	virtio_config_write(b->v->dev, 0, &value, 1);
	virtio_config_write(b->v->dev, 33, &value, 1);
	virtio_config_write(b->v->dev, 31, &queues, 2);
	assert_int_equal(back.config_writes, 2);
	virtio_config_read(b->v->dev, 32, &value, 1);
	assert_int_equal(value, 0);
	/* It says that something has changed; what it has not said before is no news. */
	before = b->v->config_irqs;
	back.config[0] = 99;
	assert_int_equal(send(back.channel, &change, 12, 0), 12);
	vdev_until(b->v, b->v->config_irqs == before + 1);
	virtio_config_read(b->v->dev, 0, &value, 1);
	assert_int_equal(value, 99);
	assert_int_equal(send(back.channel, &change, 12, 0), 12);
	for (int i = 0; i < 20; i++)
		vdev_turn(b->v);
	assert_int_equal(b->v->config_irqs, before + 1);
	back_end(&back);
	unmake(b);
}

static uint8_t cache_byte(const struct bench *b)
{
	uint8_t value = 7;

	virtio_config_read(b->v->dev, 32, &value, 1);
	return value;
}

/* Whether the device caches writes is the driver's to say, 1 at first, and the back end is told. */
static void whether_it_caches_writes_is_the_drivers(void **state)
{
	const struct vhost_message change = {.head = {2, VHOST_VERSION, 0}};
	struct bench *b = *state;
	struct back back, other;
	const uint8_t off = 0;

	back_init(&back);
	must_make(b, back_begin(&back), NULL, 1);
	assert_int_equal(back.config[32], 0);
	/* A driver without flushes needs one that does not. */
	vdev_start(b->v, 0, 1, QUEUE);
	assert_int_equal(back.config_writes, 1);
	assert_int_equal(back.written_at, 32);
	assert_int_equal(back.written, 0);
	virtio_set_status(b->v->dev, 0);
	vdev_start(b->v, FEATURE(F_FLUSH) | FEATURE(F_CONFIG_WCE), 1, QUEUE);
	assert_int_equal(back.config_writes, 2);
	assert_int_equal(back.written, 1);
	assert_int_equal(cache_byte(b), 1);
	/* What it says later does not count, either. */
	back.config[0] = 99;
	assert_int_equal(send(back.channel, &change, 12, 0), 12);
	vdev_until(b->v, b->v->config_irqs == 1);
	assert_int_equal(cache_byte(b), 1);
	virtio_config_write(b->v->dev, 32, &off, 1);
	assert_int_equal(back.config_writes, 3);
	assert_int_equal(back.written, 0);
	back_end(&back);
	unmake(b);
	/* One that has no flushes is left alone. */
	back_init(&other);
	other.features &= ~FEATURE(F_FLUSH);
	must_make(b, back_begin(&other), NULL, 1);
	vdev_start(b->v, 0, 1, QUEUE);
	assert_int_equal(other.config_writes, 0);
	assert_int_equal(cache_byte(b), 0);
	back_end(&other);
	unmake(b);
}

/* What a back end that is killed has cached is lost, and the next one does not know: none may. */
static void one_that_may_be_replaced_does_not_cache(void **state)
{
	struct bench *b = *state;
	struct back first, second;
	const uint8_t on = 1;
	int socket;

	back_init(&first);
	back_init(&second);
	atomic_store(&first.written, 7);
	atomic_store(&second.written, 7);
	back_listen(&first, b->path);
	assert_int_equal(vhost_connect(b->path, &socket), 0);
	must_make(b, socket, b->path, 1);
	vdev_start(b->v, FEATURE(F_FLUSH) | FEATURE(F_CONFIG_WCE), 1, QUEUE);
	assert_int_equal(first.written, 0);
	assert_int_equal(cache_byte(b), 1);
	virtio_config_write(b->v->dev, 32, &on, 1);
	assert_int_equal(first.config_writes, 2);
	assert_int_equal(first.written, 0);
	back_end(&first);
	back_listen(&second, b->path);
	vdev_until(b->v, second.q[0].enabled);
	assert_int_equal(second.written, 0);
	/* And to the driver nothing is new. */
	assert_int_equal(cache_byte(b), 1);
	assert_int_equal(b->v->config_irqs, 0);
	back_end(&second);
	unmake(b);
}

/* As a new process finds it: what was in flight is done by it, once. */
static void another_back_end_goes_on(void **state)
{
	struct bench *b = *state;

	for (int list = 0; list < 2; list++) {
		struct back first, second;
		unsigned int left = 3, before;
		int socket;

		back_init(&first);
		back_init(&second);
		if (list) {
			first.protocol |= 1u << VHOST_PROTOCOL_INFLIGHT_SHMFD;
			second.protocol = first.protocol;
		}
		back_listen(&first, b->path);
		assert_int_equal(vhost_connect(b->path, &socket), 0);
		must_make(b, socket, b->path, 1);
		vdev_start(b->v, 0, 1, QUEUE);
		offer(b->v, 0, 3);
		vdev_until(b->v, done(b->v, 0, &left));
		atomic_store(&first.holds, true);
		offer(b->v, 0, 4);
		left = 4;
		assert_int_equal(first.inflights, list);
		back_end(&first);
		vdev_until(b->v, strstr(b->log, "its back end has gone") != NULL);
		assert_false(NEEDS_RESET(b->v));
		before = b->v->queue_irqs[0];
		back_listen(&second, b->path);
		vdev_until(b->v, done(b->v, 0, &left));
		vdev_until(b->v, b->v->queue_irqs[0] > before);
		assert_int_equal(second.requests, 4);
		assert_int_equal(second.bases[0], 3);
		assert_int_equal(second.inflights, list);
		offer(b->v, 0, 2);
		left = 2;
		vdev_until(b->v, done(b->v, 0, &left));
		back_end(&second);
		unmake(b);
	}
}

/* A device that had none at the time finds one later; and so does one that is begun meanwhile. */
static void a_device_begins_without_a_back_end(void **state)
{
	struct bench *b = *state;
	struct back first, second;
	unsigned int left = 2;
	int socket;

	back_init(&first);
	back_init(&second);
	back_listen(&first, b->path);
	assert_int_equal(vhost_connect(b->path, &socket), 0);
	must_make(b, socket, b->path, 1);
	back_end(&first);
	vdev_until(b->v, b->logs > 0);
	vdev_start(b->v, 0, 1, QUEUE);
	assert_false(NEEDS_RESET(b->v));
	offer(b->v, 0, 2);
	virtio_set_status(b->v->dev, 0);
	vdev_start(b->v, 0, 1, QUEUE);
	offer(b->v, 0, 2);
	back_listen(&second, b->path);
	vdev_until(b->v, done(b->v, 0, &left));
	assert_int_equal(second.requests, 2);
	back_end(&second);
	unmake(b);
}

/* It has used the last first, and died: each of the others is done once. */
static void one_that_was_not_in_order_is_followed(void **state)
{
	struct bench *b = *state;
	unsigned int left = 3;
	struct back first, second;
	int socket;

	back_init(&first);
	back_init(&second);
	atomic_store(&first.backwards, true);
	back_listen(&first, b->path);
	assert_int_equal(vhost_connect(b->path, &socket), 0);
	must_make(b, socket, b->path, 1);
	vdev_start(b->v, 0, 1, QUEUE);
	offer(b->v, 0, 3);
	vdev_until(b->v, atomic_load(&first.requests) >= 1);
	back_end(&first);
	back_listen(&second, b->path);
	vdev_until(b->v, done(b->v, 0, &left));
	assert_int_equal(first.requests + second.requests, 3);
	assert_int_equal(second.requests, 2);
	back_end(&second);
	unmake(b);
}

/* Nobody knows which requests it had: none is done twice, and the driver is told. */
static void one_whose_requests_are_not_known_ends_the_device(void **state)
{
	struct bench *b = *state;
	struct back back;
	int socket;

	back_init(&back);
	back_listen(&back, b->path);
	assert_int_equal(vhost_connect(b->path, &socket), 0);
	must_make(b, socket, b->path, 1);
	vdev_start(b->v, 0, 1, QUEUE);
	/* More than a ring shows, and nobody has looked meanwhile. */
	for (unsigned int i = 0; i < 3; i++) {
		unsigned int left = QUEUE - 1;

		offer(b->v, 0, left);
		while (!done(b->v, 0, &left))
			poll(NULL, 0, 1);
	}
	atomic_store(&back.holds, true);
	offer(b->v, 0, 1);
	back_end(&back);
	vdev_until(b->v, NEEDS_RESET(b->v));
	assert_int_equal(b->v->told[VIRTIO_EVENT_NEEDS_RESET], 1);
	assert_non_null(strstr(b->v->told_text, "which requests it had is not known"));
	/* After a reset it waits for the next. */
	vdev_start(b->v, 0, 1, QUEUE);
	assert_false(NEEDS_RESET(b->v));
	unmake(b);
}

static void one_that_is_not_taken_back_ends_the_device(void **state)
{
	struct bench *b = *state;
	struct back back;

	back_init(&back);
	must_make(b, back_begin(&back), NULL, 1);
	vdev_start(b->v, 0, 1, QUEUE);
	back_end(&back);
	vdev_until(b->v, NEEDS_RESET(b->v));
	assert_non_null(strstr(b->v->told_text, "its back end has gone"));
	assert_true(b->v->config_irqs >= 1);
	/* A reset does not bring it back. */
	vdev_start(b->v, 0, 1, QUEUE);
	assert_true(NEEDS_RESET(b->v));
	assert_int_equal(b->v->told[VIRTIO_EVENT_NEEDS_RESET], 2);
	unmake(b);
}

/* Another one at the same socket, which cannot be the device's, is not taken; the right one is. */
static void a_back_end_that_does_not_fit_is_not_taken(void **state)
{
	struct bench *b = *state;
	struct back first, second, third;
	unsigned int left = 1;
	int socket;

	back_init(&first);
	back_init(&second);
	back_init(&third);
	second.features &= ~FEATURE(F_FLUSH);
	back_listen(&first, b->path);
	assert_int_equal(vhost_connect(b->path, &socket), 0);
	must_make(b, socket, b->path, 1);
	vdev_start(b->v, FEATURE(F_FLUSH), 1, QUEUE);
	back_end(&first);
	back_listen(&second, b->path);
	vdev_until(b->v, atomic_load(&second.messages) >= 4);
	for (int i = 0; i < 50; i++) {
		vdev_turn(b->v);
		poll(NULL, 0, 1);
	}
	assert_int_equal(second.acked, 0);
	back_end(&second);
	offer(b->v, 0, 1);
	back_listen(&third, b->path);
	vdev_until(b->v, done(b->v, 0, &left));
	back_end(&third);
	unmake(b);
}

/* -- what is wrong ---------------------------------------------------------------------------- */

#define STEPS 40

/* Begin, run, configure, end, with a back end that does @fault at message @at. Returns how many
 * messages there were. */
static unsigned int try(struct bench *b, enum back_fault fault, unsigned int at, bool again)
{
	struct error err = {.text = ""};
	uint64_t begin = clock_monotonic_ns();
	unsigned int messages, left = 2;
	struct back back;
	uint8_t value = 1;
	int socket, ret;

	back_init(&back);
	back.protocol |= 1u << VHOST_PROTOCOL_INFLIGHT_SHMFD;
	back.fault = fault;
	back.at = at;
	if (again) {
		back_listen(&back, b->path);
		assert_int_equal(vhost_connect(b->path, &socket), 0);
	} else {
		socket = back_begin(&back);
	}
	ret = make(b, socket, again ? b->path : NULL, 2, &err);
	if (ret < 0) {
		assert_true(err.text[0] != '\0');
	} else {
		vdev_start(b->v, FEATURE(F_FLUSH), 2, QUEUE);
		virtio_config_write(b->v->dev, 32, &value, 1);
		offer(b->v, 0, 2);
		/* One without a fault is waited for: a busy host takes its time. */
		for (int i = 0; i < (fault == BACK_FINE ? 4000 : 30) && !done(b->v, 0, &left) &&
				!NEEDS_RESET(b->v);
		     i++) {
			vdev_turn(b->v);
			poll(NULL, 0, 1);
		}
		if (fault == BACK_FINE)
			assert_int_equal(left, 0);
		virtio_set_status(b->v->dev, 0);
		assert_int_equal(virtio_status(b->v->dev), 0);
	}
	back_end(&back);
	messages = back.messages;
	if (ret == 0)
		unmake(b);
	/* No step waits longer than it may, and none after the first that did. */
	assert_true(clock_monotonic_ns() - begin < UINT64_C(5000000000));
	return messages;
}

static void each_fault_at_each_step_ends_the_device(void **state)
{
	struct bench *b = *state;
	unsigned int steps = try(b, BACK_FINE, 0, false), before;

	assert_in_range(steps, 20, STEPS);
	before = descriptors();
	for (int fault = BACK_FINE; fault < BACK_FAULTS; fault++) {
		/* One without a fault may be late on a busy host. */
		b->patience = fault == BACK_FINE ? 0 : PATIENCE;
		for (unsigned int at = 1; at <= steps; at++) {
			try(b, (enum back_fault)fault, at, false);
			if (descriptors() != before)
				fail_msg("fault %d at %u: %u descriptors, before it was %u", fault,
					 at, descriptors(), before);
		}
	}
	/* And where it is waited for again. */
	for (int fault = BACK_CLOSES; fault <= BACK_SHORT; fault++)
		for (unsigned int at = 1; at <= steps; at += 3)
			try(b, (enum back_fault)fault, at, true);
	assert_int_equal(descriptors(), before);
}

/* A back end that never stops asking has its turn, and no more. */
static void requests_without_end_do_not_hold_the_thread(void **state)
{
	const struct vhost_message change = {.head = {2, VHOST_VERSION | VHOST_NEED_REPLY, 0}};
	struct bench *b = *state;
	struct back back;
	uint64_t begin;
	int sent = 0;

	back_init(&back);
	must_make(b, back_begin(&back), NULL, 1);
	vdev_start(b->v, 0, 1, QUEUE);
	while (sent < 1000 && send(back.channel, &change, 12, MSG_DONTWAIT) == 12)
		sent++;
	begin = clock_monotonic_ns();
	vdev_turn(b->v);
	assert_true(clock_monotonic_ns() - begin < UINT64_C(2000000000));
	assert_int_equal(b->v->config_irqs, 0);
	back_end(&back);
	unmake(b);
}

static void what_nobody_has_asked_for_is_the_end(void **state)
{
	struct bench *b = *state;
	struct back back;

	back_init(&back);
	back.twice = true;
	must_make(b, back_begin(&back), NULL, 1);
	vdev_start(b->v, 0, 1, QUEUE);
	assert_int_equal(send(back.again, "hello", 5, 0), 5);
	vdev_until(b->v, NEEDS_RESET(b->v));
	assert_non_null(strstr(b->v->told_text, "its back end has gone"));
	back_end(&back);
	close(back.again);
	unmake(b);
}

static void what_is_missing_is_named(void **state)
{
	static const struct {
		uint64_t features, protocol;
		unsigned int queues;
		int ret;
		const char *says;
	} lacks[] = {
		{BACK_FEATURES & ~FEATURE(32), BACK_PROTOCOL, 1, -ENOTSUP, "virtio 1"},
		{BACK_FEATURES, BACK_PROTOCOL & ~FEATURE(9), 1, -ENOTSUP, "configuration"},
		{BACK_FEATURES & ~FEATURE(30), 0, 1, -ENOTSUP, "configuration"},
		{BACK_FEATURES & ~FEATURE(F_MQ), BACK_PROTOCOL, 2, -EINVAL, "the back end has 1"},
		{BACK_FEATURES, BACK_PROTOCOL, 5, -EINVAL, "queues: 5: the back end has 4"},
	};
	struct bench *b = *state;

	for (size_t i = 0; i < sizeof(lacks) / sizeof(lacks[0]); i++) {
		struct error err = {.text = ""};
		struct back back;

		back_init(&back);
		back.features = lacks[i].features;
		back.protocol = lacks[i].protocol;
		assert_int_equal(make(b, back_begin(&back), NULL, lacks[i].queues, &err),
				 lacks[i].ret);
		assert_non_null(strstr(err.text, lacks[i].says));
		back_end(&back);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(requests_are_served_in_each_queue, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(pairs_are_used_as_the_driver_says, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(pairs_stay_with_another_back_end, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(configuration_is_the_back_ends, set_up, tear_down),
		cmocka_unit_test_setup_teardown(whether_it_caches_writes_is_the_drivers, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(one_that_may_be_replaced_does_not_cache, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(another_back_end_goes_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_device_begins_without_a_back_end, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(one_that_was_not_in_order_is_followed, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(one_whose_requests_are_not_known_ends_the_device,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_is_not_taken_back_ends_the_device, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_back_end_that_does_not_fit_is_not_taken, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(each_fault_at_each_step_ends_the_device, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(requests_without_end_do_not_hold_the_thread, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_nobody_has_asked_for_is_the_end, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_is_missing_is_named, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
