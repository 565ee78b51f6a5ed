/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that asks a disk for much at once, on all its queues, and again whenever something is
 * done: the host's side decides how long an end or a pause takes, not it.
 * Options: queues=N (vCPUs), each=N requests in a queue, mib=N of one request, type=T of virtio's
 * (0 read, 1 write with flushes between, 11 discard of 64 MiB, 13 write zeroes of 16 MiB).
 */
#include "lib/virtio.h"

#define MOST   64
#define QUEUES 8

struct big {
	struct desc desc[MOST] __attribute__((aligned(4096)));
	struct {
		uint16_t flags, idx, ring[MOST], used_event;
	} avail __attribute__((aligned(4096)));
	struct {
		uint16_t flags, idx;
		struct {
			uint32_t id, len;
		} ring[MOST];
		uint16_t avail_event;
	} used __attribute__((aligned(4096)));
};

struct header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct range {
	uint64_t sector;
	uint32_t sectors, flags;
};

static struct big queue[QUEUES];
static struct desc table[2][3] __attribute__((aligned(16)));
static struct header header[2];
static struct range range;
static uint8_t status[2];
static uint32_t disk, each;
static volatile uint32_t go;

/* Asks again for each request that is done. */
static void serve(uint32_t index)
{
	struct big *q = &queue[index];
	volatile uint16_t *avail = &q->avail.idx;
	const volatile uint16_t *used = &q->used.idx;

	*avail = (uint16_t)each;
	mmio_write(disk, MMIO_NOTIFY, index);
	for (;;) {
		uint16_t want = (uint16_t)(*used + each);

		if (*avail == want) {
			__asm__ volatile("pause");
			continue;
		}
		*avail = want;
		mmio_write(disk, MMIO_NOTIFY, index);
	}
}

static void ap_main(uint32_t id)
{
	apic_enable();
	while (!go)
		;
	serve(id);
}

static void fill(uint32_t type, uint32_t mib)
{
	bool ranges = type == 11 || type == 13;

	range = (struct range){0, type == 11 ? 0x20000 : 0x8000, 0};
	header[0] = (struct header){type, 0, 0};
	header[1] = (struct header){type == 1 ? 4 : type, 0, 0};
	for (int i = 0; i < 2; i++) {
		bool data = header[i].type != 4;

		table[i][0] = (struct desc){(uint64_t)&header[i], 16, VQ_NEXT, data ? 1 : 2};
		table[i][1] = (struct desc){ranges ? (uint64_t)&range : 0x2000000,
					    ranges ? 16 : mib << 20,
					    (uint16_t)(VQ_NEXT | (type == 0 ? VQ_WRITE : 0)), 2};
		table[i][2] = (struct desc){(uint64_t)&status[i], 1, VQ_WRITE, 0};
	}
	for (uint32_t i = 0; i < QUEUES; i++)
		for (uint32_t n = 0; n < MOST; n++) {
			queue[i].desc[n] =
				(struct desc){(uint64_t)table[n % 16 == 15], 48, VQ_INDIRECT, 0};
			queue[i].avail.ring[n] = (uint16_t)n;
		}
}

void test(void)
{
	uint32_t queues = (uint32_t)arg_number("queues", 1);

	each = (uint32_t)arg_number("each", MOST);
	disk = VIRTIO_MMIO_BASE;
	check(mmio_read(disk, MMIO_DEVICE_ID) == 2 && queues <= QUEUES && each <= MOST);
	apic_enable();
	fill((uint32_t)arg_number("type", 0), (uint32_t)arg_number("mib", 16));
	check(virtio_begin(disk, 1u << 28 | 1u << 9 | 1u << 12 | 1u << 13 | 1u << 14));
	for (uint32_t i = 0; i < queues; i++) {
		mmio_write(disk, MMIO_QUEUE_SEL, i);
		mmio_write(disk, MMIO_QUEUE_NUM, MOST);
		mmio_write(disk, MMIO_DESC, (uint32_t)(uint64_t)queue[i].desc);
		mmio_write(disk, MMIO_DRIVER, (uint32_t)(uint64_t)&queue[i].avail);
		mmio_write(disk, MMIO_DEVICE, (uint32_t)(uint64_t)&queue[i].used);
		mmio_write(disk, MMIO_QUEUE_READY, 1);
	}
	virtio_go(disk);
	check(mmio_read(disk, MMIO_STATUS) == STATUS_OK);
	for (uint32_t i = 1; i < queues; i++)
		start_ap(i, ap_main, AP_PAGE);
	go = 1;
	put_str("go\n");
	serve(0);
}
