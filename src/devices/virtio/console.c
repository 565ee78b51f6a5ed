/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See console.h. Lock order: the device's, or a queue's, and then that of the input. None of them
 * is held while output leaves: it is copied first, so that what a reset gives back to the driver is
 * not looked at any more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "devices/outlet.h"
#include "devices/virtio/console.h"

#define F_SIZE		0
#define F_EMERGENCY	2
#define CONSOLE_BUFFERS VQ_SIZE_MAX /* in one chain */
#define OUTPUT_TURN	(64u << 10) /* bytes before others on the thread have their turn */
#define OUTPUT_PIECE	4096u	    /* that leave in one call */
#define INPUT_BATCH	VQ_SIZE_MAX

enum { CONSOLE_RX, CONSOLE_TX, CONSOLE_QUEUES };

struct config_space {
	uint16_t cols, rows;
	uint32_t max_ports;
	uint32_t emergency;
};

_Static_assert(sizeof(struct config_space) == 12 && offsetof(struct config_space, emergency) == 8,
	       "the driver sees this");

struct console {
	struct virtio_device dev;
	struct config_space config; /* under the device's lock */
	struct outlet outlet;
	struct halter_task rx_task, tx_task;

	/* Under the transmit queue's lock: the chain in hand, and how much of it has been output;
	 * whether a thread is at it, with the lock left, and how often this was all forgotten. */
	struct vq_chain chain;
	bool in_hand, leaving;
	uint32_t done;
	/* Before a snapshot it was in hand, and so much of it was output: it comes first. */
	bool resumes;
	uint32_t resume_at;
	uint64_t resets;
	struct iovec iov[CONSOLE_BUFFERS];

	pthread_mutex_t input_lock;
	/* Under the input's lock: a ring. */
	uint8_t input[CONSOLE_INPUT];
	size_t first, used;
};

static struct console *to_console(struct virtio_device *dev)
{
	return container_of(dev, struct console, dev);
}

static bool usable(struct console *c, unsigned int index)
{
	const struct virtqueue *vq = &c->dev.queues[index].vq;

	return atomic_load(&c->dev.running) && vq->enabled && !vq->broken;
}

/* -- output ----------------------------------------------------------------------------------- */

/* Copies at most @max bytes of the chain in hand that have not been output. How many. */
static uint32_t copy_out(const struct console *c, uint8_t *to, uint32_t max)
{
	uint32_t skip = c->done, copied = 0;

	for (unsigned int i = 0; i < c->chain.out && copied < max; i++) {
		size_t n = c->iov[i].iov_len;

		if (skip >= n) {
			skip -= (uint32_t)n;
			continue;
		}
		n -= skip;
		if (n > max - copied)
			n = max - copied;
		memcpy(to + copied, (const char *)c->iov[i].iov_base + skip, n);
		skip = 0;
		copied += (uint32_t)n;
	}
	return copied;
}

/* Puts out at most @max bytes of the chain in hand, and gives the chain back if that was all of it.
 * Returns how many. The lock is held, but not while output leaves. */
static uint32_t put_out(struct console *c, struct virtqueue *vq, uint32_t max)
{
	uint8_t piece[OUTPUT_PIECE];
	uint32_t n = copy_out(c, piece, max < sizeof(piece) ? max : (uint32_t)sizeof(piece));
	uint64_t resets = c->resets;

	c->leaving = true;
	pthread_mutex_unlock(&vq->lock);
	outlet_put(&c->outlet, piece, n);
	pthread_mutex_lock(&vq->lock);
	c->leaving = false;
	if (resets != c->resets)
		return n; /* of a driver that has gone */
	c->done += n;
	if (c->done < c->chain.out_len)
		return n;
	virtio_count(&c->dev.counters.requests, 1);
	virtio_count(&c->dev.counters.written_bytes, c->done);
	vq_push(vq, c->chain.head, 0);
	c->in_hand = false;
	return n;
}

/* Takes a chain in hand. Returns as vq_pop(): 1 if there is one in hand. The lock is held. */
static int take_in_hand(struct console *c, struct virtqueue *vq)
{
	int ret = 1;

	if (c->in_hand)
		return ret;
	do {
		c->chain = (struct vq_chain){.iov = c->iov, .max = CONSOLE_BUFFERS};
		ret = vq_pop(vq, &c->chain);
	} while (ret == 0 && vq_kicks(vq, true));
	c->in_hand = ret > 0;
	c->done = 0;
	if (c->resumes && c->in_hand)
		c->done = c->resume_at < c->chain.out_len ? c->resume_at : c->chain.out_len;
	c->resumes = c->resumes && !c->in_hand;
	return ret;
}

/* Puts out all that there is. One thread does at a time, which also finds what others kick for
 * meanwhile. */
