/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk on virtio-mmio, waited for by interrupt (how=hlt) or by looking (how=spin): data
 * written, flushed, read back and compared; errors; resets with requests in flight, by the
 * processor that kicked and by another; rings that no driver would make, and the device usable
 * again after each. With changes=N it waits for so many changes of its capacity instead, and with
 * swaps=N it reads and writes until the image is the N-th that is put in.
 */
#include "lib/virtio.h"

#define VECTOR 0x40
#define DEPTH  4
#define BLOCK  4096u
#define BLOCKS 64u

#define T_IN	0
#define T_OUT	1
#define T_FLUSH 4
#define T_ID	8
#define IOERR	1
#define UNSUPP	2

static uint32_t base, pin;
/* With room behind it for what a request writes there. */
static struct {
	struct queue queue;
	uint8_t room[512];
} memory;
#define q (memory.queue)
static volatile uint32_t interrupts;
static volatile bool changed; /* the configuration */
static bool spin;

static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header[DEPTH];
static volatile uint8_t status[DEPTH];
static uint64_t data[DEPTH][BLOCK / 8] __attribute__((aligned(4096)));

static void on_interrupt(struct frame *f)
{
	uint32_t bits;

	interrupts++;
	/* The input sees edges: there is one more only if nothing was left. */
	while ((bits = mmio_read(base, MMIO_IRQ_STATUS))) {
		if (bits & 2)
			changed = true;
		mmio_write(base, MMIO_IRQ_ACK, bits);
	}
	eoi();
}

static void setup(void)
{
	check(virtio_begin(base, 1u << 9)); /* flush */
	queue_init(&q, base, 0);
	virtio_go(base);
	check(mmio_read(base, MMIO_STATUS) == STATUS_OK);
}

static void prepare(uint16_t n, uint32_t type, uint64_t sector, uint32_t len)
{
	uint16_t d = (uint16_t)(3 * n);

	header[n].type = type;
	header[n].sector = sector;
	status[n] = 0xee;
	queue_set(&q, d, &header[n], 16, VQ_NEXT, (uint16_t)(d + (len ? 1 : 2)));
	queue_set(&q, (uint16_t)(d + 1), data[n], len,
		  VQ_NEXT | (type == T_IN || type == T_ID ? VQ_WRITE : 0), (uint16_t)(d + 2));
	queue_set(&q, (uint16_t)(d + 2), &status[n], 1, VQ_WRITE, 0);
	queue_offer(&q, d);
}

/* Waits for one request: its number. */
static uint16_t wait(void)
{
	int head;

	while ((head = queue_used(&q)) < 0) {
		if (spin)
			continue;
		/* An interrupt between the look and the halt ends the halt. */
		cli();
		if (*(volatile uint16_t *)&q.used.idx == q.seen)
			sti_hlt();
		sti();
	}
	return (uint16_t)(head / 3);
}

static uint8_t one(uint32_t type, uint64_t sector, uint32_t len)
{
	prepare(0, type, sector, len);
	queue_kick(&q);
	check(wait() == 0);
	return status[0];
}

static void fill(uint16_t n, uint64_t block)
{
	for (uint64_t i = 0; i < BLOCK / 8; i++)
		data[n][i] = block << 32 | i << 8 | 0x5a;
}

/* @clear: what is read is not there before. Otherwise the device alone writes to those pages. */
static void read_all(bool clear)
{
	for (uint32_t b = 0; b < BLOCKS; b += DEPTH) {
		for (uint16_t n = 0; n < DEPTH; n++) {
			if (clear)
				data[n][0] = data[n][BLOCK / 8 - 1] = 0;
			prepare(n, T_IN, (b + n) * (BLOCK / 512), BLOCK);
		}
		queue_kick(&q);
		for (uint16_t n = 0; n < DEPTH; n++)
			check(status[wait()] == 0);
		for (uint16_t n = 0; n < DEPTH; n++)
			for (uint64_t i = 0; i < BLOCK / 8; i++)
				check(data[n][i] == ((uint64_t)(b + n) << 32 | i << 8 | 0x5a));
	}
}

