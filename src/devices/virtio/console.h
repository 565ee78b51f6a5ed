/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console device (virtio 1.2, section 5.3): one port, with a size that can change, and
 * emergency output, by which a kernel can say a last word with no queue.
 */
#ifndef DEVICES_VIRTIO_CONSOLE_H
#define DEVICES_VIRTIO_CONSOLE_H

#include <stddef.h>

#include "devices/virtio/virtio.h"

#define VIRTIO_ID_CONSOLE 3

#define CONSOLE_INPUT 4096 /* bytes of input that wait for the guest */

struct console_config {
	/* Takes the guest's output, in pieces; one call at a time, on a thread that serves a kick,
	 * with no lock held. */
	void (*output)(void *ctx, const void *data, size_t len);
	void *output_ctx;
	uint16_t cols, rows; /* 0, 0: not known */
	const struct dma *dma;
	void (*log)(void *ctx, const char *message);
	void *log_ctx;
};

struct console;

/* Returns 0 or -ENOMEM. */
int console_create(const struct console_config *cfg, struct console **console);
/* Destroys it. All threads that serve it have ended. */
void console_destroy(struct console **console);
struct virtio_device *console_device(struct console *console);
struct console *console_of(struct virtio_device *dev);
/* Makes @home the halter that serves it. Once, before the threads start. */
void console_attach(struct console *console, struct catnap_halter *home);
/*
 * Gives the guest input. Returns how many bytes were taken: none while no driver uses the device,
 * else as many as there is room for. Any thread.
 */
size_t console_input(struct console *console, const void *data, size_t len);
/* Changes the size of the console. Any thread. */
void console_resize(struct console *console, uint16_t cols, uint16_t rows);

#endif
