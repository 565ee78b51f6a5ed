/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network driver on virtio-mmio (5.1) that takes only what is for its own address, and so nothing
 * of a flood for another. It says "up" and "down" as the link changes, and a dot each time that it
 * has computed for a while: how fast they come shows how much of its processor the guest has. With
 * ask=N it asks N times who has an address, and ends when each question was answered. With again=N it
 * asks once more where no answer has come after it has looked N times.
 */
#include "lib/virtio.h"

#define F_MRG_RXBUF   15
#define F_STATUS      16
#define F_CTRL_VQ     17
#define F_CTRL_RX     18
#define CONFIG_STATUS (MMIO_CONFIG + 6)
#define BUFFER	      4352 /* all of them take the longest packet */

static struct queue rx, tx, ctrl;
static uint8_t buffers[VQ_SIZE][BUFFER] __attribute__((aligned(4096)));
static volatile uint8_t command[4];
static uint32_t base;

static bool find(void)
{
	for (uint32_t i = 0; i < 8; i++) {
		base = VIRTIO_MMIO_BASE + i * VIRTIO_MMIO_SIZE;
		if (mmio_read(base, MMIO_DEVICE_ID) == 1)
			return true;
	}
	return false;
}

/* Promiscuous mode is what a device begins with. */
static void promiscuous(bool on)
{
	command[2] = on;
	command[3] = 0xff;
	queue_set(&ctrl, 0, command, 3, VQ_NEXT, 1);
	queue_set(&ctrl, 1, command + 3, 1, VQ_WRITE, 0);
	queue_offer(&ctrl, 0);
	queue_kick(&ctrl);
	while (queue_used(&ctrl) < 0)
		;
	check(command[3] == 0);
}

static bool link_is_up(void)
{
	uint16_t status;

	__asm__ volatile("movw (%1), %0"
			 : "=r"(status)
			 : "r"((uint64_t)base + CONFIG_STATUS)
			 : "memory");
	return status & 1;
}

/* Before the packet: nothing is left to anybody. */
#define HEAD 12

static void send(void)
{
	queue_offer(&tx, 0);
	queue_kick(&tx);
}

/* Asks who has an address, and waits for the answer: packets pass both ways. */
static void ask_for_address(void)
{
	static const uint8_t question[] = {0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1};
	static uint8_t packet[HEAD + 60];
	const uint64_t again = arg_number("again", 0);
	uint8_t *p = packet + HEAD;
	uint64_t looks = 0;
	bool answer = false;
	int head;

	for (int i = 0; i < 6; i++) {
		uint32_t word = mmio_read(base, MMIO_CONFIG + (i & ~3u));

		p[i] = 0xff;
		p[6 + i] = p[22 + i] = (uint8_t)(word >> 8 * (i & 3));
	}
	for (uint32_t i = 0; i < sizeof(question); i++)
		p[12 + i] = question[i];
	p[28] = p[38] = 10; /* from 10.1.2.15, for 10.1.2.3 */
	p[29] = p[39] = 1;
	p[30] = p[40] = 2;
	p[31] = 15;
	p[41] = 3;
	queue_set(&tx, 0, packet, sizeof(packet), 0, 0);
	send();
	while (!answer) {
		while ((head = queue_used(&rx)) < 0)
			if (again && ++looks % again == 0 && queue_used(&tx) >= 0)
				send();
		p = buffers[head] + HEAD;
		answer = p[12] == 0x08 && p[13] == 0x06 && p[21] == 2 && p[31] == 3;
		queue_offer(&rx, (uint16_t)head);
		queue_kick(&rx);
	}
	while (queue_used(&tx) < 0)
		;
	put_str("answered\n");
}

/* Waits for the next buffer that was filled, and takes its length. */
static uint16_t filled(uint32_t *len)
{
	uint16_t at = rx.seen % VQ_SIZE;
	int head;

	while ((head = queue_used(&rx)) < 0)
		;
	*len = *(volatile uint32_t *)&rx.used.ring[at].len;
	check(head < VQ_SIZE && *len <= BUFFER);
	return (uint16_t)head;
}

/* Takes the packet that has come: it is a chain of the queue that sends, too, by the same numbers. */
static uint16_t take_packet(void)
{
	uint32_t len;
	uint16_t first = filled(&len), last = first, count;

	/* The header's last field: how many buffers it has filled. */
	count = *(volatile uint16_t *)(buffers[first] + HEAD - 2);
	check(count >= 1 && count <= VQ_SIZE);
	queue_set(&tx, first, buffers[first], len, 0, 0);
	while (--count) {
		uint16_t next = filled(&len);

		tx.desc[last].flags = VQ_NEXT;
		tx.desc[last].next = next;
		queue_set(&tx, next, buffers[next], len, 0, 0);
		last = next;
	}
	return first;
}

/* Gives the buffers of a packet that was sent to the queue that receives. */
static void give_back(uint16_t i)
{
	while (tx.desc[i].flags & VQ_NEXT) {
		queue_offer(&rx, i);
		i = tx.desc[i].next;
	}
	queue_offer(&rx, i);
	queue_kick(&rx);
}

static void echo(uint64_t packets)
{
	static uint8_t ready[HEAD + 60];
	uint64_t taken = 0, sent = 0;
	int head;

	/* What has come before is lost; so it says when it begins. */
	queue_set(&tx, 0, ready, sizeof(ready), 0, 0);
	send();
	while (queue_used(&tx) < 0)
		;
	while (sent < packets) {
		if (taken < packets && *(volatile uint16_t *)&rx.used.idx != rx.seen) {
			queue_offer(&tx, take_packet());
			queue_kick(&tx);
			taken++;
		}
		while ((head = queue_used(&tx)) >= 0) {
			give_back((uint16_t)head);
			sent++;
		}
	}
	(void)take_packet();
	put_str("echoed\n");
}

void test(void)
{
	const uint64_t packets = arg_number("echo", 0);
	bool up = true;

	check(find());
	apic_enable();
	check(virtio_begin(base, (packets ? 1u << F_MRG_RXBUF : 0) | 1u << F_STATUS |
					 1u << F_CTRL_VQ | 1u << F_CTRL_RX));
	queue_init(&rx, base, 0);
	queue_init(&tx, base, 1);
	queue_init(&ctrl, base, 2);
	virtio_go(base);
	for (uint16_t i = 0; i < VQ_SIZE; i++) {
		queue_set(&rx, i, buffers[i], BUFFER, VQ_WRITE, 0);
		queue_offer(&rx, i);
	}
	queue_kick(&rx);
	if (packets) {
		put_str("up\n");
		echo(packets);
		return;
	}
	promiscuous(false);
	put_str("up\n");
	if (arg_number("ask", 0)) {
		for (uint64_t n = arg_number("ask", 0); n; n--)
			ask_for_address();
		return;
	}
	for (;;) {
		for (volatile int i = 0; i < 200; i++)
			;
		put_str(".");
		if (link_is_up() != up) {
			up = !up;
			put_str(up ? "up\n" : "down\n");
		}
	}
}