static void transfer(void)
{
	for (uint32_t b = 0; b < BLOCKS; b += DEPTH) {
		for (uint16_t n = 0; n < DEPTH; n++) {
			fill(n, b + n);
			prepare(n, T_OUT, (b + n) * (BLOCK / 512), BLOCK);
		}
		queue_kick(&q);
		for (uint16_t n = 0; n < DEPTH; n++)
			check(status[wait()] == 0);
	}
	check(one(T_FLUSH, 0, 0) == 0);
	read_all(true);
	if (arg_number("reads", 0))
		put_str("reading\n");
	for (uint64_t i = arg_number("reads", 0); i; i--)
		read_all(false);
}

static void errors(uint64_t sectors)
{
	check(one(T_IN, sectors, 512) == IOERR);
	check(one(T_OUT, sectors - 1, 1024) == IOERR);
	check(one(T_IN, ~UINT64_C(0), 512) == IOERR);
	check(one(T_IN, 0, 511) == IOERR);
	check(one(99, 0, 512) == UNSUPP);
	check(one(T_IN, sectors - 1, 512) == 0);
}

static volatile bool go, gone;

static void ap_main(uint32_t id)
{
	apic_enable();
	for (;;) {
		while (!go)
			;
		go = false;
		mmio_write(base, MMIO_STATUS, 0);
		gone = true;
	}
}

static void resets(uint32_t cpus)
{
	for (uint32_t round = 0; round < 200; round++) {
		for (uint16_t n = 0; n < DEPTH; n++)
			prepare(n, T_IN, n * 8, BLOCK);
		queue_kick(&q);
		if (cpus > 1 && round & 1) {
			gone = false;
			go = true;
			while (!gone)
				;
		} else {
			mmio_write(base, MMIO_STATUS, 0);
		}
		check(mmio_read(base, MMIO_STATUS) == 0);
		/* Nothing is written any more: this is somebody else's memory now. */
		for (uint16_t n = 0; n < DEPTH; n++)
			data[n][3] = 0x1234;
		setup();
		for (int i = 0; i < 100; i++)
			nop();
		for (uint16_t n = 0; n < DEPTH; n++)
			check(data[n][3] == 0x1234);
	}
	check(one(T_IN, 0, BLOCK) == 0);
}

static void broken(void)
{
	/* At once, or when the I/O thread has looked. */
	while (!(mmio_read(base, MMIO_STATUS) & STATUS_NEEDS_RESET))
		;
	setup();
	check(one(T_IN, 0, BLOCK) == 0);
}

static void malformed(void)
{
	/* Beyond the ring, twice the ring, itself, nowhere, everything, nothing. */
	queue_offer(&q, VQ_SIZE);
	queue_kick(&q);
	broken();
	q.avail.idx = (uint16_t)(q.avail.idx + 2 * VQ_SIZE);
	queue_kick(&q);
	broken();
	prepare(0, T_IN, 0, BLOCK);
	q.desc[1].next = 1;
	queue_kick(&q);
	broken();
	prepare(0, T_IN, 0, BLOCK);
	q.desc[1].addr = ~UINT64_C(0) - 100;
	queue_kick(&q);
	broken();
	prepare(0, T_IN, 0, 0xffffffff);
	queue_kick(&q);
	broken();
	prepare(0, T_IN, 0, BLOCK);
	q.desc[1].addr = base; /* the device's own registers are no memory */
	queue_kick(&q);
	broken();
	prepare(0, T_OUT, 0, BLOCK);
	q.desc[2].len = 0; /* no place for the status */
	queue_kick(&q);
	broken();
}

/* An answer into the ring itself is the driver's own loss. */
static void answers_itself(void)
{
	prepare(0, T_IN, 0, BLOCK);
	q.desc[1].addr = (uint64_t)&q;
	q.desc[1].len = 512;
	queue_kick(&q);
	setup();
	check(one(T_IN, 0, BLOCK) == 0);
}

static uint64_t capacity(void)
{
	uint32_t generation, low, high;

	do {
		generation = mmio_read(base, MMIO_GENERATION);
		low = mmio_read(base, MMIO_CONFIG);
		high = mmio_read(base, MMIO_CONFIG + 4);
	} while (mmio_read(base, MMIO_GENERATION) != generation);
	return (uint64_t)high << 32 | low;
}

static void wait_for_change(void)
{
	while (!changed) {
		cli();
		if (!changed)
			sti_hlt();
		sti();
	}
	changed = false;
}

