/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-pmem on virtio-mmio (virtio 1.2, 5.19): the file is where the configuration says, and is
 * read and written there with no request; flushes, several at once; a result, and a whole queue, that
 * lie in the file itself; requests that no driver would make, and the device usable again after.
 * With rounds=N it writes and flushes so many times more.
 * With readonly=1 what is written is lost: by the processor at once, by the device not for the guest.
 */
#include "lib/virtio.h"

#define PMEM	  27
#define PAGE	  4096u
#define LARGE	  0x200000u
#define ENTRIES	  512u
#define RW_P	  0x03u
#define LARGE_RWP 0x83u
#define GIB_BITS  30
#define FLUSH	  0u
#define FAILED_	  0xffffffffu
#define DEPTH	  4

extern uint64_t page_dir_ptrs[];
static uint64_t page_dir[ENTRIES] __attribute__((aligned(PAGE)));
static uint32_t base;
static struct queue own;
static uint32_t type[DEPTH];
static volatile uint32_t result[DEPTH];

/* The GiB that begins at @start is mapped one to one, too. */
static void map(uint64_t start)
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

static void offer(struct queue *q, uint16_t n, uint32_t what, volatile uint32_t *into)
{
	type[n] = what;
	*into = 0xeeeeeeee;
	queue_set(q, (uint16_t)(2 * n), &type[n], 4, VQ_NEXT, (uint16_t)(2 * n + 1));
	queue_set(q, (uint16_t)(2 * n + 1), into, 4, VQ_WRITE, 0);
	queue_offer(q, (uint16_t)(2 * n));
}

static void wait(struct queue *q)
{
	while (queue_used(q) < 0)
		;
}

static void set_address(uint32_t reg, const void *at)
{
	mmio_write(base, reg, (uint32_t)(uint64_t)at);
	mmio_write(base, reg + 4, (uint32_t)((uint64_t)at >> 32));
}

static void setup(struct queue *q)
{
	check(virtio_begin(base, 0));
	queue_init(q, base, 0);
	if ((uint64_t)q >> 32) { /* it is not there; once more, with the other halves */
		mmio_write(base, MMIO_QUEUE_READY, 0);
		mmio_write(base, MMIO_QUEUE_NUM, VQ_SIZE);
		set_address(MMIO_DESC, q->desc);
		set_address(MMIO_DRIVER, &q->avail);
		set_address(MMIO_DEVICE, &q->used);
		mmio_write(base, MMIO_QUEUE_READY, 1);
	}
	virtio_go(base);
	check(mmio_read(base, MMIO_STATUS) == STATUS_OK);
}

static void flush_all(struct queue *q)
{
	for (uint16_t i = 0; i < DEPTH; i++)
		offer(q, i, FLUSH, &result[i]);
	queue_kick(q);
	for (uint16_t i = 0; i < DEPTH; i++)
		wait(q);
	for (uint16_t i = 0; i < DEPTH; i++)
		check(result[i] == 0);
}

static volatile uint64_t *page(uint64_t start, uint64_t n)
{
	return (volatile uint64_t *)(start + n * PAGE);
}

/* What the host has put there, and what is written. */
static void transfer(uint64_t start, uint64_t pages, bool readonly)
{
	for (uint64_t i = 0; i < pages; i++) {
		check(page(start, i)[0] == i + 1);
		page(start, i)[0] = ~i;
		page(start, i)[511] = i << 8 | 0x5a;
		check(page(start, i)[0] == (readonly ? i + 1 : ~i));
	}
	flush_all(&own);
}

/* The device writes into its own file on behalf of the guest. */
static void inside(uint64_t start, bool readonly)
{
	struct queue *q = (struct queue *)(start + 4 * PAGE);
	volatile uint32_t *into = (volatile uint32_t *)(start + 8 * PAGE);

	if (readonly) { /* *into cannot be set */
		type[0] = FLUSH;
		queue_set(&own, 0, &type[0], 4, VQ_NEXT, 1);
		queue_set(&own, 1, into, 4, VQ_WRITE, 0);
		queue_offer(&own, 0);
		queue_kick(&own);
		wait(&own);
		check(*into == 0);
		return;
	}
	setup(q);
	offer(q, 0, FLUSH, into);
	queue_kick(q);
	wait(q);
	check(*into == 0);
	setup(&own);
}

static void wrong(void)
{
	offer(&own, 0, 1, &result[0]);
	queue_kick(&own);
	wait(&own);
	check(result[0] == FAILED_);
	/* No room for a result. */
	for (uint32_t len = 0; len < 4; len++) {
		queue_set(&own, 0, &type[0], 4, len ? VQ_NEXT : 0, 1);
		queue_set(&own, 1, &result[0], len, VQ_WRITE, 0);
		queue_offer(&own, 0);
		queue_kick(&own);
		while (!(mmio_read(base, MMIO_STATUS) & STATUS_NEEDS_RESET))
			; /* the I/O thread may have it */
		setup(&own);
	}
	/* Its configuration is not to be written. */
	mmio_write(base, MMIO_CONFIG, 0x1234);
	check(mmio_read(base, MMIO_CONFIG) != 0x1234);
}

static void find(void)
{
	for (uint32_t i = 0; i < 8; i++) {
		base = VIRTIO_MMIO_BASE + i * VIRTIO_MMIO_SIZE;
		if (mmio_read(base, MMIO_DEVICE_ID) == PMEM)
			return;
	}
	check(!"there is no persistent memory");
}

void test(void)
{
	bool readonly = arg_number("readonly", 0);
	uint64_t pages = arg_number("pages", 0), start, size;

	apic_enable();
	find();
	start = config64(0);
	size = config64(8);
	put_value("start", start);
	put_value("size", size);
	check(start >= UINT64_C(0x100000000) && size % LARGE == 0 && size >= pages * PAGE);
	map(start);
	setup(&own);
	transfer(start, pages, readonly);
	inside(start, readonly);
	wrong();
	/* Behind the file's end. */
	if (size > pages * PAGE)
		check(page(start, pages)[0] == 0);
	for (uint64_t i = 0; i < arg_number("rounds", 0); i++) {
		check(page(start, 0)[1] == i);
		page(start, 0)[1] = i + 1;
		flush_all(&own);
	}
	flush_all(&own);
}
