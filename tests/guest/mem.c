/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-mem on virtio-mmio (virtio 1.2, 5.15): blocks are plugged, written, unplugged and plugged
 * again, empty then; requests that no driver would make. how=follow: plugs and unplugs until as much
 * is plugged as is asked for, over and over, and ends when that is one block.
 */
#include "lib/virtio.h"

#define MEM	  24
#define PAGE	  4096u
#define LARGE	  0x200000u
#define ENTRIES	  512u
#define RW_P	  0x03u
#define LARGE_RWP 0x83u
#define GIB_BITS  30

#define PLUG	   0
#define UNPLUG	   1
#define UNPLUG_ALL 2
#define STATE	   3

#define ACK   0
#define NACK  1
#define ERROR 3

#define PLUGGED	  0
#define UNPLUGGED 1
#define MIXED	  2

extern uint64_t page_dir_ptrs[];
static uint64_t page_dir[ENTRIES] __attribute__((aligned(PAGE)));
static uint32_t base;
static struct queue q;
static uint64_t block, start, size;

static struct {
	uint16_t type, padding[3];
	uint64_t addr;
	uint16_t blocks, padding2[3];
} request;
static volatile struct {
	uint16_t type, padding[3], state;
} response;

/* The first GiB of the region is mapped one to one, too. */
static void map(void)
{
	check(start % (UINT64_C(1) << GIB_BITS) == 0 && start >> GIB_BITS < ENTRIES);
	for (uint32_t i = 0; i < ENTRIES; i++)
		page_dir[i] = (start + i * (uint64_t)LARGE) | LARGE_RWP;
	page_dir_ptrs[start >> GIB_BITS] = (uint64_t)page_dir | RW_P;
}

static uint64_t config64(uint32_t offset)
{
	return mmio_read(base, MMIO_CONFIG + offset) |
	       (uint64_t)mmio_read(base, MMIO_CONFIG + offset + 4) << 32;
}

static uint64_t plugged(void)
{
	return config64(40);
}

static uint64_t requested(void)
{
	return config64(48);
}

static uint16_t ask_at(uint16_t type, uint64_t addr, uint16_t blocks)
{
	request.type = type;
	request.addr = addr;
	request.blocks = blocks;
	response.type = response.state = 0xeeee;
	queue_set(&q, 0, &request, 24, VQ_NEXT, 1);
	queue_set(&q, 1, &response, 10, VQ_WRITE, 0);
	queue_offer(&q, 0);
	queue_kick(&q);
	while (queue_used(&q) < 0)
		;
	return response.type;
}

static uint16_t ask(uint16_t type, uint64_t n, uint16_t blocks)
{
	return ask_at(type, start + n * block, blocks);
}

static volatile uint64_t *word(uint64_t n, uint64_t i)
{
	return (volatile uint64_t *)(start + n * block + i * PAGE);
}

/* Each 16th page of a block is written: a host that emulates the guest takes its time. */
static void fill(uint64_t n)
{
	for (uint64_t i = 0; i < block / PAGE; i += 16)
		*word(n, i) = n << 32 | (i + 1);
}

static bool is_empty(uint64_t n)
{
	for (uint64_t i = 0; i < block / PAGE; i += 16)
		if (*word(n, i))
			return false;
	return true;
}

static void setup(void)
{
	check(virtio_begin(base, 2));
	queue_init(&q, base, 0);
	virtio_go(base);
	check(mmio_read(base, MMIO_STATUS) == STATUS_OK);
}