/* Checks that the disk can be used to its end, and not beyond. */
static void changes(uint32_t times)
{
	uint64_t before = capacity(), now;
	uint32_t generation = mmio_read(base, MMIO_GENERATION);

	check(one(T_IN, 0, 512) == 0); /* ready */
	for (; times; times--, before = now) {
		wait_for_change();
		now = capacity();
		check(now != before && mmio_read(base, MMIO_GENERATION) != generation);
		generation = mmio_read(base, MMIO_GENERATION);
		check(one(T_OUT, now - 1, 512) == 0);
		check(one(T_IN, now - 1, 512) == 0);
		check(one(T_OUT, now, 512) == IOERR);
	}
}

/* The number of first blocks that the host has filled in an image, and the place where this guest
 * writes its blocks, one after the other, and from the beginning again. */
#define SWAP_READS  32u
#define SWAP_FIRST  64u
#define SWAP_WRITES 1024u

/* Returns the image that block @b was read from: all of it is of the same one. */
static uint64_t image_of(uint16_t n, uint64_t b)
{
	uint64_t image = data[n][0] >> 40;

	for (uint64_t i = 0; i < BLOCK / 8; i++)
		check(data[n][i] == (image << 40 | b << 20 | i));
	return image;
}

/* Requests are made to one image after the other, in the order in which they are offered. */
static void swaps(uint64_t last)
{
	uint64_t image = 0, written = 1, sectors = capacity();

	for (uint32_t round = 0; image != last; round++) {
		for (uint16_t n = 0; n < 2; n++)
			prepare(n, T_IN, (2 * round + n) % SWAP_READS * (BLOCK / 512), BLOCK);
		for (uint16_t n = 2; n < 4; n++, written++) {
			uint64_t b = SWAP_FIRST + written % SWAP_WRITES;

			for (uint64_t i = 0; i < BLOCK / 8; i++)
				data[n][i] = UINT64_C(0xb) << 60 | written << 12 | i;
			prepare(n, T_OUT, b * (BLOCK / 512), BLOCK);
		}
		queue_kick(&q);
		for (uint16_t n = 0; n < DEPTH; n++)
			check(status[wait()] == 0);
		for (uint16_t n = 0; n < 2; n++) {
			uint64_t now = image_of(n, (2 * round + n) % SWAP_READS);

			check(now >= image && now <= last);
			image = now;
		}
		if (round % 8 == 0)
			check(one(T_FLUSH, 0, 0) == 0);
	}
	/* Each image is a block longer than the one before. */
	check(spin || changed);
	check(capacity() == sectors + last * (BLOCK / 512));
}

void test(void)
{
	uint32_t device = (uint32_t)arg_number("device", 0);
	uint32_t cpus = (uint32_t)arg_number("cpus", 1);

	spin = arg_is("how", "spin");
	base = VIRTIO_MMIO_BASE + device * VIRTIO_MMIO_SIZE;
	pin = VIRTIO_MMIO_PIN + device;
	apic_enable();
	check(mmio_read(base, 0) == 0x74726976);
	check(mmio_read(base, MMIO_DEVICE_ID) == 2);
	handlers[VECTOR] = on_interrupt;
	ioapic_write(0x11 + 2 * pin, apic_id() << 24);
	ioapic_write(0x10 + 2 * pin, VECTOR);
	setup();
	if (!spin)
		sti();
	if (arg_number("changes", 0)) {
		changes((uint32_t)arg_number("changes", 0));
		return;
	}
	if (arg_number("swaps", 0)) {
		swaps(arg_number("swaps", 0));
		return;
	}
	for (uint32_t i = 0; i < arg_number("rounds", 1); i++)
		transfer();
	if (arg_number("only_transfer", 0))
		return;
	check(one(T_ID, 0, 20) == 0);
	put_str("id ");
	put_str((char *)data[0]);
	put_str("\n");
	errors(mmio_read(base, MMIO_CONFIG));
	if (cpus > 1)
		start_ap(1, ap_main, AP_PAGE);
	resets(cpus);
	malformed();
	if (arg_number("own_ring", 0))
		answers_itself();
	check(spin || interrupts > 10);
	transfer();
	put_value("interrupts", interrupts);
}
