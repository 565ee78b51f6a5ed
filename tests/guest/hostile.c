/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver that means no good, for each virtio-mmio device that there is: sizes and addresses that
 * no queue can have, chains at and over the edges of memory, loops, tables in tables, lengths of
 * every kind, indices that run ahead; a second processor that meanwhile writes into all of it,
 * kicks, and resets. In between and at the end every device has to do what it is there for.
 *
 * A device writes into this guest: so chains lead into the arena, or to where there is no memory at
 * all, and never to the rest of the guest, which would only harm itself. The arena holds no number
 * between 0x100 and 0x7ff while it may be read as a list of pages.
 */
#include "lib/virtio.h"

#define ARENA	   0x800000u	      /* up to the end of memory */
#define RINGS	   ARENA	      /* a page for each queue */
#define TABLES	   (ARENA + 0x10000u) /* indirect ones */
#define BUFFERS	   (ARENA + 0x20000u) /* 1 MiB */
#define WRITTEN	   0x11000u	      /* how much the other processor writes into */
#define QUEUES_MAX 16
#define DEVICES	   11

enum { NET = 1, BLK = 2, CONSOLE = 3, RNG = 4, BALLOON = 5, VSOCK = 19, MEM = 24, PMEM = 27 };

static uint64_t end; /* of memory */
static uint32_t bases[32];
static uint64_t sane_count;

/* The device under attack; the other processor reads it. */
static volatile uint32_t target, target_queues;
static volatile bool attack, quiet;
static volatile uint64_t other_resets, other_kicks;

/* -- what to say ------------------------------------------------------------------------------ */

static uint64_t bad_addr(uint32_t cpu)
{
	switch (below(cpu, 20)) {
	case 0:
		return VIRTIO_MMIO_BASE;
	case 1:
		return end;
	case 2:
		return end - 1;
	case 3:
		return end - below(cpu, 4096);
	case 4:
		return ~UINT64_C(0) - below(cpu, 8192);
	case 5:
		return random(cpu) | UINT64_C(1) << 40;
	case 6:
		return UINT64_C(0x100000000) - below(cpu, 64);
	case 7: /* the rings themselves */
	case 8:
		return RINGS + 16 * below(cpu, WRITTEN / 16);
	case 9:
		return TABLES + 16 * below(cpu, 64);
	default:
		return BUFFERS + 64 * below(cpu, 0x4000);
	}
}

static uint32_t bad_len(uint32_t cpu, uint64_t addr)
{
	static const uint32_t lens[] = {0,	    1,		2,	    11,	    12,
					13,	    16,		43,	    44,	    45,
					64,	    255,	0x800,	    0x1000, 0x10000,
					0xffffffff, 0x80000000, 0x7fffffff, 0x1001, 0x8000,
					0xfffffff0};
	uint32_t n = below(cpu, 24);

	if (n < sizeof(lens) / sizeof(lens[0]))
		return lens[n];
	return addr >= ARENA && addr < end - 0x1000 ? (uint32_t)(end - addr) + n % 2 : 4096;
}

static void bad_desc(uint32_t cpu, volatile struct desc *d)
{
	uint64_t addr = bad_addr(cpu);
	uint32_t kind = below(cpu, 16), len = bad_len(cpu, addr);
	uint16_t flags = (uint16_t)below(cpu, 4);

	if (kind == 0) {
		flags = (uint16_t)below(cpu, 8);
	} else if (kind < 4) {
		addr = TABLES + 16 * below(cpu, 32);
		len = 16 * below(cpu, kind == 1 ? 15 : 9) + (kind == 2 && !below(cpu, 8));
		flags = VQ_INDIRECT;
	}
	d->addr = addr;
	d->len = len;
	d->flags = flags;
	d->next = (uint16_t)below(cpu, below(cpu, 8) ? VQ_SIZE : VQ_SIZE + 4);
}

