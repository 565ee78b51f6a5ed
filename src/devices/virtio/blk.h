/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio block device (virtio 1.2, section 5.2), on a file or a block device of the host.
 *
 * What the host has in memory is read within the kick (blk_op.h); other requests go into the ring
 * of the thread that processes the kick, and complete there. Data moves between the image and the
 * guest's buffers with no buffer between. Any number of requests are in flight at
 * once, in any order: the driver orders what it wants ordered by waiting and by flushes.
 *
 * Writes are write-back, and a flush is an fdatasync(2), if the driver has taken
 * VIRTIO_BLK_F_FLUSH; a driver that has not, or has asked for write-through by the configuration,
 * gets its writes synchronous (RWF_DSYNC). An error of the host is VIRTIO_BLK_S_IOERR, and nothing
 * else happens.
 *
 * blk_image.c opens the image and finds out what it can do; blk_op.c is one operation on it; blk.c
 * is the device.
 */
#ifndef DEVICES_VIRTIO_BLK_H
#define DEVICES_VIRTIO_BLK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "devices/rate.h"
#include "devices/virtio/virtio.h"

#define BLK_SECTOR     512u
#define BLK_QUEUES_MAX 16
#define BLK_ID_MAX     20 /* the longest id, with no NUL behind it then */

struct blk_config {
	const char *path;
	bool readonly;
	bool direct;	 /* around the host's page cache */
	bool raw;	 /* whatever it looks like: else a known other format is refused */
	bool no_lock;	 /* whoever asks knows that nobody else uses it */
	const char *id;	 /* what the guest sees as its serial; NULL or "": none */
	uint16_t queues; /* 1 to BLK_QUEUES_MAX */
	/* Bytes: what is read, written or to be zeroed; operations: all requests. */
	struct rate_limits limits;
};

struct blk_image {
	int fd;
	pid_t locked_by;  /* the process that has locked it; 0: nobody */
	int unaligned_fd; /* not direct, for requests that cannot be; fd itself if it is not */
	/* Of 512 bytes; changed by blk_update(), under the device's lock; any thread reads. */
	_Atomic uint64_t sectors;
	uint32_t mem_align;  /* of buffers, for fd */
	uint32_t file_align; /* of offsets and lengths, for fd */
	uint32_t logical;    /* bytes: the block size that the guest is told */
	uint32_t physical;
	uint32_t io_min, io_opt; /* bytes; 0: not known */
	bool discard;		 /* holes can be punched */
	bool in_memory;		 /* its file system is memory: no operation waits for a device */
	_Atomic bool no_nowait;	 /* found out: preadv2(2) has no RWF_NOWAIT here; any thread */
};

/* Opens, checks and locks the image: 0, or -errno with a sentence without newline in @why. */
int blk_image_open(struct blk_image *img, const struct blk_config *cfg, char *why, size_t size);
void blk_image_close(struct blk_image *img);
/* How many sectors it has now, if it is as blk_image_open() would have it: 0, or -errno with a
 * sentence. Any thread. */
int blk_image_sectors(const struct blk_image *img, const char *name, uint64_t *sectors, char *why,
		      size_t size);

/* 0 or -errno with a sentence. *@dev is the caller's, for blk_destroy(). Nothing of @cfg is kept.
 */
int blk_create(const struct blk_config *cfg, const struct dma *dma, struct virtio_device **dev,
	       char *why, size_t size);
void blk_destroy(struct virtio_device *dev);
/*
 * Looks at the image's size again, and tells the driver of a change: 0 and *@bytes, the capacity,
 * or -errno with a sentence, and nothing has changed. What lies behind the new end fails from now
 * on. Any thread, also before the driver is there; no lock held.
 */
int blk_update(struct virtio_device *dev, uint64_t *bytes, char *why, size_t size);

#endif