static void blocks_come_and_go(void)
{
	check(plugged() == 0 && requested() >= 4 * block);
	check(ask(STATE, 0, 4) == ACK && response.state == UNPLUGGED);
	check(ask(PLUG, 0, 3) == ACK && plugged() == 3 * block);
	check(ask(STATE, 0, 3) == ACK && response.state == PLUGGED);
	check(ask(STATE, 0, 4) == ACK && response.state == MIXED);
	for (uint64_t i = 0; i < 3; i++) {
		check(is_empty(i));
		fill(i);
	}
	check(ask(UNPLUG, 1, 1) == ACK && plugged() == 2 * block);
	check(*word(0, 0) == 1 && *word(2, 0) == (UINT64_C(2) << 32 | 1));
	check(ask(PLUG, 1, 1) == ACK && is_empty(1));
	/* A driver that has gone, and another one: what is plugged stays. */
	setup();
	check(plugged() == 3 * block && *word(0, 0) == 1);
	check(ask(UNPLUG_ALL, 0, 0) == ACK && plugged() == 0);
	check(ask(PLUG, 0, 1) == ACK && is_empty(0));
	check(ask(UNPLUG, 0, 1) == ACK);
}

static void wrong(void)
{
	uint64_t last = size / block - 1, most = requested() / block;

	check(ask(PLUG, 0, 0) == ERROR);
	check(ask_at(PLUG, start + PAGE, 1) == ERROR);
	check(ask_at(PLUG, start - block, 1) == ERROR);
	check(ask_at(PLUG, 0, 1) == ERROR);
	check(ask_at(PLUG, UINT64_MAX - block + 1, 1) == ERROR);
	check(ask(PLUG, last, 2) == ERROR);
	check(ask(PLUG, last + 1, 1) == ERROR);
	check(ask(STATE, last, 0xffff) == ERROR);
	check(ask(UNPLUG, 0, 1) == ERROR);
	check(ask(PLUG, 0, 2) == ACK && ask(PLUG, 1, 2) == ERROR);
	check(ask(UNPLUG, 1, 2) == ERROR && plugged() == 2 * block);
	/* No more than it is asked for. */
	check(ask(PLUG, 2, (uint16_t)(most - 1)) == NACK);
	check(ask(PLUG, 2, (uint16_t)(most - 2)) == ACK && plugged() == requested());
	check(ask(PLUG, last, 1) == NACK);
	check(ask(4, 0, 1) == ERROR && ask(0xffff, 0, 1) == ERROR);
	check(ask(UNPLUG_ALL, 0, 0) == ACK);
	/* Too short, both ways. */
	for (int i = 0; i < 2; i++) {
		queue_set(&q, 0, &request, i ? 24 : 23, VQ_NEXT, 1);
		queue_set(&q, 1, &response, i ? 9 : 10, VQ_WRITE, 0);
		queue_offer(&q, 0);
		queue_kick(&q);
		while (!(mmio_read(base, MMIO_STATUS) & STATUS_NEEDS_RESET))
			; /* the I/O thread may have it */
		setup();
	}
	mmio_write(base, MMIO_CONFIG + 48, 0x1000);
	check(requested() == most * block);
}

static void follow(void)
{
	uint64_t have = 0;

	put_str("follows\n");
	for (;;) {
		uint64_t want = requested() / block;

		if (want == 1)
			return;
		if (want > have) {
			check(ask(PLUG, have, 1) == ACK);
			check(is_empty(have));
			fill(have++);
		} else if (want < have) {
			check(ask(UNPLUG, --have, 1) == ACK);
		}
	}
}

static void find(void)
{
	for (uint32_t i = 0; i < 8; i++) {
		base = VIRTIO_MMIO_BASE + i * VIRTIO_MMIO_SIZE;
		if (mmio_read(base, MMIO_DEVICE_ID) == MEM)
			return;
	}
	check(!"there is no memory to plug");
}

void test(void)
{
	apic_enable();
	find();
	block = config64(0);
	start = config64(16);
	size = config64(24);
	check(config64(32) == size);
	put_value("start", start);
	put_value("size", size);
	put_value("block", block);
	map();
	setup();
	if (arg_is("how", "follow")) {
		follow();
		return;
	}
	blocks_come_and_go();
	wrong();
}