/* The beginning of something that a device might take. */
static void bait(uint32_t id, uint32_t cid, uint64_t at)
{
	volatile uint32_t *w = (volatile uint32_t *)at;

	for (int i = 0; i < 12; i++)
		w[i] = 0;
	switch (id) {
	case BLK:
		w[0] = (uint32_t[]){0, 1, 4, 8, 11, 13, 0, 1}[below(0, 8)];
		w[2] = below(0, 8) ? below(0, 64) : (uint32_t)random(0);
		break;
	case NET:
		w[0] = below(0, 2) ? 0 : (uint32_t)random(0);
		w[1] = below(0, 2) ? 0 : (uint32_t)random(0);
		w[2] = below(0, 2) ? 0 : (uint32_t)random(0);
		break;
	case VSOCK:
		w[0] = cid;
		w[2] = 2;
		w[4] = 2000 + below(0, 8);
		w[5] = 1000 + (below(0, 4) == 0);
		w[6] = below(0, 4) ? 0 : bad_len(0, 0);
		w[7] = 1 | (1 + below(0, 8)) << 16;
		w[8] = below(0, 4);
		w[9] = below(0, 2) ? 65536 : (uint32_t)random(0);
		w[10] = below(0, 4) ? 0 : (uint32_t)random(0);
		break;
	case BALLOON:
		for (int i = 0; i < 12; i++)
			w[i] = (ARENA >> 12) + 0x100 + below(0, 64);
		break;
	case PMEM:
		w[0] = below(0, 4) == 0;
		break;
	case MEM: /* the third word and the fourth: a place in the region, or near it */
		w[0] = below(0, 5);
		w[1] = 0;
		w[2] = below(0, 20) << 21 | (below(0, 16) == 0) << 12;
		w[3] = below(0, 16) ? 1 : 0; /* it begins at 4 GiB */
		w[4] = below(0, 16);
		break;
	default:
		break;
	}
}

/* A chain that the device would take but for what is wrong with one of its descriptors. */
static void nearly_right(uint32_t id, uint32_t cid, struct queue *q, uint32_t index, uint16_t head)
{
	bool in = (id == RNG) || (id != BLK && id != BALLOON && index % 2 == 0) ||
		  (id == BALLOON && index > 2);
	uint64_t at = BUFFERS + 4096 * below(0, 128);
	uint16_t n = (uint16_t)((head + 1) % VQ_SIZE), m = (uint16_t)((head + 2) % VQ_SIZE);

	bait(id, cid, at);
	if (id == BLK) {
		queue_set(q, head, (void *)at, 16, VQ_NEXT, n);
		queue_set(q, n, (void *)(at + 4096), 0x1000 * (1 + below(0, 8)),
			  VQ_NEXT | (*(volatile uint32_t *)at % 4 ? 0 : VQ_WRITE), m);
		queue_set(q, m, (void *)(at + 64), 1, VQ_WRITE, 0);
	} else if (id == PMEM || id == MEM) {
		queue_set(q, head, (void *)at, id == MEM ? 24 : 4, VQ_NEXT, n);
		queue_set(q, n, (void *)(at + 4096), below(0, 16), VQ_WRITE, m);
	} else {
		queue_set(q, head, (void *)at, id == VSOCK ? 44 : 48, (in ? VQ_WRITE : 0) | VQ_NEXT,
			  n);
		queue_set(q, n, (void *)(at + 4096), 0x1000, in ? VQ_WRITE : 0, m);
	}
	if (below(0, 3) == 0)
		bad_desc(0, &q->desc[(head + below(0, 3)) % VQ_SIZE]);
}

/* -- an attack -------------------------------------------------------------------------------- */

static struct queue *ring(uint32_t index)
{
	return (struct queue *)(uint64_t)(RINGS + 4096 * index);
}

