/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entropy device, by drivers that are not Linux's (virtio 1.2, sections 4.1 and 4.2):
 *
 *	how=mmio    virtio-mmio, its input of the I/O APIC set to level
 *	how=pci     PCI without MSI-X: the function's pin, shared with a second device
 *	how=msix    PCI with MSI-X: a vector that is masked, by itself or with all, is pending; one that
 *		    is another message from then on
 *	how=window  PCI with memory decoding off: all registers by the window in configuration
 * space, by the ports and by bytes where that is allowed, and no interrupts at all
 *
 * The first two add the next request while the handler of the one before has not said that it is
 * done: an interrupt that came only as an edge would be gone by then.
 */
#include "lib/virtio.h"

#define VECTOR	 0x40
#define REQUESTS 200u
#define BYTES	 64u

#define IOAPIC_LEVEL 0x8000u
#define IOAPIC_LOW   0x2000u

#define CFG_COMMAND 0x04
#define CFG_STATUS  0x06
#define CFG_BAR0    0x10
#define CFG_CAPS    0x34
#define CFG_LINE    0x3c
#define CFG_PIN	    0x3d
#define CAP_VENDOR  0x09
#define CAP_MSIX    0x11

#define MSIX_ENABLE 0x8000u
#define MSIX_MASK   0x4000u
#define MESSAGES    0xfee00000u

/* Of the common configuration. */
#define ACCEPT_SEL   0x08
#define ACCEPT	     0x0c
#define STATUS	     0x14
#define QUEUE_SEL    0x16
#define QUEUE_SIZE   0x18
#define QUEUE_ENABLE 0x1c
#define QUEUE_VECTOR 0x1a
#define NOTIFY_OFF   0x1e
#define QUEUE_DESC   0x20

enum { COMMON = 1, NOTIFY, ISR, DEVICE, WINDOW, KINDS };

static struct queue q;
static volatile uint8_t bytes[BYTES];
static volatile uint32_t done, interrupts, strangers;
static bool pci, by_window;

/* -- the function ----------------------------------------------------------------------------- */

static uint32_t slot, multiplier;
static uint32_t offset[KINDS], bar[KINDS], cap[KINDS];
static uint32_t msix; /* the capability of MSI-X */
static uint32_t command = 2;
static uint64_t known[6]; /* where the BARs are; 0: not known */

static uint16_t cfg_at(uint32_t reg)
{
	outl(0xcf8, 0x80000000u | slot << 11 | (reg & 0xfc));
	return (uint16_t)(0xcfc + (reg & 3));
}

static uint32_t cfg(uint32_t reg, uint32_t len)
{
	uint16_t port = cfg_at(reg);

	return len == 1 ? inb(port) : len == 2 ? inw(port) : inl(port);
}

static void set_cfg(uint32_t reg, uint32_t value, uint32_t len)
{
	uint16_t port = cfg_at(reg);

	if (len == 1)
		outb(port, (uint8_t)value);
	else if (len == 2)
		outw(port, (uint16_t)value);
	else
		outl(port, value);
}

static bool find(uint16_t id)
{
	for (slot = 0; slot < 32; slot++)
		if (cfg(0, 2) == 0x1af4 && cfg(2, 2) == id)
			break;
	if (slot == 32)
		return false;
	check(cfg(CFG_STATUS, 2) & 0x10);
	for (uint32_t at = cfg(CFG_CAPS, 1); at; at = cfg(at + 1, 1)) {
		uint32_t kind = cfg(at + 3, 1);

		if (cfg(at, 1) == CAP_MSIX)
			msix = at;
		if (cfg(at, 1) != CAP_VENDOR || kind >= KINDS)
			continue;
		cap[kind] = at;
		bar[kind] = cfg(at + 4, 1);
		offset[kind] = cfg(at + 8, 4);
		if (kind == NOTIFY)
			multiplier = cfg(at + 16, 4);
	}
	for (uint32_t kind = COMMON; kind < KINDS; kind++)
		check(cap[kind] || kind == DEVICE); /* the entropy device has no configuration */
	return true;
}

/* Sizes it as firmware does, and leaves it where it was. */
static uint64_t base_of(uint32_t n)
{
	uint32_t reg = CFG_BAR0 + 4 * n, low = cfg(reg, 4), high, size;

	if (known[n])
		return known[n];
	check((low & 1) == 0);
	set_cfg(CFG_COMMAND, 0, 2);
	set_cfg(reg, 0xffffffff, 4);
	size = ~(cfg(reg, 4) & ~0xfu) + 1;
	set_cfg(reg, low, 4);
	check(size >= 0x1000 && !(size & (size - 1)));
	high = low & 4 ? cfg(reg + 4, 4) : 0;
	check(!((low & ~0xfu) & (size - 1)));
	return (uint64_t)high << 32 | (low & ~0xfu);
}