static void transmit(struct console *c)
{
	struct virtqueue *vq = &c->dev.queues[CONSOLE_TX].vq;
	uint32_t left = OUTPUT_TURN;
	unsigned int batch = 0;
	int ret = 1;

	pthread_mutex_lock(&vq->lock);
	if (c->leaving) {
		pthread_mutex_unlock(&vq->lock);
		return;
	}
	while (usable(c, CONSOLE_TX) && left && batch++ < VQ_SIZE_MAX) {
		ret = take_in_hand(c, vq);
		if (ret <= 0)
			break;
		left -= put_out(c, vq, left);
	}
	virtio_publish(&c->dev, CONSOLE_TX);
	if (ret < 0)
		virtio_broken(&c->dev, vq->fault);
	else if (ret > 0 && usable(c, CONSOLE_TX))
		halter_post(c->dev.home, &c->tx_task);
	pthread_mutex_unlock(&vq->lock);
}

static void tx_again(struct halter_task *task)
{
	transmit(container_of(task, struct console, tx_task));
}

/* -- input ------------------------------------------------------------------------------------ */

/* Moves input to a chain; how much. */
static uint32_t take_input(struct console *c, const struct vq_chain *chain)
{
	size_t done = 0;

	pthread_mutex_lock(&c->input_lock);
	while (c->used) {
		size_t n = c->used < CONSOLE_INPUT - c->first ? c->used : CONSOLE_INPUT - c->first;

		n = iov_write(chain->iov + chain->out, chain->in, done, c->input + c->first, n);
		if (n == 0)
			break;
		c->first = (c->first + n) % CONSOLE_INPUT;
		c->used -= n;
		done += n;
	}
	pthread_mutex_unlock(&c->input_lock);
	return (uint32_t)done;
}

static bool has_input(struct console *c)
{
	bool has;

	pthread_mutex_lock(&c->input_lock);
	has = c->used != 0;
	pthread_mutex_unlock(&c->input_lock);
	return has;
}

static void receive(struct console *c)
{
	struct virtqueue *vq = &c->dev.queues[CONSOLE_RX].vq;
	struct iovec iov[CONSOLE_BUFFERS];
	unsigned int batch = 0;
	int ret = 0;

	pthread_mutex_lock(&vq->lock);
	while (usable(c, CONSOLE_RX) && has_input(c)) {
		struct vq_chain chain = {.iov = iov, .max = CONSOLE_BUFFERS};
		uint32_t n;

		if (batch++ == INPUT_BATCH) {
			halter_post(c->dev.home, &c->rx_task);
			break;
		}
		ret = vq_pop(vq, &chain);
		if (ret == 0 && vq_kicks(vq, true))
			continue;
		if (ret <= 0)
			break;
		n = take_input(c, &chain);
		virtio_count(&c->dev.counters.requests, 1);
		virtio_count(&c->dev.counters.read_bytes, n);
		vq_push(vq, chain.head, n);
	}
	virtio_publish(&c->dev, CONSOLE_RX);
	if (ret < 0)
		virtio_broken(&c->dev, vq->fault);
	pthread_mutex_unlock(&vq->lock);
}

static void rx_again(struct halter_task *task)
{
	receive(container_of(task, struct console, rx_task));
}

size_t console_input(struct console *c, const void *data, size_t len)
{
	size_t n, part;

	if (!atomic_load(&c->dev.running))
		return 0;
	pthread_mutex_lock(&c->input_lock);
	n = CONSOLE_INPUT - c->used;
	if (n > len)
		n = len;
	for (size_t done = 0; done < n; done += part) {
		size_t at = (c->first + c->used) % CONSOLE_INPUT;

		part = n - done < CONSOLE_INPUT - at ? n - done : CONSOLE_INPUT - at;
		memcpy(c->input + at, (const char *)data + done, part);
		c->used += part;
	}
	pthread_mutex_unlock(&c->input_lock);
	if (n)
		halter_post(c->dev.home, &c->rx_task);
	return n;
}

/* -- the device ------------------------------------------------------------------------------- */

/* Takes an emergency write (5.3.5.1): at any time, also of a driver that has not begun. */
static void config_written(struct virtio_device *dev, uint32_t offset, const void *data,
			   uint32_t len)
{
	if (offset == offsetof(struct config_space, emergency))
		outlet_put(&to_console(dev)->outlet, data, 1);
}

static void kick(struct virtio_device *dev, unsigned int index)
{
	if (index == CONSOLE_TX)
		transmit(to_console(dev));
	else
		receive(to_console(dev));
}

static void reset(struct virtio_device *dev)
{
	struct console *c = to_console(dev);

	/* Input that was typed for the driver before is not for the next. */
	pthread_mutex_lock(&c->input_lock);
	c->used = 0;
	pthread_mutex_unlock(&c->input_lock);
	pthread_mutex_lock(&dev->queues[CONSOLE_TX].vq.lock);
	c->in_hand = c->resumes = false;
	c->resets++;
	pthread_mutex_unlock(&dev->queues[CONSOLE_TX].vq.lock);
}

