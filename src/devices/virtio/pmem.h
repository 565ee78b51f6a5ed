/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio persistent memory device (virtio 1.2, section 5.19): a file that the guest has mapped,
 * and reads and writes with no request at all. The one request is a flush, which is an fdatasync(2)
 * of the file.
 *
 * The fdatasync is queued in the ring of the thread that processes the kick, as a disk's is. One is
 * under way at a time: flushes that come meanwhile wait for the next, which is for all of them. So
 * each flush ends with the result of an fdatasync that has begun after it came, and nobody misses an
 * error, which the kernel tells only once.
 *
 * Who maps the file, and where the guest finds it, is the VM's business.
 */
#ifndef DEVICES_VIRTIO_PMEM_H
#define DEVICES_VIRTIO_PMEM_H

#include "devices/virtio/blk.h"
#include "devices/virtio/virtio.h"
#include "errors.h"

#define PMEM_ALIGN (UINT64_C(2) << 20) /* of its place and its size, in bytes, as Linux asks */

struct pmem_config {
	const char *path; /* given: only for messages */
	bool given;	  /* fd is the file, of which a duplicate is used */
	int fd;
	bool readonly; /* nothing is ever made durable */
	bool raw;      /* as of struct blk_config, and the next */
	bool no_lock;
	/* Operations: flushes; bytes: of each as many as the file has. */
	struct rate_limits limits;
};

/*
 * Makes the device, and opens and locks its file. It has no place so far. Returns 0 or -errno with
 * a sentence. *@dev is the caller's, for pmem_destroy(). Nothing of @cfg is kept.
 */
int pmem_create(const struct pmem_config *cfg, const struct dma *dma, struct virtio_device **dev,
		struct error *err);
void pmem_destroy(struct virtio_device *dev);
/* Returns the file's descriptor, which stays the device's, and stores its size in bytes. */
int pmem_file(struct virtio_device *dev, uint64_t *bytes);
/* Tells the guest where it is, in bytes; multiples of PMEM_ALIGN. Before the start. */
void pmem_place(struct virtio_device *dev, uint64_t start, uint64_t size);
/* Changes the limits, as throttle_change(). Any thread. */
int pmem_set_limits(struct virtio_device *dev, const struct rate_limits *limits);

#endif
