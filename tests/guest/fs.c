/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-fs on virtio-mmio (virtio 1.2, section 5.11), with the few messages of FUSE that it takes to
 * read the file "hello" of a folder and to make the file "made" there; readonly=1: that fails.
 */
#include "lib/fuse.h"

static uint32_t base;
static struct queue urgent;

static void kick_requests(void)
{
	queue_kick(&requests);
}

void test(void)
{
	base = VIRTIO_MMIO_BASE;
	check(mmio_read(base, MMIO_DEVICE_ID) == 26);
	put_str("tag ");
	for (uint32_t i = 0; i < 36; i += 4) {
		char word[5] = {0};
		uint32_t value = mmio_read(base, MMIO_CONFIG + i);

		for (int k = 0; k < 4; k++)
			word[k] = (char)(value >> 8 * k);
		put_str(word);
	}
	put_str("\n");
	check(mmio_read(base, MMIO_CONFIG + 36) == 1);
	check(virtio_begin(base, 0));
	queue_init(&urgent, base, 0);
	queue_init(&requests, base, 1);
	virtio_go(base);
	check(mmio_read(base, MMIO_STATUS) == STATUS_OK);
	fuse_begin();
	read_hello();
	make_file(arg_number("readonly", 0));
}
