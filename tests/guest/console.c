/* SPDX-License-Identifier: Apache-2.0 */
/* A driver for the console on virtio-mmio (5.3): it writes a byte at a time, for ever, and each of
 * them only when the device has taken the one before. */
#include "lib/virtio.h"

#define ID_CONSOLE 3
#define TRANSMIT   1 /* the number of its queue */

static struct queue receive, transmit;
static const char byte = 'c';

static uint32_t find(void)
{
	for (uint32_t i = 0; i < 8; i++) {
		uint32_t base = VIRTIO_MMIO_BASE + i * VIRTIO_MMIO_SIZE;

		if (mmio_read(base, MMIO_DEVICE_ID) == ID_CONSOLE)
			return base;
	}
	check(!"there is no console");
	return 0;
}

void test(void)
{
	uint32_t base = find();

	check(virtio_begin(base, 0));
	queue_init(&receive, base, 0);
	queue_init(&transmit, base, TRANSMIT);
	virtio_go(base);
	for (;;) {
		queue_set(&transmit, 0, &byte, 1, 0, 0);
		queue_offer(&transmit, 0);
		queue_kick(&transmit);
		while (queue_used(&transmit) < 0)
			;
	}
}
