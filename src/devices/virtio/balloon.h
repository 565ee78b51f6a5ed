/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory balloon (virtio 1.2, section 5.5): the guest gives pages away until the balloon has
 * the size that the host asks for, reports pages that are free, and tells its statistics. Pages
 * that a guest has given away read as zeroes when it touches them again: they are still its own
 * memory.
 *
 * The driver of Linux before 6.11 numbers its queues without gaps, and the standard with: so the
 * queues of all features that have one are offered, also that for hints, which are never asked for.
 */
#ifndef DEVICES_VIRTIO_BALLOON_H
#define DEVICES_VIRTIO_BALLOON_H

#include "devices/virtio/virtio.h"

#define VIRTIO_ID_BALLOON 5

#define BALLOON_PAGE 4096u

/* The statistics of 5.5.6.4, by their tags. UINT64_MAX: not told. */
enum balloon_stat {
	BALLOON_SWAP_IN,
	BALLOON_SWAP_OUT,
	BALLOON_MAJOR_FAULTS,
	BALLOON_MINOR_FAULTS,
	BALLOON_FREE,
	BALLOON_TOTAL,
	BALLOON_AVAILABLE,
	BALLOON_CACHES,
	BALLOON_STATS,
};

struct balloon_config {
	uint64_t target; /* bytes, at the start; a multiple of BALLOON_PAGE */
	bool deflate_on_oom;
	/* The guest does without this part of its memory for now, whole pages; any thread. */
	void (*release)(void *ctx, void *host, uint64_t len);
	void *release_ctx;
	const struct dma *dma;
	void (*log)(void *ctx, const char *message);
	void *log_ctx;
};

struct balloon_state {
	uint64_t target, actual; /* bytes; the actual size is what the guest says */
	uint64_t released;	 /* bytes that were given to release(), in all */
	uint64_t reported;	 /* of these, free pages that were reported */
	uint64_t stats[BALLOON_STATS];
};

struct balloon;

/* Makes a balloon. Returns 0, -EINVAL (target) or -ENOMEM. */
int balloon_create(const struct balloon_config *cfg, struct balloon **balloon);
/* Destroys it. All threads that serve it have ended. */
void balloon_destroy(struct balloon **balloon);
struct virtio_device *balloon_device(struct balloon *balloon);
struct balloon *balloon_of(struct virtio_device *dev);
/* Makes @home the halter that serves it. Once, before the threads start. */
void balloon_attach(struct balloon *balloon, struct catnap_halter *home);
/* Sets the size that the guest is asked for. Returns 0, or -EINVAL if @bytes is no multiple of
 * BALLOON_PAGE. Any thread. */
int balloon_set_target(struct balloon *balloon, uint64_t bytes);
/* Stores the state, with the statistics that the guest told last, and asks the guest for new ones.
 * Any thread. */
void balloon_get_state(struct balloon *balloon, struct balloon_state *state);

#endif
