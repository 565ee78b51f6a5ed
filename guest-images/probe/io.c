/* SPDX-License-Identifier: Apache-2.0 */
/* Disk requests and echoed packets, see io.h (virtio 1.2, sections 5.1 and 5.2). */
#include "io.h"
#include "hot.h"
#include "layout.h"
#include "virtio.h"

#include <stddef.h>

#define ID_NET 1
#define ID_BLK 2

#define BLK_F_FLUSH	 (1u << 9)
#define BLK_F_CONFIG_WCE (1u << 11)

#define BLK_T_IN     0
#define BLK_T_OUT    1
#define BLK_T_GET_ID 8
#define BLK_SECTORS  8 /* 4 KiB */
#define BLK_ID_BYTES 20

#define MOST_IN_VAIN 4 /* interrupts without a completion */

#define NO_INTERRUPT 1 /* avail_flags */
#define NO_NOTIFY    1 /* used_flags */

#define NET_HDR	   12
#define NET_BUFFER 2048
#define RX	   0
#define TX	   1

struct blk_req {
	uint32_t type, reserved;
	uint64_t sector;
	uint8_t status;
};

_Static_assert(offsetof(struct blk_req, sector) == BLK_SECTOR - VIRTIO_DATA, "hot.S has it");
_Static_assert(VIRTIO_QUEUES + offsetof(struct vq, avail_idx) == BLK_AVAIL_IDX, "hot.S has it");

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

const char *io_blk_begin(const struct io_request *req, struct io_disk *disk)
{
	volatile struct blk_req *blk = (volatile struct blk_req *)(uintptr_t)VIRTIO_DATA;
	volatile struct vq *vq = virtio_vq(0);
	/* For a driver that knows neither of them a disk must not cache what is written. */
	uint32_t features = req->write ? BLK_F_FLUSH | BLK_F_CONFIG_WCE : 0;

	if (!virtio_find(ID_BLK, &features))
		return "no virtio disk on the PCI bus";
	disk->doorbell = virtio_queue(0, req->apic_id, req->vector);
	if (!disk->doorbell)
		return "the disk's queue cannot be set up";
	virtio_run();
	disk->blocks = ((uint64_t)virtio_config(4) << 32 | virtio_config(0)) / BLK_SECTORS;
	if (!disk->blocks)
		return "the disk is smaller than 4 KiB";

	vq->desc[0].addr = VIRTIO_DATA;
	vq->desc[0].len = offsetof(struct blk_req, status);
	vq->desc[0].flags = VQ_NEXT;
	vq->desc[0].next = 1;
	vq->desc[1].addr = VIRTIO_DATA + 4096;
	vq->desc[1].len = req->id ? BLK_ID_BYTES : BLK_SECTORS * 512;
	vq->desc[1].flags = VQ_NEXT | (req->write ? 0 : VQ_WRITE);
	vq->desc[1].next = 2;
	vq->desc[2].addr = VIRTIO_DATA + offsetof(struct blk_req, status);
	vq->desc[2].len = 1;
	vq->desc[2].flags = VQ_WRITE;
	blk->type = req->id ? BLK_T_GET_ID : req->write ? BLK_T_OUT : BLK_T_IN;
	blk->reserved = 0;
	blk->sector = 0;
	return NULL;
}

struct blk_loop {
	const struct io_request *req;
	struct io_disk disk;
	const char *wrong; /* NULL: nothing */
};

static void blk_loop(void *arg)
{
	volatile struct blk_req *blk = (volatile struct blk_req *)(uintptr_t)VIRTIO_DATA;
	volatile struct vq *vq = virtio_vq(0);
	struct blk_loop *l = arg;
	const struct io_request *req = l->req;
	uint64_t random = req->seed | 1, i;
	uint32_t vain = 0;

	for (i = 0; i < req->warmup + req->count; i++) {
		uint16_t used = vq->used_idx;
		uint64_t before, after;

		blk->sector = req->id ? 0 : next_random(&random) % l->disk.blocks * BLK_SECTORS;
		blk->status = 0xff;
		/* ring[] names descriptor 0 always */
		__atomic_store_n(&vq->avail_idx, (uint16_t)(used + 1), __ATOMIC_RELEASE);
		after = req->shot(l->disk.doorbell, 0, &before);
		/* A back end that has just begun may send one, in case that one was lost before. */
		while ((i == 0 || i < req->warmup) && vq->used_idx == used && vain++ < MOST_IN_VAIN)
			after = req->shot(l->disk.doorbell, 0, &before);
		if (vq->used_idx == used)
			l->wrong = "an interrupt without a completion";
		else if (blk->status)
			l->wrong = "a request has failed";
		if (l->wrong)
			return;
		if (i >= req->warmup)
			req->samples[i - req->warmup] = after - before;
	}
}

const char *io_blk(const struct io_request *req)
{
	struct blk_loop l = {.req = req};

	l.wrong = io_blk_begin(req, &l.disk);
	if (l.wrong)
		return l.wrong;
	req->run(blk_loop, &l);
	if (!l.wrong)
		virtio_reset();
	return l.wrong;
}

