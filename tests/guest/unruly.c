/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that keeps everything busy that it finds, for ever: requests in all queues of all virtio
 * devices, and on its other processors output, last words, crashes, resets, computing, halting. It
 * powers off for a 'q' on the serial port. print=1: the first processor prints, too.
 */
#include "lib/virtio.h"

enum { NET = 1, BLK = 2, CONSOLE = 3, RNG = 4, BALLOON = 5, VSOCK = 19 };

#define SLOTS	  8
#define BUFFER	  4096u
#define POOL	  0x800000u /* 8 MiB: pages for the balloon */
#define HOST_CID  2
#define GUEST_CID 3

struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

struct device {
	uint32_t base, id;
	struct queue in, out; /* what the device writes, what it reads */
	uint8_t bytes[VQ_SIZE][BUFFER] __attribute__((aligned(4096)));
	uint8_t more[VQ_SIZE][BUFFER] __attribute__((aligned(4096)));
	uint32_t n;
};

static struct device devices[SLOTS];
static uint32_t found;

/* -- requests --------------------------------------------------------------------------------- */

static void fill_in(struct device *d)
{
	for (uint16_t i = 0; i < VQ_SIZE; i++) {
		queue_set(&d->in, i, d->more[i], BUFFER, VQ_WRITE, 0);
		queue_offer(&d->in, i);
	}
	queue_kick(&d->in);
}

/* One queue or two, as the device has them. */
static void open_device(struct device *d)
{
	bool one = d->id == RNG || d->id == BLK;

	if (!virtio_begin(d->base, 0))
		return;
	queue_init(&d->out, d->base, one || d->id == BALLOON ? 0 : 1);
	if (!one)
		queue_init(&d->in, d->base, d->id == BALLOON ? 1 : 0);
	virtio_go(d->base);
	if (!one && d->id != BALLOON)
		fill_in(d);
}

static void make_packet(struct device *d, uint16_t i)
{
	struct packet *p = (struct packet *)d->bytes[i];

	*p = (struct packet){.src_cid = GUEST_CID,
			     .dst_cid = HOST_CID,
			     .src_port = 1000 + d->n % 64,
			     .dst_port = d->n % 7 ? 5 : 6,
			     .type = 1,
			     .op = (uint16_t)(1 + d->n % 7),
			     .buf_alloc = 65536};
	d->n++;
}

/* Request @i, of three descriptors for a disk, else of one. */
static void make_request(struct device *d, uint16_t i)
{
	uint32_t *head = (uint32_t *)d->more[i];

	switch (d->id) {
	case BLK:
		head[0] = d->n % 3 == 1;
		head[1] = head[3] = 0;
		head[2] = d->n++ % 512;
		queue_set(&d->out, i, head, 16, VQ_NEXT, (uint16_t)(i + 1));
		queue_set(&d->out, (uint16_t)(i + 1), d->bytes[i], BUFFER,
			  (uint16_t)(VQ_NEXT | (head[0] ? 0 : VQ_WRITE)), (uint16_t)(i + 2));
		queue_set(&d->out, (uint16_t)(i + 2), d->more[i] + 64, 1, VQ_WRITE, 0);
		break;
	case RNG:
		queue_set(&d->out, i, d->bytes[i], BUFFER, VQ_WRITE, 0);
		break;
	case BALLOON:
		((uint32_t *)d->bytes[i])[0] = (POOL >> 12) + d->n++ % 1024;
		queue_set(&d->out, i, d->bytes[i], 4, 0, 0);
		break;
	case VSOCK:
		make_packet(d, i);
		queue_set(&d->out, i, d->bytes[i], sizeof(struct packet), 0, 0);
		break;
	default:
		queue_set(&d->out, i, d->bytes[i], d->id == NET ? 12 + 60 : 256, 0, 0);
	}
}

static void step(struct device *d)
{
	uint16_t each = d->id == BLK ? 3 : 1;
	int head;

	while ((head = queue_used(&d->in)) >= 0)
		queue_offer(&d->in, (uint16_t)head);
	while (queue_used(&d->out) >= 0)
		;
	/* As many as there is room for; what is in flight is asked for once more, now and then. */
	for (uint16_t i = 0; i + each <= VQ_SIZE; i = (uint16_t)(i + each)) {
		make_request(d, i);
		queue_offer(&d->out, i);
	}
	queue_kick(&d->out);
	if ((mmio_read(d->base, MMIO_STATUS) & STATUS_NEEDS_RESET))
		open_device(d);
}

static void find_devices(void)
{
	for (uint32_t i = 0; i < 16 && found < SLOTS; i++) {
		uint32_t base = VIRTIO_MMIO_BASE + i * VIRTIO_MMIO_SIZE;

		if (mmio_read(base, 0) != 0x74726976 || !mmio_read(base, MMIO_DEVICE_ID))
			continue;
		devices[found].base = base;
		devices[found].id = mmio_read(base, MMIO_DEVICE_ID);
		open_device(&devices[found++]);
	}
}

/* -- the other processors --------------------------------------------------------------------- */

static void on_timer(struct frame *f)
{
	eoi();
}

static void halt_often(void)
{
	apic_enable();
	apic_write(APIC_TIMER_DIV, 0x0b);
	apic_write(APIC_LVT_TIMER, 0x40);
	for (;;) {
		cli();
		apic_write(APIC_TIMER_INIT, 100000);
		sti_hlt();
	}
}

static void last_words(void)
{
	for (uint32_t i = 0;; i = (i + 1) % (found ? found : 1))
		if (devices[i].id == CONSOLE)
			mmio_write(devices[i].base, MMIO_CONFIG + 8, 'x');
}

static void reset_often(void)
{
	for (uint32_t i = 0;; i = (i + 1) % (found ? found : 1))
		if (devices[i].id == RNG || devices[i].id == NET)
			mmio_write(devices[i].base, MMIO_STATUS, 0);
}

static void other(uint32_t id)
{
	switch (id % 7) {
	case 1:
		for (;;)
			put_str("a line of output, and another, and another, and another\n");
	case 2:
		halt_often();
		break;
	case 3:
		last_words();
		break;
	case 4:
		for (;;)
			outb(0x505, 2);
	case 5:
		reset_often();
		break;
	}
	for (;;)
		;
}

void test(void)
{
	uint32_t cpus = (uint32_t)arg_number("cpus", 1);
	bool print = arg_number("print", 0);

	handlers[0x40] = on_timer;
	apic_enable();
	find_devices();
	put_str("ready\n");
	for (uint32_t id = 1; id < cpus; id++)
		start_ap(id, other, AP_PAGE);
	for (uint32_t i = 0;; i++) {
		if (found)
			step(&devices[i % found]);
		if (print)
			put_str("0123456789012345678901234567890123456789\n");
		if ((inb(COM1 + 5) & 1) && inb(COM1) == 'q')
			outb(0x600, 0x34);
	}
}