/* A size and places that may be none. */
static void bad_setup(uint32_t base, uint32_t index)
{
	static const uint32_t sizes[] = {0,   1,   2,	3,     4,      8,      15,	17,
					 255, 256, 257, 0x400, 0x8000, 0xffff, 0x10000, 0x10010};
	struct queue *q = ring(index);
	uint32_t kind = below(0, 12);

	queue_init(q, base, index);
	if (kind > 3)
		return;
	mmio_write(base, MMIO_QUEUE_READY, 0);
	mmio_write(base, MMIO_QUEUE_NUM, kind == 0 ? sizes[below(0, 16)] : VQ_SIZE);
	mmio_write(base, MMIO_DESC, (uint32_t)(uint64_t)q->desc + (kind == 1 ? 8 : 0));
	mmio_write(base, MMIO_DRIVER,
		   kind == 2 ? (uint32_t)end - 2 * below(0, 24) : (uint32_t)(uint64_t)&q->avail);
	/* The used ring over the descriptors. */
	mmio_write(base, MMIO_DEVICE,
		   kind == 3 ? (uint32_t)(uint64_t)q->desc + 4 * below(0, 8)
			     : (uint32_t)(uint64_t)&q->used);
	mmio_write(base, MMIO_DEVICE + 4, below(0, 16) == 0);
	mmio_write(base, MMIO_QUEUE_READY, 1);
}

static void begin(uint32_t base, uint32_t queues)
{
	uint32_t features;

	mmio_write(base, MMIO_FEATURES_SEL, 0);
	features = mmio_read(base, MMIO_FEATURES);
	if (below(0, 4) == 0)
		features &= (uint32_t)random(0);
	/* Somebody else may have reset it meanwhile: then it is begun in vain. */
	(void)virtio_begin(base, features);
	for (uint32_t i = 0; i < queues; i++)
		bad_setup(base, i);
	virtio_go(base);
}

static void registers(uint32_t cpu, uint32_t base)
{
	uint32_t reg = 4 * below(cpu, 0x60);

	/* A reset is a matter of its own. */
	if (reg == MMIO_STATUS)
		mmio_write(base, reg, below(cpu, 255) + 1);
	else if (below(cpu, 2))
		mmio_write(base, reg, (uint32_t)random(cpu));
	else
		(void)mmio_read(base, reg);
}

static void round(uint32_t id, uint32_t base, uint32_t queues)
{
	uint32_t cid = id == VSOCK ? mmio_read(base, MMIO_CONFIG) : 0;

	begin(base, queues);
	for (int turn = 0; turn < 4; turn++) {
		uint32_t index = below(0, queues);
		struct queue *q = ring(index);
		volatile struct desc *table = (volatile struct desc *)(uint64_t)TABLES;

		for (int i = 0; i < 8; i++)
			bad_desc(0, &table[below(0, 40)]);
		for (uint16_t i = 0; i < VQ_SIZE; i += 3) {
			if (below(0, 3))
				nearly_right(id, cid, q, index, i);
			else
				bad_desc(0, &q->desc[i]);
			queue_offer(q, below(0, 16) ? i : (uint16_t)below(0, VQ_SIZE + 8));
		}
		if (below(0, 8) == 0)
			q->avail.idx = (uint16_t)(q->avail.idx + below(0, 20));
		queue_kick(q);
		if (below(0, 4) == 0)
			mmio_write(base, MMIO_NOTIFY, below(0, 2) ? below(0, 70) : ~0u);
		if (below(0, 4) == 0)
			registers(0, base);
	}
	mmio_write(base, MMIO_STATUS, 0);
}

static void ap_main(uint32_t id)
{
	apic_enable();
	for (;;) {
		uint32_t base = target;

		if (!attack) {
			quiet = true;
			continue;
		}
		switch (below(1, 32)) {
		case 0:
			mmio_write(base, MMIO_STATUS, 0);
			other_resets++;
			break;
		case 1:
		case 2:
		case 3:
			mmio_write(base, MMIO_NOTIFY, below(1, target_queues));
			other_kicks++;
			break;
		case 4:
			registers(1, base);
			break;
		case 5: /* an index, the first word of a page's available ring */
			ring(below(1, target_queues))->avail.idx = (uint16_t)random(1);
			break;
		default:
			bad_desc(1,
				 (volatile struct desc *)(uint64_t)(RINGS +
								    16 * below(1, WRITTEN / 16)));
			break;
		}
	}
}

