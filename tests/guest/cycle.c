/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest for snapshots: on virtio-mmio it writes a disk and reads it back, all the time, and takes
 * its timer's interrupts; it has a network interface and a socket device, if they are there. It says
 * how far it is, and what it is told when it goes on from a snapshot. "q" on the serial port ends it,
 * after a look at the whole disk.
 */
#include "lib/virtio.h"

#define TIMER	   0x40
#define DEVICES	   0x41
#define GENERATION 0x42
#define GENID_PIN  13
#define GENID	   UINT64_C(0xee000)
#define VMCLOCK	   UINT64_C(0xef000)

#define BLOCK  4096u
#define BLOCKS 256u
#define EACH   32 /* rounds between two words of it */

#define ID_NET	 1
#define ID_BLK	 2
#define ID_VSOCK 19

#define F_NET_STATUS   16
#define F_NET_CTRL_VQ  17
#define F_NET_ANNOUNCE 21

static struct device {
	uint32_t base;
	uint32_t pin;
} blk, net, vsock;
static struct queue requests, net_rx, net_tx, net_ctrl, vsock_rx, vsock_tx, vsock_event;

static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header;
static volatile uint8_t status;
static uint64_t data[BLOCK / 8] __attribute__((aligned(4096)));
static uint64_t written[BLOCKS]; /* what each block has; 0: nothing of ours */

static uint8_t packets[4][2048] __attribute__((aligned(4096)));
static uint8_t packet[12 + 64];
static volatile uint8_t command[3];
static volatile uint32_t event[4] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};

static volatile uint64_t ticks, last_tsc;
static volatile bool configuration, generation;
static uint8_t id[16];

static void on_timer(struct frame *f)
{
	uint64_t now = rdtsc();

	/* No time goes back, whatever the host. */
	check(now > last_tsc);
	last_tsc = now;
	ticks++;
	eoi();
}

static void look(const struct device *d)
{
	uint32_t bits;

	while (d->base && (bits = mmio_read(d->base, MMIO_IRQ_STATUS))) {
		if (d == &net && bits & 2)
			configuration = true;
		mmio_write(d->base, MMIO_IRQ_ACK, bits);
	}
}

static void on_device(struct frame *f)
{
	look(&blk);
	look(&net);
	look(&vsock);
	eoi();
}

static void on_generation(struct frame *f)
{
	generation = true;
	eoi();
}

static struct device find(uint32_t what)
{
	for (uint32_t i = 0; i < 8; i++) {
		uint32_t base = VIRTIO_MMIO_BASE + i * VIRTIO_MMIO_SIZE;

		if (mmio_read(base, MMIO_DEVICE_ID) == what)
			return (struct device){base, VIRTIO_MMIO_PIN + i};
	}
	return (struct device){0, 0};
}

static void route(uint32_t pin, uint32_t vector)
{
	ioapic_write(0x10 + 2 * pin + 1, apic_id() << 24);
	ioapic_write(0x10 + 2 * pin, vector);
}

/* -- disk ------------------------------------------------------------------------------------- */

static void request(uint32_t type, uint64_t block)
{
	header.type = type;
	header.sector = block * (BLOCK / 512);
	status = 0xee;
	queue_set(&requests, 0, &header, 16, VQ_NEXT, type == 4 ? 2 : 1);
	queue_set(&requests, 1, data, BLOCK, VQ_NEXT | (type ? 0 : VQ_WRITE), 2);
	queue_set(&requests, 2, &status, 1, VQ_WRITE, 0);
	queue_offer(&requests, 0);
	queue_kick(&requests);
	while (queue_used(&requests) < 0) {
		cli();
		if (*(volatile uint16_t *)&requests.used.idx == requests.seen)
			sti_hlt();
		sti();
	}
	check(status == 0);
}

static void verify(uint64_t block)
{
	for (uint64_t i = 0; i < BLOCK / 8; i++)
		data[i] = ~(uint64_t)0;
	request(0, block);
	for (uint64_t i = 0; i < BLOCK / 8; i++)
		check(data[i] == (written[block] ? written[block] + i : 0));
}

static void work(uint64_t round)
{
	uint64_t block = below(0, BLOCKS);

	for (uint64_t i = 0; i < BLOCK / 8; i++)
		data[i] = (round << 16) + i;
	request(1, block);
	written[block] = round << 16;
	if (round % 7 == 0)
		request(4, 0);
	verify(below(0, BLOCKS));
}

/* -- network ---------------------------------------------------------------------------------- */

static uint16_t net_status(void)
{
	uint16_t value;

	__asm__ volatile("movw (%1), %0"
			 : "=r"(value)
			 : "r"((uint64_t)net.base + MMIO_CONFIG + 6)
			 : "memory");
	return value;
}

