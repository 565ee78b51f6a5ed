/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio entropy device (virtio 1.2, section 5.4), out of getrandom(2). It answers at once, on
 * the thread of the vCPU that asks, and gives a bounded number of bytes for each buffer: what a
 * guest spends on it is its own time.
 */
#ifndef DEVICES_VIRTIO_RNG_H
#define DEVICES_VIRTIO_RNG_H

#include "devices/virtio/virtio.h"

#define RNG_BYTES_MAX 256 /* for one buffer */

/* 0 or -ENOMEM. *@dev is the caller's, for rng_destroy(). */
int rng_create(const struct dma *dma, struct virtio_device **dev);
void rng_destroy(struct virtio_device *dev);

#endif
