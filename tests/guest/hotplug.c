/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver of PCI hotplug, by the registers that ACPI tells others of: it waits for the interrupt,
 * finds what has come, gives it addresses, reads the first block of a disk and writes the second, and
 * lets go of what is to go, again and again. Meanwhile the other processors, if there are any, look
 * at all slots, and drive what they find there by accesses that change nothing.
 *
 * With fill=1 it has one buffer filled by a folder's back end, which is one of the tests'. With folder=1
 * it reads and makes a file in a folder, and folder=2 says that none can be made. With keep=N
 * it does not hear the first N requests to let go, and with greedy=1 it lets go of what nobody has
 * asked for. With refuse=N it refuses the first N of them. It ends when the device has gone that has the marker of the end in its first block.
 */
#include "lib/fuse.h"

#define PIN    10
#define VECTOR 0x40
#define UP     0xae00
#define DOWN   0xae04
#define EJECT  0xae08
#define OST    0xae0c

#define BUSY 0x82

#define ECAM	  0xe0000000u
#define PLACES	  0xd8000000u /* for BARs: a slot has 64 KiB */
#define STATUS	  0x14
#define DOORBELLS 0x3000u
#define SLOTS	  32u

#define T_IN  0
#define T_OUT 1

#define MARK_END 0x21646e65u /* "end!" */

static volatile uint32_t interrupts;
static uint32_t up, down, keep, refuse;
static bool fills;
static uint32_t folder;
static uint32_t fuse_bar0;
static volatile bool last; /* the device that is to be the last was there */
static struct queue q;
static volatile uint8_t page[4096] __attribute__((aligned(4096)));

#define put8(at, value)	 (*(volatile uint8_t *)(uint64_t)(at) = (uint8_t)(value))
#define put16(at, value) (*(volatile uint16_t *)(uint64_t)(at) = (uint16_t)(value))
#define get8(at)	 (*(volatile uint8_t *)(uint64_t)(at))
#define get16(at)	 (*(volatile uint16_t *)(uint64_t)(at))

/* The line is a level: it is up until all is read. */
static void on_interrupt(struct frame *f)
{
	interrupts++;
	up |= inl(UP);
	down |= inl(DOWN);
	eoi();
}

static uint32_t cfg_of(uint32_t slot)
{
	return ECAM + (slot << 15);
}

/* Gives it addresses, which it comes without. */
static uint32_t assign(uint32_t slot)
{
	uint32_t cfg = cfg_of(slot), bar0 = PLACES + (slot << 16);

	check(get16(cfg) == 0x1af4);
	check(!(get16(cfg + 4) & 2) && mmio_read(cfg, 0x10) == 4 && mmio_read(cfg, 0x14) == 0);
	mmio_write(cfg, 0x10, bar0);
	mmio_write(cfg, 0x14, 0);
	mmio_write(cfg, 0x18, bar0 + 0x8000);
	put16(cfg + 4, 6);
	check(mmio_read(bar0, 0) != ~0u);
	return bar0;
}

static void set_queue(uint32_t bar0, struct queue *queue, uint16_t index)
{
	for (uint32_t i = 0; i < sizeof(*queue); i++)
		((volatile uint8_t *)queue)[i] = 0;
	put16(bar0 + 0x16, index);
	put16(bar0 + 0x18, VQ_SIZE);
	mmio_write(bar0, 0x20, (uint32_t)(uint64_t)queue->desc);
	mmio_write(bar0, 0x28, (uint32_t)(uint64_t)&queue->avail);
	mmio_write(bar0, 0x30, (uint32_t)(uint64_t)&queue->used);
	put16(bar0 + 0x1c, 1);
}

/* Up to DRIVER_OK, with one queue, or two. */
static void begin(uint32_t bar0, struct queue *more)
{
	put8(bar0 + STATUS, 0);
	while (get8(bar0 + STATUS))
		;
	put8(bar0 + STATUS, 3);
	mmio_write(bar0, 0x08, 0);
	mmio_write(bar0, 0x0c, 0);
	mmio_write(bar0, 0x08, 1);
	mmio_write(bar0, 0x0c, 1);
	put8(bar0 + STATUS, 11);
	check(get8(bar0 + STATUS) == 11);
	set_queue(bar0, &q, 0);
	if (more)
		set_queue(bar0, more, 1);
	put8(bar0 + STATUS, 15);
	check(get8(bar0 + STATUS) == 15);
}