/* To all, of a type that is for experiments: whoever hears it knows where this address is. */
static void announce(void)
{
	for (unsigned int i = 0; i < sizeof(packet); i++)
		packet[i] = i >= 12 && i < 18 ? 0xff : 0;
	for (unsigned int i = 0; i < 6; i++)
		packet[18 + i] =
			(uint8_t)(mmio_read(net.base, MMIO_CONFIG + (i & 4)) >> 8 * (i & 3));
	packet[24] = 0x88;
	packet[25] = 0xb5;
	queue_set(&net_tx, 0, packet, sizeof(packet), 0, 0);
	queue_offer(&net_tx, 0);
	queue_kick(&net_tx);
	while (queue_used(&net_tx) < 0)
		;
	command[0] = 3;
	command[1] = 0;
	command[2] = 0xff;
	queue_set(&net_ctrl, 0, command, 2, VQ_NEXT, 1);
	queue_set(&net_ctrl, 1, command + 2, 1, VQ_WRITE, 0);
	queue_offer(&net_ctrl, 0);
	queue_kick(&net_ctrl);
	while (queue_used(&net_ctrl) < 0)
		;
	check(command[2] == 0);
	check(!(net_status() & 2));
	put_str("announced\n");
}

static void set_up_net(void)
{
	net = find(ID_NET);
	if (!net.base)
		return;
	check(virtio_begin(net.base,
			   1u << F_NET_STATUS | 1u << F_NET_CTRL_VQ | 1u << F_NET_ANNOUNCE));
	queue_init(&net_rx, net.base, 0);
	queue_init(&net_tx, net.base, 1);
	queue_init(&net_ctrl, net.base, 2);
	virtio_go(net.base);
	for (uint16_t i = 0; i < 4; i++) {
		queue_set(&net_rx, i, packets[i], sizeof(packets[i]), VQ_WRITE, 0);
		queue_offer(&net_rx, i);
	}
	queue_kick(&net_rx);
	check(!(net_status() & 2));
	route(net.pin, DEVICES);
}

/* What comes is given back to be used again; so the queue's indices go on, too. */
static void serve_net(void)
{
	int i;

	while (net.base && (i = queue_used(&net_rx)) >= 0) {
		put_str("packet\n");
		queue_offer(&net_rx, (uint16_t)i);
		queue_kick(&net_rx);
	}
	if (!configuration)
		return;
	configuration = false;
	if (net_status() & 2)
		announce();
}

/* -- sockets ---------------------------------------------------------------------------------- */

static void offer_event(void)
{
	event[0] = UINT32_MAX;
	queue_set(&vsock_event, 0, event, 4, VQ_WRITE, 0);
	queue_offer(&vsock_event, 0);
	queue_kick(&vsock_event);
}

static void set_up_vsock(void)
{
	vsock = find(ID_VSOCK);
	if (!vsock.base)
		return;
	check(virtio_begin(vsock.base, 0));
	queue_init(&vsock_rx, vsock.base, 0);
	queue_init(&vsock_tx, vsock.base, 1);
	queue_init(&vsock_event, vsock.base, 2);
	virtio_go(vsock.base);
	offer_event();
	route(vsock.pin, DEVICES);
}

static void serve_vsock(void)
{
	if (!vsock.base || queue_used(&vsock_event) < 0)
		return;
	check(event[0] == 0);
	put_str("sockets reset\n");
	offer_event();
}

/* -- generation ------------------------------------------------------------------------------- */

static bool take_id(void)
{
	bool another = false;

	for (unsigned int i = 0; i < sizeof(id); i++) {
		uint8_t now = *(volatile uint8_t *)(GENID + i);

		another = another || now != id[i];
		id[i] = now;
	}
	return another;
}

static void serve_generation(void)
{
	if (!generation)
		return;
	generation = false;
	check(take_id());
	check(*(volatile uint32_t *)(VMCLOCK) == 0x4b4c4356);
	put_value("generation", *(volatile uint64_t *)(VMCLOCK + 104));
}

void test(void)
{
	uint64_t round = 0;

	apic_enable();
	outb(0x21, 0xff); /* KVM's PICs */
	outb(0xa1, 0xff);
	random_seed(arg_number("seed", 1));
	handlers[TIMER] = on_timer;
	handlers[DEVICES] = on_device;
	handlers[GENERATION] = on_generation;
	blk = find(ID_BLK);
	check(blk.base);
	check(virtio_begin(blk.base, 1u << 9));
	queue_init(&requests, blk.base, 0);
	virtio_go(blk.base);
	route(blk.pin, DEVICES);
	set_up_net();
	set_up_vsock();
	check(take_id());
	route(GENID_PIN, GENERATION);
	apic_write(APIC_TIMER_DIV, 0xb);
	apic_write(APIC_LVT_TIMER, TIMER | LVT_PERIODIC);
	apic_write(APIC_TIMER_INIT, 2000000);
	sti();
	for (;;) {
		uint64_t before = ticks;

		work(++round);
		serve_net();
		serve_vsock();
		serve_generation();
		if (round % EACH == 0) {
			/* The timer is there, and goes on. */
			while (ticks == before)
				sti_hlt();
			put_value("at", round);
		}
		if (inb(COM1 + 5) & 1 && inb(COM1) == 'q')
			break;
	}
	for (uint64_t b = 0; b < BLOCKS; b++)
		verify(b);
}