/* -- what devices are there for --------------------------------------------------------------- */

static struct queue fine[2];
static uint8_t page[8192] __attribute__((aligned(4096)));

static uint32_t word_at(uint32_t offset)
{
	return *(volatile uint32_t *)(page + offset);
}

static void put_word(uint32_t offset, uint32_t value)
{
	*(volatile uint32_t *)(page + offset) = value;
}

static void wait_for(struct queue *q)
{
	while (queue_used(q) < 0)
		;
}

static void start_fine(uint32_t base, uint32_t queues)
{
	check(virtio_begin(base, 0));
	for (uint32_t i = 0; i < queues; i++)
		queue_init(&fine[i], base, i);
	virtio_go(base);
	check(mmio_read(base, MMIO_STATUS) == STATUS_OK);
	for (uint32_t i = 0; i < sizeof(page); i += 4)
		put_word(i, 0);
}

static void one_buffer(struct queue *q, uint32_t offset, uint32_t len, uint16_t flags)
{
	queue_set(q, 0, page + offset, len, flags, 0);
	queue_offer(q, 0);
	queue_kick(q);
}

static void sane(uint32_t id)
{
	uint32_t base = bases[id];

	if (!base)
		return;
	sane_count++;
	switch (id) {
	case BLK:
		start_fine(base, 1);
		*(volatile uint8_t *)(page + 100) = 0xee;
		queue_set(&fine[0], 0, page, 16, VQ_NEXT, 1);
		queue_set(&fine[0], 1, page + 4096, 512, VQ_NEXT | VQ_WRITE, 2);
		queue_set(&fine[0], 2, page + 100, 1, VQ_WRITE, 0);
		queue_offer(&fine[0], 0);
		queue_kick(&fine[0]);
		wait_for(&fine[0]);
		check(page[100] == 0);
		break;
	case RNG:
		start_fine(base, 1);
		one_buffer(&fine[0], 0, 256, VQ_WRITE);
		wait_for(&fine[0]);
		check(word_at(0) | word_at(4) | word_at(8));
		break;
	case CONSOLE:
		start_fine(base, 2);
		put_word(0, 0x0a6b6f); /* "ok\n" */
		one_buffer(&fine[1], 0, 3, 0);
		wait_for(&fine[1]);
		break;
	case BALLOON:
		start_fine(base, 1);
		put_word(0, BUFFERS >> 12);
		*(volatile uint32_t *)(uint64_t)BUFFERS = 1;
		one_buffer(&fine[0], 0, 4, 0);
		wait_for(&fine[0]);
		check(*(volatile uint32_t *)(uint64_t)BUFFERS == 0);
		break;
	case PMEM:
	case MEM:
		start_fine(base, 1);
		put_word(0, id == MEM ? 2 : 0); /* unplug all, or a flush */
		put_word(4096, 0xeeeeeeee);
		queue_set(&fine[0], 0, page, id == MEM ? 24 : 4, VQ_NEXT, 1);
		queue_set(&fine[0], 1, page + 4096, id == MEM ? 10 : 4, VQ_WRITE, 0);
		queue_offer(&fine[0], 0);
		queue_kick(&fine[0]);
		wait_for(&fine[0]);
		check(word_at(4096) == 0);
		check(id == PMEM ||
		      (mmio_read(base, MMIO_CONFIG + 40) | mmio_read(base, MMIO_CONFIG + 44)) == 0);
		break;
	case NET:
		start_fine(base, 2);
		one_buffer(&fine[1], 0, 12 + 60, 0);
		wait_for(&fine[1]);
		break;
	case VSOCK:
		start_fine(base, 2);
		one_buffer(&fine[0], 4096, 4096, VQ_WRITE);
		put_word(0, mmio_read(base, MMIO_CONFIG));
		put_word(8, 2);
		put_word(16, 1234);
		put_word(20, 99); /* where nobody listens */
		put_word(28, 1 | 1 << 16);
		one_buffer(&fine[1], 0, 44, 0);
		wait_for(&fine[0]);
		check(word_at(4096 + 28) == (1 | 3 << 16));
		break;
	default:
		break;
	}
	mmio_write(base, MMIO_STATUS, 0);
}