static void save_output(struct console *c, struct state_writer *w)
{
	pthread_mutex_t *lock = &c->dev.queues[CONSOLE_TX].vq.lock;

	pthread_mutex_lock(lock);
	state_put_bool(w, c->in_hand || c->resumes);
	state_put_u32(w, c->in_hand ? c->done : c->resumes ? c->resume_at : 0);
	pthread_mutex_unlock(lock);
}

static int save(struct virtio_device *dev, struct state_writer *w, struct error *err)
{
	struct console *c = to_console(dev);

	pthread_mutex_lock(&dev->lock);
	state_put_u16(w, c->config.cols);
	state_put_u16(w, c->config.rows);
	pthread_mutex_unlock(&dev->lock);
	save_output(c, w);
	pthread_mutex_lock(&c->input_lock);
	state_put_u16(w, (uint16_t)c->used);
	for (size_t i = 0; i < c->used; i++)
		state_put_u8(w, c->input[(c->first + i) % CONSOLE_INPUT]);
	pthread_mutex_unlock(&c->input_lock);
	return 0;
}

static int load(struct virtio_device *dev, struct state_in *in, struct error *err)
{
	struct console *c = to_console(dev);
	uint16_t cols = state_get_u16(in), rows = state_get_u16(in), used;
	bool in_hand = state_get_bool(in);
	uint32_t done = state_get_u32(in);
	const uint8_t *input = NULL;
	int ret;

	state_check(in, in_hand || !done, "how much of a chain was output");
	used = state_get_u16(in);
	if (state_check(in, used <= CONSOLE_INPUT, "the number of bytes of input"))
		input = state_get_view(in, used);
	ret = state_finish(in, err);
	if (ret < 0)
		return ret;
	c->config.cols = cols;
	c->config.rows = rows;
	c->resumes = in_hand;
	c->resume_at = done;
	c->first = 0;
	c->used = used;
	if (input)
		memcpy(c->input, input, used);
	return 0;
}

static const struct virtio_ops ops = {.config_written = config_written,
				      .kick = kick,
				      .reset = reset,
				      .state_id = STATE_ID('v', 'c', 'o', 'n'),
				      .state_version = 1,
				      .save = save,
				      .load = load};

static int make_locks(struct console *c)
{
	int ret = outlet_init(&c->outlet);

	if (ret < 0)
		return ret;
	ret = -pthread_mutex_init(&c->input_lock, NULL);
	if (ret < 0)
		outlet_fini(&c->outlet);
	return ret;
}

static void fini_locks(struct console *c)
{
	pthread_mutex_destroy(&c->input_lock);
	outlet_fini(&c->outlet);
}

int console_create(const struct console_config *cfg, struct console **out)
{
	struct console *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return -ENOMEM;
	c->config.cols = cfg->cols;
	c->config.rows = cfg->rows;
	c->config.max_ports = 1;
	c->rx_task.run = rx_again;
	c->tx_task.run = tx_again;
	c->dev.ops = &ops;
	c->dev.name = "console";
	c->dev.id = VIRTIO_ID_CONSOLE;
	c->dev.offered = UINT64_C(1) << F_SIZE | UINT64_C(1) << F_EMERGENCY;
	c->dev.config = &c->config;
	c->dev.config_len = sizeof(c->config);
	c->dev.queue_count = CONSOLE_QUEUES;
	c->dev.dma = cfg->dma;
	c->dev.log = cfg->log;
	c->dev.log_ctx = cfg->log_ctx;
	ret = make_locks(c);
	if (ret < 0) {
		free(c);
		return ret;
	}
	c->outlet.output = cfg->output;
	c->outlet.ctx = cfg->output_ctx;
	ret = virtio_init(&c->dev, VQ_SIZE_MAX);
	if (ret < 0) {
		fini_locks(c);
		free(c);
		return ret;
	}
	*out = c;
	return 0;
}

void console_destroy(struct console **cp)
{
	struct console *c = *cp;

	if (!c)
		return;
	*cp = NULL;
	virtio_fini(&c->dev);
	fini_locks(c);
	free(c);
}

struct virtio_device *console_device(struct console *c)
{
	return &c->dev;
}

struct console *console_of(struct virtio_device *dev)
{
	return to_console(dev);
}

void console_attach(struct console *c, struct catnap_halter *home)
{
	c->dev.home = home;
}

void console_resize(struct console *c, uint16_t cols, uint16_t rows)
{
	pthread_mutex_lock(&c->dev.lock);
	if (c->config.cols != cols || c->config.rows != rows) {
		c->config.cols = cols;
		c->config.rows = rows;
		virtio_config_changed(&c->dev);
	}
	pthread_mutex_unlock(&c->dev.lock);
}