static void point(uint32_t kind, uint32_t reg, uint32_t len)
{
	/* By bytes, which configuration space takes as well. */
	set_cfg(cap[WINDOW] + 4, bar[kind], 1);
	for (uint32_t i = 0; i < 4; i++)
		set_cfg(cap[WINDOW] + 8 + i, (offset[kind] + reg) >> 8 * i, 1);
	set_cfg(cap[WINDOW] + 12, len, 4);
}

static uint32_t reg_read(uint32_t kind, uint32_t reg, uint32_t len)
{
	uint64_t at;

	if (by_window) {
		point(kind, reg, len);
		return cfg(cap[WINDOW] + 16, len);
	}
	at = base_of(bar[kind]) + offset[kind] + reg;
	set_cfg(CFG_COMMAND, command, 2);
	return len == 1	  ? *(volatile uint8_t *)at
	       : len == 2 ? *(volatile uint16_t *)at
			  : *(volatile uint32_t *)at;
}

static void reg_write(uint32_t kind, uint32_t reg, uint32_t value, uint32_t len)
{
	uint64_t at;

	if (by_window) {
		point(kind, reg, len);
		set_cfg(cap[WINDOW] + 16, value, len);
		return;
	}
	at = base_of(bar[kind]) + offset[kind] + reg;
	set_cfg(CFG_COMMAND, command, 2);
	if (len == 1)
		*(volatile uint8_t *)at = (uint8_t)value;
	else if (len == 2)
		*(volatile uint16_t *)at = (uint16_t)value;
	else
		*(volatile uint32_t *)at = value;
}

static void begin_pci(void)
{
	const volatile void *const parts[] = {q.desc, &q.avail, &q.used};

	check(find(0x1044));
	reg_write(COMMON, STATUS, 0, 1);
	check(reg_read(COMMON, STATUS, 1) == 0);
	reg_write(COMMON, STATUS, 1, 1);
	reg_write(COMMON, STATUS, 2, 1); /* bits that are set stay so */
	check(reg_read(COMMON, STATUS, 1) == 3);
	reg_write(COMMON, ACCEPT_SEL, 1, 4);
	reg_write(COMMON, ACCEPT, 1, 4); /* version 1, and nothing of the rings */
	reg_write(COMMON, STATUS, 11, 1);
	check(reg_read(COMMON, STATUS, 1) == 11);
	reg_write(COMMON, QUEUE_SEL, 0, 2);
	check(reg_read(COMMON, QUEUE_SIZE, 2) >= VQ_SIZE);
	reg_write(COMMON, QUEUE_SIZE, VQ_SIZE, 2);
	/* The high half first. */
	for (uint32_t i = 0; i < 3; i++) {
		reg_write(COMMON, QUEUE_DESC + 8 * i + 4, (uint32_t)((uint64_t)parts[i] >> 32), 4);
		reg_write(COMMON, QUEUE_DESC + 8 * i, (uint32_t)(uint64_t)parts[i], 4);
	}
	reg_write(COMMON, QUEUE_ENABLE, 1, 2);
	reg_write(COMMON, STATUS, 15, 1);
	check(reg_read(COMMON, STATUS, 1) == 15);
}

/* -- requests --------------------------------------------------------------------------------- */

static void kick(void)
{
	if (!pci)
		queue_kick(&q);
	else
		reg_write(NOTIFY, reg_read(COMMON, NOTIFY_OFF, 2) * multiplier, 0, 2);
}

static void ask(void)
{
	uint16_t d = (uint16_t)(q.avail.idx % VQ_SIZE);

	for (uint32_t i = 0; i < BYTES; i++)
		bytes[i] = 0;
	queue_set(&q, d, bytes, BYTES, VQ_WRITE, 0);
	queue_offer(&q, d);
	kick();
}

/* Returns whether one is back, and looks at what it brought. */
static bool take(void)
{
	uint16_t at = q.seen % VQ_SIZE;
	uint32_t set = 0;

	if (queue_used(&q) < 0)
		return false;
	check(*(volatile uint32_t *)&q.used.ring[at].len == BYTES);
	for (uint32_t i = 0; i < BYTES; i++)
		set += bytes[i] != 0;
	check(set > BYTES / 2);
	done++;
	return true;
}

static void on_interrupt(struct frame *f)
{
	uint32_t bits;

	interrupts++;
	if (pci) {
		bits = reg_read(ISR, 0, 1);
		check(!bits || !(cfg(CFG_STATUS, 2) & 8));
	} else {
		bits = mmio_read(VIRTIO_MMIO_BASE, MMIO_IRQ_STATUS);
		mmio_write(VIRTIO_MMIO_BASE, MMIO_IRQ_ACK, bits);
	}
	if (!(bits & 1))
		strangers++;
	else if (take() && done < REQUESTS)
		ask(); /* it is complete, and interrupts, before this one has ended */
	eoi();
}

static void wait_for_all(void)
{
	for (;;) {
		cli();
		if (done == REQUESTS)
			return;
		sti_hlt();
		sti();
	}
}