/*
 * As much as one kick can ask for: reads of 126 buffers of nearly 8 MiB each, all of them the same.
 * A stop of this VM need not wait until all of that has been read.
 */
static void huge(void)
{
	volatile struct desc *table = (volatile struct desc *)(uint64_t)TABLES;
	uint32_t base = bases[BLK];

	check(virtio_begin(base, 1u << 28));
	queue_init(&fine[0], base, 0);
	virtio_go(base);
	for (int i = 0; i < 128; i++) {
		table[i].addr = BUFFERS;
		table[i].len = (uint32_t)(end - BUFFERS) & ~511u;
		table[i].flags = VQ_WRITE | VQ_NEXT;
		table[i].next = (uint16_t)(i + 1);
	}
	table[0].addr = (uint64_t)page;
	table[0].len = 16;
	table[0].flags = VQ_NEXT;
	table[127].len = 1;
	table[127].flags = VQ_WRITE;
	put_str("huge\n");
	for (;;) {
		for (uint16_t i = 0; i < VQ_SIZE; i++) {
			queue_set(&fine[0], i, table, 128 * 16, VQ_INDIRECT, 0);
			queue_offer(&fine[0], i);
		}
		queue_kick(&fine[0]);
		for (uint16_t i = 0; i < VQ_SIZE; i++)
			wait_for(&fine[0]);
	}
}

void test(void)
{
	/* Pages first, while the arena has no number in it that is one of ours. */
	static const uint32_t order[] = {BALLOON, RNG, CONSOLE, VSOCK, MEM, PMEM, NET, BLK};
	static const uint32_t queues[32] = {[NET] = 3,	   [BLK] = 2,	[CONSOLE] = 2, [RNG] = 1,
					    [BALLOON] = 5, [VSOCK] = 3, [MEM] = 1,     [PMEM] = 1};
	uint32_t rounds = (uint32_t)arg_number("rounds", 20);
	uint32_t cpus = (uint32_t)arg_number("cpus", 1), found = 0;

	end = arg_number("memory", 16 << 20);
	random_seed(arg_number("seed", 1));
	apic_enable();
	for (uint32_t i = 0; i < DEVICES; i++) {
		uint32_t base = VIRTIO_MMIO_BASE + i * VIRTIO_MMIO_SIZE, id;

		if (mmio_read(base, 0) != 0x74726976)
			break;
		id = mmio_read(base, MMIO_DEVICE_ID);
		check(id < 32);
		bases[id] = base;
		found++;
	}
	put_value("devices", found);
	if (arg_is("how", "huge"))
		huge();
	if (cpus > 1)
		start_ap(1, ap_main, AP_PAGE);
	for (uint32_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		uint32_t id = order[i], base = bases[id];

		if (!base)
			continue;
		target = base;
		target_queues = queues[id];
		for (uint32_t n = 0; n < rounds; n++) {
			attack = cpus > 1 && n % 2;
			round(id, base, queues[id]);
			/* Others do not even notice. */
			if (n % 8 == 0)
				sane(id == RNG ? BLK : RNG);
		}
		attack = false;
		quiet = false;
		while (cpus > 1 && !quiet)
			;
		put_value("attacked", id);
		sane(id);
	}
	for (uint32_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		sane(order[i]);
	put_value("sane", sane_count);
	put_value("resets", other_resets);
	put_value("kicks", other_kicks);
}
