/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver for the balloon on virtio-mmio (5.5), by interrupts: it gives pages of a pool away and
 * takes them back until there are as many as it is asked for, and tells statistics. The pool is
 * filled first, so that its pages are the host's to spare, and taken back pages must be zeroes.
 * Asked for one page alone, it has ended well.
 *
 * how=late: begins after a byte of input. how=half: gives at most half the pool.
 */
#include "lib/virtio.h"

#define VECTOR	      0x40
#define F_STATS	      1
#define POOL	      0x1000000u /* 16 MiB */
#define POOL_PAGES    8192u	 /* 32 MiB */
#define PAGE	      4096u
#define PFNS	      1024u /* in one chain */
#define CONFIG_TARGET (MMIO_CONFIG + 0)
#define CONFIG_ACTUAL (MMIO_CONFIG + 4)
#define STAT_FREE     4
#define STAT_TOTAL    5

static uint32_t base;
static struct queue inflate, deflate, stats;
static uint32_t pfns[PFNS];
static volatile uint32_t actual;
static struct {
	uint16_t tag;
	uint64_t value;
} __attribute__((packed)) told[2];

static void on_interrupt(struct frame *f)
{
	mmio_write(base, MMIO_IRQ_ACK, mmio_read(base, MMIO_IRQ_STATUS));
	eoi();
}

static volatile uint64_t *page(uint32_t i)
{
	return (volatile uint64_t *)(uint64_t)(POOL + i * PAGE);
}

/* Pages [@first, @first + @n) of the pool, by their numbers; waits until they are taken. */
static void send(struct queue *q, uint32_t first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		pfns[i] = POOL / PAGE + first + i;
	queue_set(q, 0, pfns, 4 * n, 0, 0);
	queue_offer(q, 0);
	queue_kick(q);
	while (queue_used(q) < 0)
		;
}

static void fill(uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++)
		page(i)[0] = page(i)[511] = UINT64_C(0x1234567800000000) + i;
}

static void step(uint32_t target)
{
	uint32_t n = target > actual ? target - actual : actual - target;

	if (n > PFNS)
		n = PFNS;
	if (target > actual) {
		send(&inflate, actual, n);
		actual += n;
	} else {
		send(&deflate, actual - n, n);
		actual -= n;
		for (uint32_t i = actual; i < actual + n; i++)
			check(page(i)[0] == 0 && page(i)[511] == 0);
		fill(actual, n);
	}
	mmio_write(base, CONFIG_ACTUAL, actual);
}

static void tell(void)
{
	told[0].tag = STAT_FREE;
	told[0].value = (uint64_t)(POOL_PAGES - actual) * PAGE;
	told[1].tag = STAT_TOTAL;
	told[1].value = (uint64_t)POOL_PAGES * PAGE;
	queue_set(&stats, 0, told, sizeof(told), 0, 0);
	queue_offer(&stats, 0);
	queue_kick(&stats);
}

static uint32_t find(void)
{
	for (uint32_t i = 0; i < 8; i++) {
		base = VIRTIO_MMIO_BASE + i * VIRTIO_MMIO_SIZE;
		if (mmio_read(base, MMIO_DEVICE_ID) == 5)
			return VIRTIO_MMIO_PIN + i;
	}
	check(!"there is no balloon");
	return 0;
}

void test(void)
{
	uint32_t pin = find(), most = arg_is("how", "half") ? POOL_PAGES / 2 : POOL_PAGES;

	apic_enable();
	fill(0, POOL_PAGES);
	put_str("filled\n");
	while (arg_is("how", "late") && !(inb(COM1 + 5) & 1))
		;
	handlers[VECTOR] = on_interrupt;
	ioapic_write(0x11 + 2 * pin, apic_id() << 24);
	ioapic_write(0x10 + 2 * pin, VECTOR);
	check(virtio_begin(base, 1u << F_STATS));
	queue_init(&inflate, base, 0);
	queue_init(&deflate, base, 1);
	queue_init(&stats, base, 2);
	virtio_go(base);
	check(mmio_read(base, MMIO_STATUS) == STATUS_OK);
	tell();
	for (;;) {
		uint32_t target = mmio_read(base, CONFIG_TARGET);

		if (target == 1)
			return;
		if (target > most)
			target = most;
		if (queue_used(&stats) >= 0) {
			tell();
		} else if (target != actual) {
			step(target);
		} else {
			/* An interrupt from here on ends the halt. */
			cli();
			if (*(volatile uint16_t *)&stats.used.idx == stats.seen &&
			    mmio_read(base, MMIO_IRQ_STATUS) == 0)
				sti_hlt();
			sti();
		}
	}
}
