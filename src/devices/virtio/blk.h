/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio block device (virtio 1.2, section 5.2), on a file or a block device of the host.
 *
 * Data that the host has in memory is read within the kick (blk_op.h). Other requests go into the
 * ring of the thread that processes the kick, and complete there. Data moves between the image and
 * the guest's buffers with no buffer between. Any number of requests are in flight at once, in any
 * order: the driver orders requests by waiting and by flushes.
 *
 * Writes are write-back, and a flush is an fdatasync(2), if the driver has taken
 * VIRTIO_BLK_F_FLUSH; a driver that has not, or has asked for write-through by the configuration,
 * gets its writes synchronous (RWF_DSYNC). An error of the host is VIRTIO_BLK_S_IOERR, and nothing
 * else happens.
 *
 * blk_image.c opens the image and finds out what it can do; blk_op.c is one operation on it;
 * blk_request.c is all that a request needs, one after the other; blk.c is the device.
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
#include "errors.h"

#define BLK_SECTOR     512u
#define BLK_QUEUES_MAX 16
#define BLK_ID_MAX     20 /* the longest id, with no NUL behind it then */

struct blk_config {
	const char *path; /* given: only for messages */
	const char *what; /* messages begin with it; NULL: "disk" */
	bool given;	  /* fd is the image, of which a duplicate is used */
	int fd;
	bool readonly;
	bool direct; /* around the host's page cache */
	bool raw;    /* the contents do not matter: else a known other format is refused */
	/* The logical block size in bytes, a power of two of at least BLK_SECTOR; 0: the
	 * image's. */
	uint32_t block_size;
	bool no_lock;	 /* the caller knows that nobody else uses it */
	const char *id;	 /* the serial that the guest sees; NULL or "": none */
	uint16_t queues; /* 1 to BLK_QUEUES_MAX */
	/* Bytes: what is read, written or to be zeroed; operations: all requests. */
	struct rate_limits limits;
};

struct blk_image {
	int fd;
	pid_t locked_by;  /* the process that has locked it; 0: nobody */
	int unaligned_fd; /* for requests that O_DIRECT cannot do; fd itself without direct */
	/* Of 512 bytes; changed by blk_update(), under the device's lock; any thread reads. */
	_Atomic uint64_t sectors;
	uint32_t mem_align;  /* of buffers, for fd */
	uint32_t file_align; /* of offsets and lengths, for fd */
	uint32_t logical;    /* bytes: the block size that the guest is told, and has to keep to */
	uint32_t physical;
	uint32_t io_min, io_opt; /* bytes; 0: not known */
	bool discard;		 /* holes can be punched */
	bool in_memory;		 /* its file system is memory: no operation waits for a device */
	_Atomic bool no_nowait;	 /* found out: preadv2(2) has no RWF_NOWAIT here; any thread */
};

/* Opens, checks and locks the image. Returns 0, or -errno with a sentence. */
int blk_image_open(struct blk_image *img, const struct blk_config *cfg, struct error *err);
void blk_image_close(struct blk_image *img);
/* Moves what *@from has to *@to, which has nothing. */
void blk_image_move(struct blk_image *to, struct blk_image *from);
/* Returns whether @cfg's image is what @img has: the same file or device. */
bool blk_image_is(const struct blk_image *img, const struct blk_config *cfg);
/* Stores how many sectors the image has now, if blk_image_open() would take it. Returns 0, or
 * -errno with a sentence. Any thread. */
int blk_image_sectors(const struct blk_image *img, const char *name, uint64_t *sectors,
		      struct error *err);

/* Makes a disk. Returns 0 or -errno with a sentence. *@dev is the caller's, for blk_destroy().
 * Nothing of @cfg is kept. */
int blk_create(const struct blk_config *cfg, const struct dma *dma, struct virtio_device **dev,
	       struct error *err);
void blk_destroy(struct virtio_device *dev);
/* Changes the limits, as throttle_change(). Any thread. */
int blk_set_limits(struct virtio_device *dev, const struct rate_limits *limits);
/*
 * Looks at the image's size again, and tells the driver of a change. Returns 0 and *@bytes, the
 * capacity, or -errno with a sentence; then nothing has changed. Requests behind the new end fail
 * from now on. Any thread, also before the driver is there; no lock held.
 */
int blk_update(struct virtio_device *dev, uint64_t *bytes, struct error *err);

/*
 * Puts another image in the place of the disk's, by cfg's path or descriptor, direct, no_lock and
 * raw; readonly and the block size are to be as they were. The rest of @cfg does not count. Requests
 * that were begun end first, in @wait_ns at most, and the old image is written out. An image that is
 * the same file stays, and is looked at as blk_update() does; of another the driver is told in any
 * case. Returns 0 and *@bytes, the capacity, or -errno with a sentence; then the disk is as it was:
 *   -EINVAL     readonly, block_size
 *   -ETIMEDOUT  requests have not ended
 *   others      those of blk_image_open() and fdatasync(2)
 * Any thread but those that run the device; no lock held.
 */
int blk_change(struct virtio_device *dev, const struct blk_config *cfg, uint64_t wait_ns,
	       uint64_t *bytes, struct error *err);

#endif