static void by_interrupt(uint32_t input, uint32_t polarity)
{
	handlers[VECTOR] = on_interrupt;
	ioapic_write(0x11 + 2 * input, apic_id() << 24);
	ioapic_write(0x10 + 2 * input, VECTOR | IOAPIC_LEVEL | polarity);
	ask();
	wait_for_all();
	check(interrupts >= REQUESTS);
	/* KVM's own I/O APIC sends a level once too often now and then. */
	check(strangers == 0 || arg_is("irqchip", "kernel"));
}

/* -- messages --------------------------------------------------------------------------------- */

static volatile uint32_t others;

static void on_message(struct frame *f)
{
	interrupts++;
	if (take() && done < REQUESTS)
		ask();
	eoi();
}

static void on_other(struct frame *f)
{
	others++;
	eoi();
}

static volatile uint32_t *entry(uint32_t n)
{
	uint32_t table = cfg(msix + 4, 4);

	return (volatile uint32_t *)(base_of(table & 7) + (table & ~7u) + 16 * n);
}

static bool is_pending(uint32_t n)
{
	uint32_t bits = cfg(msix + 8, 4);

	return *(volatile uint32_t *)(base_of(bits & 7) + (bits & ~7u)) >> n & 1;
}

/* Has a request done while no message may be sent: it is there, and pending. */
static void ask_quietly(void)
{
	const uint32_t before = interrupts + others;

	ask();
	while (!take())
		;
	while (!is_pending(1))
		;
	sti();
	for (int i = 0; i < 100; i++)
		check(interrupts + others == before);
	cli();
}

static void wait_for(volatile uint32_t *count, uint32_t value)
{
	sti();
	while (*count < value)
		;
	cli();
	check(*count == value && !is_pending(1));
}

static void by_message(void)
{
	uint32_t before;

	check(msix);
	for (uint32_t i = 0; i < 3; i += 2)
		known[i] = base_of(i);
	command = 6;
	set_cfg(CFG_COMMAND, command, 2);
	handlers[VECTOR] = on_message;
	handlers[VECTOR + 1] = on_other;
	entry(1)[0] = MESSAGES | apic_id() << 12;
	entry(1)[1] = 0;
	entry(1)[2] = VECTOR;
	entry(1)[3] = 0;
	set_cfg(msix + 2, MSIX_ENABLE, 2);
	reg_write(COMMON, QUEUE_SEL, 0, 2);
	reg_write(COMMON, QUEUE_VECTOR, 1, 2);
	check(reg_read(COMMON, QUEUE_VECTOR, 2) == 1);
	ask();
	wait_for_all();
	check(interrupts >= REQUESTS);
	for (uint32_t i = 0; i < 50; i++) {
		before = interrupts;
		entry(1)[3] = 1;
		ask_quietly();
		entry(1)[3] = 0;
		wait_for(&interrupts, before + 1);
		set_cfg(msix + 2, MSIX_ENABLE | MSIX_MASK, 2);
		ask_quietly();
		set_cfg(msix + 2, MSIX_ENABLE, 2);
		wait_for(&interrupts, before + 2);
		entry(1)[3] = 1;
		entry(1)[2] = VECTOR + 1;
		entry(1)[3] = 0;
		before = others;
		ask();
		wait_for(&others, before + 1);
		check(take());
		entry(1)[3] = 1;
		entry(1)[2] = VECTOR;
		entry(1)[3] = 0;
	}
	/* Off: nothing comes, by whatever way. */
	before = interrupts + others;
	set_cfg(msix + 2, 0, 2);
	set_cfg(CFG_COMMAND, command | 0x400, 2);
	ask();
	while (!take())
		;
	sti();
	for (int i = 0; i < 100; i++)
		check(interrupts + others == before);
	cli();
}

void test(void)
{
	apic_enable();
	if (arg_is("how", "mmio")) {
		check(mmio_read(VIRTIO_MMIO_BASE, MMIO_DEVICE_ID) == 4);
		check(virtio_begin(VIRTIO_MMIO_BASE, 0));
		queue_init(&q, VIRTIO_MMIO_BASE, 0);
		virtio_go(VIRTIO_MMIO_BASE);
		by_interrupt(VIRTIO_MMIO_PIN, 0);
		return;
	}
	pci = true;
	by_window = arg_is("how", "window");
	begin_pci();
	if (arg_is("how", "msix")) {
		by_message();
		return;
	}
	if (!by_window) {
		check(cfg(CFG_PIN, 1) == 1);
		by_interrupt(cfg(CFG_LINE, 1), IOAPIC_LOW);
		return;
	}
	set_cfg(CFG_COMMAND, 0, 2);
	q.avail.flags = 1; /* no interrupts */
	while (done < REQUESTS) {
		ask();
		while (!take())
			;
	}
	check(reg_read(ISR, 0, 1) == 0);
	/* A second driver takes over from the first, and finds nothing left of it. */
	for (uint32_t i = 0; i < sizeof(q); i++)
		((volatile uint8_t *)&q)[i] = 0;
	begin_pci();
	ask();
	while (!take())
		;
	/* Which comes after what it is for. */
	while (reg_read(ISR, 0, 1) != 1)
		;
}
