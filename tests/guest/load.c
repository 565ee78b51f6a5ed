/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verifying disk load (guest-images/disk) without an operating system, on virtio-mmio: each
 * worker has one request under way at a time. Flushes that have returned are said on the serial
 * port. It goes on for operations= of each worker, or until its monitor is killed.
 */
#include "../../guest-images/disk/stream.h"
#include "lib/virtio.h"

#define WORKERS	     4
#define DISK_SECTORS 8192u
#define LONGEST	     8 /* sectors: where this code is emulated, filling them takes its time */
#define VECTOR	     0x40

#define T_IN	       0
#define T_OUT	       1
#define T_FLUSH	       4
#define T_DISCARD      11
#define T_WRITE_ZEROES 13
#define F_FLUSH	       9
#define F_DISCARD      13
#define F_WRITE_ZEROES 14

static uint32_t base;
static struct queue q;
static uint64_t features;

static struct worker {
	struct stream s;
	struct op op; /* under way */
	uint64_t seq;
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header;
	struct {
		uint64_t sector;
		uint32_t count, flags;
	} range;
	volatile uint8_t status;
	uint64_t data[LONGEST * SECTOR_WORDS];
	struct known known[DISK_SECTORS / WORKERS];
} workers[WORKERS] __attribute__((aligned(4096)));

static void on_interrupt(struct frame *f)
{
	mmio_write(base, MMIO_IRQ_ACK, mmio_read(base, MMIO_IRQ_STATUS));
	eoi();
}

static bool known_to_the_disk(enum op_type type)
{
	return (type != OP_DISCARD || features >> F_DISCARD & 1) &&
	       (type != OP_ZERO || features >> F_WRITE_ZEROES & 1);
}

static void begin(struct worker *w)
{
	static const uint32_t types[] = {[OP_WRITE] = T_OUT,
					 [OP_READ] = T_IN,
					 [OP_FLUSH] = T_FLUSH,
					 [OP_DISCARD] = T_DISCARD,
					 [OP_ZERO] = T_WRITE_ZEROES};
	uint16_t d = (uint16_t)(3 * (w - workers));
	uint32_t bytes;

	w->op = stream_op(&w->s, ++w->seq);
	check(known_to_the_disk(w->op.type));
	bytes = w->op.count * SECTOR;
	w->header.type = types[w->op.type];
	w->header.sector = 0;
	w->status = 0xee;
	if (w->op.type == OP_WRITE)
		for (uint32_t i = 0; i < w->op.count; i++)
			stream_fill(&w->s, w->op.sector + i, w->seq, w->data + i * SECTOR_WORDS);
	queue_set(&q, d, &w->header, 16, VQ_NEXT, (uint16_t)(d + (bytes ? 1 : 2)));
	if (w->op.type == OP_DISCARD || w->op.type == OP_ZERO) {
		w->range.sector = w->op.sector;
		w->range.count = w->op.count;
		w->range.flags = 0;
		queue_set(&q, (uint16_t)(d + 1), &w->range, 16, VQ_NEXT, (uint16_t)(d + 2));
	} else {
		w->header.sector = w->op.sector;
		queue_set(&q, (uint16_t)(d + 1), w->data, bytes,
			  VQ_NEXT | (w->op.type == OP_READ ? VQ_WRITE : 0), (uint16_t)(d + 2));
	}
	queue_set(&q, (uint16_t)(d + 2), &w->status, 1, VQ_WRITE, 0);
	queue_offer(&q, d);
	queue_kick(&q);
}

static void end(struct worker *w)
{
	check(w->status == 0);
	if (w->op.type == OP_FLUSH) {
		put_str("disk: ");
		put_dec(w->s.worker);
		put_str(" flush ");
		put_dec(w->seq);
		put_str("\n");
	}
	for (uint32_t i = 0; w->op.type == OP_READ && i < w->op.count; i++) {
		uint64_t seq;

		check(!stream_compare(&w->s, w->known, w->op.sector + i, w->data + i * SECTOR_WORDS,
				      ~UINT64_C(0), &seq));
	}
	stream_apply(&w->s, w->known, w->seq);
}

static struct worker *wait(void)
{
	int head;

	while ((head = queue_used(&q)) < 0) {
		cli();
		if (*(volatile uint16_t *)&q.used.idx == q.seen)
			sti_hlt();
		sti();
	}
	return &workers[head / 3];
}

void test(void)
{
	uint64_t seed = arg_number("seed", 1), operations = arg_number("operations", ~UINT64_C(0));
	uint32_t sectors, under_way = WORKERS;

	base = VIRTIO_MMIO_BASE;
	apic_enable();
	check(mmio_read(base, MMIO_DEVICE_ID) == 2);
	handlers[VECTOR] = on_interrupt;
	ioapic_write(0x11 + 2 * VIRTIO_MMIO_PIN, apic_id() << 24);
	ioapic_write(0x10 + 2 * VIRTIO_MMIO_PIN, VECTOR);
	mmio_write(base, MMIO_FEATURES_SEL, 0);
	features = mmio_read(base, MMIO_FEATURES) &
		   (1u << F_FLUSH | 1u << F_DISCARD | 1u << F_WRITE_ZEROES);
	check(features >> F_FLUSH & 1);
	check(virtio_begin(base, features));
	queue_init(&q, base, 0);
	virtio_go(base);
	sectors = mmio_read(base, MMIO_CONFIG);
	check(sectors <= DISK_SECTORS);
	for (uint32_t i = 0; i < WORKERS; i++)
		check(stream_init(&workers[i].s, seed, i, WORKERS, sectors, LONGEST));
	put_str("disk: begin seed=");
	put_dec(seed);
	put_str(" workers=");
	put_dec(WORKERS);
	put_str(" sectors=");
	put_dec(sectors);
	put_str(" longest=");
	put_dec(LONGEST);
	put_str("\n");
	sti();
	for (uint32_t i = 0; i < WORKERS; i++)
		begin(&workers[i]);
	while (under_way) {
		struct worker *w = wait();

		end(w);
		if (w->seq < operations)
			begin(w);
		else
			under_way--;
	}
}
