/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio entropy device (virtio 1.2, section 5.4), out of getrandom(2). It answers at once, on
 * the thread of the vCPU that asks, and gives a bounded number of bytes for each buffer. So a guest
 * spends its own time on it. It may be limited all the same, in bytes and in buffers.
 */
#ifndef DEVICES_VIRTIO_RNG_H
#define DEVICES_VIRTIO_RNG_H

#include "devices/virtio/virtio.h"

#define RNG_BYTES_MAX 256 /* for one buffer */

/* Makes the device. @limited: it may be given limits, for which it needs a timer. Returns 0,
 * -ENOMEM, or -errno of timerfd_create(). *@dev is the caller's, for rng_destroy(). */
int rng_create(const struct dma *dma, bool limited, struct virtio_device **dev);
void rng_destroy(struct virtio_device *dev);
/* Changes the limits, of which there are none at first, as throttle_change(). -EINVAL: it was
 * made without. Any thread. */
int rng_set_limits(struct virtio_device *dev, const struct rate_limits *limits);

#endif