static void request(uint32_t bar0, uint32_t type, uint64_t sector)
{
	volatile uint32_t *head = (volatile uint32_t *)page;

	head[0] = type;
	head[1] = 0;
	*(volatile uint64_t *)(page + 8) = sector;
	page[2048] = 0xee;
	queue_set(&q, 0, page, 16, VQ_NEXT, 1);
	queue_set(&q, 1, page + 512, 512, VQ_NEXT | (type == T_IN ? VQ_WRITE : 0), 2);
	queue_set(&q, 2, page + 2048, 1, VQ_WRITE, 0);
	queue_offer(&q, 0);
	put16(bar0 + DOORBELLS, 0);
	while (queue_used(&q) < 0)
		;
	check(page[2048] == 0);
}

/* Has a back end fill a buffer, which it finds in the queue for urgent requests. */
static void fill(uint32_t bar0)
{
	page[0] = 0;
	queue_set(&q, 0, page, 64, VQ_WRITE, 0);
	queue_offer(&q, 0);
	put16(bar0 + DOORBELLS, 0);
	while (queue_used(&q) < 0)
		;
	check(page[0] == 0x5a);
	put_str("served\n");
}

static void kick_requests(void)
{
	put16(fuse_bar0 + DOORBELLS + 4, 1);
}

static void use_folder(uint32_t bar0)
{
	fuse_bar0 = bar0;
	fuse_begin();
	for (int i = 0; i < 100; i++)
		read_hello();
	make_file(folder == 2);
	put_str("used\n");
}

static void came(uint32_t slot)
{
	uint32_t bar0 = assign(slot);
	const bool uses = folder && get16(cfg_of(slot) + 2) == 0x105a;

	begin(bar0, uses ? &requests : NULL);
	if (uses)
		use_folder(bar0);
	if (fills && get16(cfg_of(slot) + 2) == 0x105a)
		fill(bar0);
	if (get16(cfg_of(slot) + 2) != 0x1042)
		return;
	request(bar0, T_IN, 0);
	last = *(volatile uint32_t *)(page + 512) == MARK_END;
	request(bar0, T_OUT, 1);
	/* Left running, as by a driver that is only half gone: ejected so. */
}

static void eject(uint32_t slot)
{
	uint32_t cfg = cfg_of(slot), bar0 = PLACES + (slot << 16);

	outl(EJECT, 1u << slot);
	/* There may be another one already, which has no address so far. */
	check(mmio_read(cfg, 0) == ~0u || mmio_read(cfg, 0x10) == 4);
	check(mmio_read(bar0, 0) == ~0u);
}

static void ap_main(uint32_t id)
{
	apic_enable();
	for (;;) {
		for (uint32_t slot = 1; slot < SLOTS; slot++) {
			if (get16(cfg_of(slot)) != 0x1af4)
				continue;
			(void)mmio_read(PLACES + (slot << 16), STATUS);
			put16(PLACES + (slot << 16) + DOORBELLS, 0);
		}
	}
}

void test(void)
{
	uint32_t cpus = (uint32_t)arg_number("cpus", 1);
	bool greedy = arg_number("greedy", 0), done = false;

	keep = (uint32_t)arg_number("keep", 0);
	refuse = (uint32_t)arg_number("refuse", 0);
	fills = arg_number("fill", 0);
	folder = (uint32_t)arg_number("folder", 0);
	apic_enable();
	handlers[VECTOR] = on_interrupt;
	for (uint32_t i = 1; i < cpus; i++)
		start_ap(i, ap_main, AP_PAGE);
	/* Accesses that are none, which change nothing. */
	outl(UP, ~0u);
	outb(EJECT, 0xff);
	outl(EJECT, ~0u);
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		outl(OST + 4 * slot, BUSY);
	check(inb(UP) == 0 && inl(EJECT) == 0 && inl(OST) == 0);
	ioapic_write(0x10 + 2 * PIN + 1, apic_id() << 24);
	ioapic_write(0x10 + 2 * PIN, VECTOR | 1u << 15); /* a level */
	put_str("listens\n");
	while (!done) {
		cli();
		if (!up && !down)
			sti_hlt();
		cli();
		for (uint32_t slot = 1; slot < SLOTS; slot++) {
			/* Before it is used: nobody has asked for it so far. */
			if (greedy && up >> slot & 1) {
				outl(EJECT, 1u << slot);
				check(get16(cfg_of(slot)) == 0x1af4);
			}
			if (up >> slot & 1)
				came(slot);
		}
		up = 0;
		for (uint32_t slot = 1; slot < SLOTS; slot++) {
			if (!(down >> slot & 1))
				continue;
			if (keep) {
				keep--;
				put_str("keeps\n");
				continue;
			}
			if (refuse) {
				refuse--;
				outl(OST + 4 * slot, BUSY);
				outl(OST + 4 * slot, BUSY); /* a second answer is none */
				put_str("refuses\n");
				continue;
			}
			outl(OST + 4 * slot, 0x84); /* it is under way */
			eject(slot);
			done = last;
		}
		down = 0;
	}
	put_value("interrupts", interrupts);
}
