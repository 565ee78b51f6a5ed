/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device's inside, between blk.c (queues, configuration), blk_parse.c (what a request
 * asks for), blk_request.c (the operations of a request, one after the other) and blk_plan.c (the
 * next of them).
 */
#ifndef DEVICES_VIRTIO_BLK_IMPL_H
#define DEVICES_VIRTIO_BLK_IMPL_H

#include "devices/virtio/blk.h"
#include "devices/virtio/blk_dirty.h"
#include "devices/virtio/blk_flight.h"
#include "devices/virtio/blk_op.h"
#include "devices/virtio/throttle.h"

/* Features, 5.2.3. */
#define BLK_F_SEG_MAX	   2
#define BLK_F_RO	   5
#define BLK_F_BLK_SIZE	   6
#define BLK_F_FLUSH	   9
#define BLK_F_TOPOLOGY	   10
#define BLK_F_CONFIG_WCE   11
#define BLK_F_MQ	   12
#define BLK_F_DISCARD	   13
#define BLK_F_WRITE_ZEROES 14

/* Requests, 5.2.6. */
#define BLK_T_IN	   0u
#define BLK_T_OUT	   1u
#define BLK_T_FLUSH	   4u
#define BLK_T_GET_ID	   8u
#define BLK_T_DISCARD	   11u
#define BLK_T_WRITE_ZEROES 13u

#define BLK_S_OK     0
#define BLK_S_IOERR  1
#define BLK_S_UNSUPP 2

#define BLK_SEGMENT_UNMAP 1u

#define BLK_QUEUE_SIZE 256
#define BLK_SEG_MAX    126
#define BLK_BUFFERS    (BLK_SEG_MAX + 2) /* with header and status */
#define BLK_RANGES_MAX 16		 /* of one discard */
/* Holes cost little, so their pieces are longer than those of data; they end at a multiple of their
 * length, so that no block is left over between two. Zeroes that have to be written take their
 * time, and so are one range only. */
#define BLK_DISCARD_MAX	     0x400000u /* sectors: 2 GiB */
#define BLK_WRITE_ZEROES_MAX 0x8000u   /* 16 MiB */
#define BLK_HOLE_PIECES	     16	       /* of those of data */

struct blk_header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct blk_range {
	uint64_t sector;
	uint32_t sectors, flags;
};

_Static_assert(sizeof(struct blk_header) == 16, "5.2.6");
_Static_assert(sizeof(struct blk_range) == 16, "5.2.6");

/* 5.2.4, as far as it is offered. */
struct blk_space {
	uint64_t capacity;
	uint32_t size_max, seg_max;
	uint16_t cylinders;
	uint8_t heads, geometry_sectors;
	uint32_t blk_size;
	uint8_t physical_block_exp, alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
};

_Static_assert(sizeof(struct blk_space) == 64 && offsetof(struct blk_space, blk_size) == 20 &&
		       offsetof(struct blk_space, opt_io_size) == 28 &&
		       offsetof(struct blk_space, writeback) == 32 &&
		       offsetof(struct blk_space, num_queues) == 34 &&
		       offsetof(struct blk_space, max_write_zeroes_sectors) == 48 &&
		       offsetof(struct blk_space, write_zeroes_may_unmap) == 56,
	       "5.2.4");

struct blk;

struct blk_request {
	struct ring_req req;
	struct halter_task task; /* goes on with it */
	struct blk *blk;
	uint64_t began_ns, cost; /* of the operation in the ring */
	uint64_t op_len;	 /* of the present operation */
	uint32_t generation;	 /* the device's, when it was taken */
	uint32_t errors;	 /* of writing out, when the flush began */
	bool writes_out;	 /* the flush does so, piece by piece */
	uint8_t *status;	 /* in guest memory */
	void *bounce;		 /* NULL: not needed so far */
	struct iovec bounce_iov, piece;
	uint64_t offset; /* of what is left to read, write or zero */
	uint64_t left;
	struct iovec *iov; /* the rest of the guest's buffers */
	uint32_t count, type, written;
	uint16_t head, queue, slot;
	uint8_t result, retries;
	bool complete;
	uint8_t range, ranges_count; /* which one is under way */
	bool buffered;		     /* the present operation leaves it to the page cache */
	bool bounced;		     /* the present operation goes through the bounce buffer */
	bool zeroing;		     /* the present range is written, not deallocated */
	bool sync;		     /* the rest of the work is to make it durable */
	bool is_long;		     /* longer than LONG_TRANSFER */
	struct blk_range ranges[BLK_RANGES_MAX];
	struct iovec buffers[BLK_BUFFERS];
};

/* Requests are found by the lock's holder; those that are never used cost no memory. */
struct blk_queue {
	struct throttle_place place;
	struct blk_request *requests; /* BLK_QUEUE_SIZE */
	uint16_t free[BLK_QUEUE_SIZE], free_count;
	bool has_long; /* one is in flight, and none is taken before it is complete */
	/* The halter that goes on once there is room again, or the image is another. */
	struct catnap_halter *_Atomic waiter;
};

struct blk {
	struct virtio_device dev;
	struct blk_image image;
	bool readonly;
	char name[64], id[BLK_ID_MAX + 1];
	struct blk_space config; /* but for writeback, as long as the driver has not set it */
	bool writeback_set;	 /* under the device's lock, as is config */
	bool resized;		 /* a snapshot was of an image of another size */
	_Atomic bool write_through;
	_Atomic unsigned int bounces; /* buffers of requests in flight */
	_Atomic uint32_t generation;  /* counts resets */
	/* Requests that are not complete, those that were put off among them. They use the image;
	 * with none it may be changed. */
	_Atomic uint32_t taken;
	_Atomic bool changing;	     /* no request is taken; read with a queue's lock held */
	pthread_mutex_t change_lock; /* of who changes the image, before all other locks */
	struct blk_flight flight;
	struct blk_dirty dirty;
	struct throttle throttle;
	struct blk_queue queues[BLK_QUEUES_MAX];
};

/* blk_parse.c: parses the request in @c. Returns false if there is nothing to do, and r->result
 * says why. */
bool blk_parse(struct blk_request *r, const struct vq_chain *c);

/* blk_request.c */
/* Goes on with the request until it waits for the ring, is put off, or complete. @self: the
 * thread's own halter; NULL: it has none. *@budget: bytes that this thread may copy by itself. */
void blk_request_run(struct blk_request *r, struct catnap_halter *self, uint32_t *budget);
/* Tells the driver r->result, and frees the request's place. */
void blk_request_complete(struct blk_request *r);
/* Goes on to the next range that is not empty. Returns false if there is none. */
bool blk_request_next_range(struct blk_request *r);

/* blk_plan.c: fills *@op with the next operation, decided by what is left to do. */
void blk_plan(struct blk_request *r, struct blk_op *op);

#endif