static uint64_t buffer(uint32_t i)
{
	return VIRTIO_DATA + (uint64_t)i * NET_BUFFER;
}

static void give_buffer(volatile struct vq *rx, uint32_t i)
{
	uint16_t at = rx->avail_idx;

	rx->avail_ring[at % QUEUE_SIZE] = (uint16_t)i;
	__atomic_store_n(&rx->avail_idx, (uint16_t)(at + 1), __ATOMIC_RELEASE);
}

struct echo_loop {
	const struct io_request *req;
	volatile uint32_t *handled;
	volatile const uint32_t *stop;
	uint64_t rx_bell, tx_bell;
	uint64_t n; /* packets sent back */
};

static void echo_loop(void *arg)
{
	volatile struct vq *rx = virtio_vq(RX), *tx = virtio_vq(TX);
	struct echo_loop *l = arg;
	const struct io_request *req = l->req;
	uint64_t bell = l->rx_bell, begun = 0;
	uint32_t i, sent = QUEUE_SIZE, which = RX;
	uint16_t seen = 0;

	for (;;) {
		uint64_t before, after = req->shot(bell, which, &before);

		if (which == TX && l->n - 1 >= req->warmup && l->n - 1 - req->warmup < req->count)
			req->samples[l->n - 1 - req->warmup] = before - begun;
		begun = after;
		/* The buffer that was sent last time has been sent by now. */
		if (sent != QUEUE_SIZE)
			give_buffer(rx, sent);
		sent = QUEUE_SIZE;
		if (*l->stop)
			break;
		if (rx->used_idx == seen) { /* nothing for us */
			bell = l->rx_bell;
			which = RX;
			continue;
		}
		sent = rx->used_ring[seen % QUEUE_SIZE].id % QUEUE_SIZE;
		tx->desc[0].addr = buffer(sent);
		tx->desc[0].len = rx->used_ring[seen % QUEUE_SIZE].len;
		for (i = 0; i < NET_HDR; i += 4)
			*(volatile uint32_t *)(uintptr_t)(buffer(sent) + i) = 0;
		seen++;
		*l->handled = (uint32_t)++l->n;
		/* ring[] names descriptor 0 always */
		__atomic_store_n(&tx->avail_idx, (uint16_t)(tx->avail_idx + 1), __ATOMIC_RELEASE);
		if (!(rx->used_flags & NO_NOTIFY))
			req->ring(l->rx_bell, RX);
		bell = l->tx_bell;
		which = TX;
	}
}

/* All packets that are there, at each interrupt: one that comes meanwhile brings another one. */
static void drain_loop(void *arg)
{
	volatile struct vq *rx = virtio_vq(RX), *tx = virtio_vq(TX);
	struct echo_loop *l = arg;
	uint32_t i, sent = QUEUE_SIZE;
	uint64_t ignored;
	uint16_t seen = 0;

	while (!*l->stop) {
		l->req->shot(l->rx_bell, RX, &ignored);
		while (rx->used_idx != seen) {
			while (tx->used_idx != tx->avail_idx)
				;
			if (sent != QUEUE_SIZE)
				give_buffer(rx, sent);
			sent = rx->used_ring[seen % QUEUE_SIZE].id % QUEUE_SIZE;
			tx->desc[0].addr = buffer(sent);
			tx->desc[0].len = rx->used_ring[seen % QUEUE_SIZE].len;
			for (i = 0; i < NET_HDR; i += 4)
				*(volatile uint32_t *)(uintptr_t)(buffer(sent) + i) = 0;
			seen++;
			*l->handled = (uint32_t)++l->n;
			__atomic_store_n(&tx->avail_idx, (uint16_t)(tx->avail_idx + 1),
					 __ATOMIC_RELEASE);
			l->req->ring(l->tx_bell, TX);
		}
	}
}

const char *io_echo(const struct io_request *req, volatile uint32_t *handled,
		    volatile const uint32_t *stop, uint64_t *recorded)
{
	struct echo_loop l = {.req = req, .handled = handled, .stop = stop};
	volatile struct vq *rx = virtio_vq(RX), *tx = virtio_vq(TX);
	uint32_t features = 0, i;
	uint64_t n;

	if (!virtio_find(ID_NET, &features))
		return "no virtio network device on the PCI bus";
	l.rx_bell = virtio_queue(RX, req->apic_id, req->vector);
	l.tx_bell = virtio_queue(TX, req->apic_id, req->vector);
	if (!l.rx_bell || !l.tx_bell)
		return "the network device's queues cannot be set up";
	tx->avail_flags = NO_INTERRUPT;
	for (i = 0; i < QUEUE_SIZE; i++) {
		rx->desc[i].addr = buffer(i);
		rx->desc[i].len = NET_BUFFER;
		rx->desc[i].flags = VQ_WRITE;
		give_buffer(rx, i);
	}
	virtio_run();
	req->run(req->drain ? drain_loop : echo_loop, &l);
	virtio_reset();
	if (req->drain)
		l.n = 0;
	n = l.n > req->warmup ? l.n - req->warmup : 0;
	*recorded = n < req->count ? n : req->count;
	return NULL;
}
