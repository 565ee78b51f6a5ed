/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As hostile.c, for what virtio has on PCI: registers at sizes and offsets that they do not have,
 * queues where there is no memory, MSI-X tables that name no local APIC, BARs that move onto
 * memory, onto each other and onto the interrupt controllers, configuration space written at
 * random; a second processor does the same to the same device. In between and at the end, with its
 * BARs put back, each device has to run a queue (virtio 1.2, section 4.1; PCI Local
 * Bus 3.0, 6.1, 6.2.5, 6.8.2).
 *
 * A device writes into this guest: addresses of queues lead into the arena or to where there is no
 * memory. Messages that would be NMI, SMI or INIT are left out: the guest would have asked for its
 * own end.
 */
#include "lib/virtio.h"

#define ECAM	  0xe0000000u
#define MEMORY	  0x1000000u
#define ARENA	  0x800000u /* to the end of memory */
#define COMMON	  0x0000u   /* of the first BAR, as the capabilities say; checked */
#define ISR	  0x1000u
#define CONFIG	  0x2000u
#define DOORBELLS 0x3000u
#define DEVICES	  16

#define CFG_COMMAND 0x04
#define CFG_BAR0    0x10
#define CFG_CAPS    0x34
#define CAP_MSIX    0x11
#define CAP_VENDOR  0x09
#define CAP_WINDOW  5 /* cfg_type */

/* Of the common configuration. */
#define FEATURES_SEL  0x00
#define ACCEPT_SEL    0x08
#define ACCEPT	      0x0c
#define CONFIG_VECTOR 0x10
#define STATUS	      0x14
#define QUEUE_SEL     0x16
#define QUEUE_SIZE    0x18
#define QUEUE_VECTOR  0x1a
#define QUEUE_ENABLE  0x1c
#define QUEUE_DESC    0x20
#define QUEUE_END     0x38

struct device {
	uint32_t cfg; /* where its configuration space is */
	uint32_t id, msix, window;
	uint32_t bars[6], bar0, bar2;
	uint16_t command;
};

static struct device devices[DEVICES];
static uint32_t found;
static volatile uint32_t target;
static volatile bool attack, quiet;
static volatile uint64_t other_rounds;
/* -- accesses --------------------------------------------------------------------------------- */

static void put(uint64_t at, uint32_t size, uint64_t value)
{
	switch (size) {
	case 1:
		*(volatile uint8_t *)at = (uint8_t)value;
		break;
	case 2:
		*(volatile uint16_t *)at = (uint16_t)value;
		break;
	case 4:
		*(volatile uint32_t *)at = (uint32_t)value;
		break;
	default:
		*(volatile uint64_t *)at = value;
		break;
	}
}

static uint64_t get(uint64_t at, uint32_t size)
{
	switch (size) {
	case 1:
		return *(volatile uint8_t *)at;
	case 2:
		return *(volatile uint16_t *)at;
	case 4:
		return *(volatile uint32_t *)at;
	default:
		return *(volatile uint64_t *)at;
	}
}

static uint32_t any_size(uint32_t cpu)
{
	return 1u << below(cpu, 4);
}

/* In its first bytes no address in memory, however much of it is written. */
static uint64_t any_value(uint32_t cpu)
{
	static const uint64_t edges[] = {0, 1, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff};

	return below(cpu, 2) ? edges[below(cpu, 7)] : random(cpu) | MEMORY;
}

/* -- attacks ---------------------------------------------------------------------------------- */

/* Where a queue may be. */
static uint64_t any_place(uint32_t cpu)
{
	switch (below(cpu, 8)) {
	case 0:
		return MEMORY - below(cpu, 4096);
	case 1:
		return MEMORY;
	case 2:
		return ~UINT64_C(0) - below(cpu, 8192);
	case 3:
		return ECAM + below(cpu, 4096);
	case 4:
		return UINT64_C(0x100000000) - below(cpu, 64);
	case 5:
		return random(cpu) | UINT64_C(1) << 40;
	default:
		return ARENA + 2 * below(cpu, 0x100000);
	}
}

static void registers(uint32_t cpu, const struct device *d)
{
	uint32_t size = any_size(cpu);
	uint32_t at = below(cpu, 3) ? below(cpu, 0x40) : below(cpu, 0x4000);

	if (below(cpu, 2) == 0) {
		(void)get(d->bar0 + at, size);
		return;
	}
	/* Of queues' addresses not parts: what comes of them might be the guest's own code. */
	if (at < QUEUE_END && at + size > QUEUE_DESC)
		return;
	if (at <= STATUS && at + size > STATUS)
		return;
	put(d->bar0 + at, size, any_value(cpu));
}

static void queue(uint32_t cpu, const struct device *d)
{
	static const uint32_t sizes[] = {0, 1, 3, 15, 16, 17, 256, 257, 0x8000, 0xffff};

	put(d->bar0 + QUEUE_SEL, 2, below(cpu, 4) ? below(cpu, 4) : below(cpu, 0x10000));
	put(d->bar0 + QUEUE_SIZE, 2, sizes[below(cpu, 10)]);
	for (uint32_t at = QUEUE_DESC; at < QUEUE_END; at += 8) {
		uint64_t place = any_place(cpu);

		/* In halves, the upper first: what is there meanwhile is no memory. */
		put(d->bar0 + at + 4, 4, 1);
		put(d->bar0 + at, 4, place & 0xffffffff);
		put(d->bar0 + at + 4, 4, place >> 32);
		if (below(cpu, 4) == 0)
			put(d->bar0 + at + 4 + 2 * below(cpu, 2), 2, 1 + below(cpu, 0xffff));
		if (below(cpu, 4) == 0)
			put(d->bar0 + at, 8, place);
	}
	put(d->bar0 + QUEUE_VECTOR, 2, below(cpu, 2) ? below(cpu, 8) : random(cpu) & 0xffff);
	put(d->bar0 + QUEUE_ENABLE, 2, below(cpu, 4) ? 1 : below(cpu, 0x10000));
}

static void messages(uint32_t cpu, const struct device *d)
{
	static const uint32_t addresses[] = {0,		 0xfee00000, 0xfee00004, 0xfee01008,
					     0xfeeff00c, 0xfec00000, ARENA,	 0xfeefffff};
	/* Fixed and lowest priority; level, too; vectors that are none. */
	static const uint32_t data[] = {0x50, 0x151, 0, 0x0f, 0xff, 0x4051, 0xc052, 0xffff0053};
	uint32_t entry = d->bar2 + 16 * below(cpu, 8);

	put(d->cfg + d->msix + 2, 2, below(cpu, 4) ? 0x8000 : below(cpu, 4) << 14);
	put(entry + 12, 4, 1);
	put(entry, 4, addresses[below(cpu, 8)]);
	put(entry + 4, 4, below(cpu, 4) ? 0 : (uint32_t)random(cpu));
	put(entry + 8, 4, data[below(cpu, 8)]);
	put(entry + 12, 4, below(cpu, 4) ? 0 : (uint32_t)random(cpu));
	/* The upper half of an entry and what follows the table; at sizes that it need not take. */
	(void)get(entry + below(cpu, 16), any_size(cpu));
	put(entry + 12 + below(cpu, 4), 1, below(cpu, 2));
	put(d->bar2 + 0x800 + below(cpu, 0x800), any_size(cpu), any_value(cpu));
	put(d->bar0 + CONFIG_VECTOR, 2, below(cpu, 2) ? below(cpu, 8) : random(cpu) & 0xffff);
}

static void bars(uint32_t cpu, const struct device *d)
{
	static const uint32_t places[] = {0,	      ARENA,	  0xfee00000, 0xfec00000,
					  ECAM,	      0xffffffff, 0xd0000000, 0xdfffc000,
					  0xdffff000, 0xc0000000};
	uint32_t bar = CFG_BAR0 + 4 * below(cpu, 6);
	uint64_t place = below(cpu, 3) ? places[below(cpu, 10)]
				       : devices[below(cpu, found)].bars[2 * below(cpu, 2)];

	put(d->cfg + bar, below(cpu, 3) ? 4 : any_size(cpu) & 7, place);
	if (below(cpu, 4) == 0)
		put(d->cfg + CFG_COMMAND, 2, random(cpu) & 0xffff);
	/* Reads only: what is there now is not for writing. */
	for (int i = 0; i < 4; i++) {
		(void)get(d->bar0 + below(cpu, 0x4000), any_size(cpu));
		(void)get(0xd0000000u + (uint32_t)(random(cpu) & 0xfffffff), any_size(cpu));
	}
}

static void configuration(uint32_t cpu, const struct device *d)
{
	uint32_t at = below(cpu, 4) ? below(cpu, 256) : below(cpu, 0x1000), size = any_size(cpu);

	if (below(cpu, 2))
		(void)get(d->cfg + at, size);
	else
		put(d->cfg + at, size & 7 ? size : 4, any_value(cpu));
	/* By ports, where an access may reach over the end of a register. */
	outl(0xcf8, (uint32_t)random(cpu) | (below(cpu, 2) ? 0x80000000 : 0));
	(void)inl((uint16_t)(0xcfc + below(cpu, 4)));
	(void)inb(0xcfb);
	outl(0xcf8, 0);
	/* The window: BAR, offset, length, and then data. */
	put(d->cfg + d->window + 4, 1, below(cpu, 2) ? 0 : below(cpu, 256));
	put(d->cfg + d->window + 8, 4,
	    below(cpu, 2) ? below(cpu, 0x18) : 0x38 + below(cpu, 0x4000));
	put(d->cfg + d->window + 12, 4,
	    below(cpu, 4) ? 1u << below(cpu, 4) : (uint32_t)random(cpu));
	(void)get(d->cfg + d->window + 16, any_size(cpu) & 7);
}

static void any(uint32_t cpu, const struct device *d)
{
	switch (below(cpu, 8)) {
	case 0:
		queue(cpu, d);
		break;
	case 1:
		messages(cpu, d);
		break;
	case 2:
		bars(cpu, d);
		break;
	case 3:
		configuration(cpu, d);
		break;
	case 4: /* any but what would end the attack of the other */
		put(d->bar0 + STATUS, 1, below(cpu, 4) ? 15 : below(cpu, 256));
		break;
	case 5:
		put(d->bar0 + DOORBELLS + below(cpu, 0x1000), any_size(cpu), any_value(cpu));
		break;
	default:
		registers(cpu, d);
		break;
	}
}

static void ap_main(uint32_t id)
{
	apic_enable();
	for (;;) {
		if (!attack) {
			quiet = true;
			continue;
		}
		any(1, &devices[target]);
		other_rounds++;
	}
}

/* -- what devices are there for --------------------------------------------------------------- */

static struct queue fine;
static uint8_t page[4096] __attribute__((aligned(4096)));

static void repair(const struct device *d)
{
	put(d->cfg + CFG_COMMAND, 2, 0);
	for (uint32_t i = 0; i < 6; i++)
		put(d->cfg + CFG_BAR0 + 4 * i, 4, d->bars[i]);
	put(d->cfg + d->msix + 2, 2, 0);
	put(d->cfg + CFG_COMMAND, 2, d->command);
	put(d->bar0 + STATUS, 1, 0);
	while (get(d->bar0 + STATUS, 1))
		;
}

/* The entropy device and the disk, whose requests need nobody else. */
static void sane(const struct device *d)
{
	repair(d);
	put(d->bar0 + STATUS, 1, 3);
	put(d->bar0 + ACCEPT_SEL, 4, 0);
	put(d->bar0 + ACCEPT, 4, 0);
	put(d->bar0 + ACCEPT_SEL, 4, 1);
	put(d->bar0 + ACCEPT, 4, 1);
	put(d->bar0 + STATUS, 1, 11);
	check(get(d->bar0 + STATUS, 1) == 11);
	for (uint32_t i = 0; i < sizeof(fine); i++)
		((volatile uint8_t *)&fine)[i] = 0;
	for (uint32_t i = 0; i < sizeof(page); i++)
		((volatile uint8_t *)page)[i] = 0;
	put(d->bar0 + QUEUE_SEL, 2, 0);
	put(d->bar0 + QUEUE_SIZE, 2, VQ_SIZE);
	put(d->bar0 + QUEUE_DESC, 8, (uint64_t)fine.desc);
	put(d->bar0 + QUEUE_DESC + 8, 8, (uint64_t)&fine.avail);
	put(d->bar0 + QUEUE_DESC + 16, 8, (uint64_t)&fine.used);
	check(get(d->bar0 + QUEUE_DESC, 4) == (uint32_t)(uint64_t)fine.desc);
	put(d->bar0 + QUEUE_ENABLE, 2, 1);
	put(d->bar0 + STATUS, 1, 15);
	check(get(d->bar0 + STATUS, 1) == 15);
	if (d->id == 4 || d->id == 2) {
		page[2048] = 0xee;
		if (d->id == 4) {
			queue_set(&fine, 0, page, 64, VQ_WRITE, 0);
		} else {
			queue_set(&fine, 0, page, 16, VQ_NEXT, 1);
			queue_set(&fine, 1, page + 512, 512, VQ_NEXT | VQ_WRITE, 2);
			queue_set(&fine, 2, page + 2048, 1, VQ_WRITE, 0);
		}
		queue_offer(&fine, 0);
		put(d->bar0 + DOORBELLS, 2, 0);
		while (queue_used(&fine) < 0)
			;
		check(d->id == 4 || page[2048] == 0);
	}
	repair(d);
}

static void find(void)
{
	for (uint32_t slot = 0; slot < 32 && found < DEVICES; slot++) {
		struct device *d = &devices[found];
		uint32_t cfg = ECAM + (slot << 15), at;

		if (get(cfg, 2) != 0x1af4)
			continue;
		d->cfg = cfg;
		d->id = (uint32_t)get(cfg + 2, 2) - 0x1040;
		d->command = (uint16_t)get(cfg + CFG_COMMAND, 2);
		for (uint32_t i = 0; i < 6; i++)
			d->bars[i] = (uint32_t)get(cfg + CFG_BAR0 + 4 * i, 4);
		d->bar0 = d->bars[0] & ~15u;
		d->bar2 = d->bars[2] & ~15u;
		for (at = (uint32_t)get(cfg + CFG_CAPS, 1); at;
		     at = (uint32_t)get(cfg + at + 1, 1)) {
			uint32_t cap = (uint32_t)get(cfg + at, 1);
			uint32_t kind = (uint32_t)get(cfg + at + 3, 1);

			if (cap == CAP_MSIX)
				d->msix = at;
			if (cap == CAP_VENDOR && kind == CAP_WINDOW)
				d->window = at;
			if (cap == CAP_VENDOR && kind == 2)
				check(get(cfg + at + 8, 4) == DOORBELLS);
		}
		check(d->bar0 && d->bar2 && d->msix && d->window);
		found++;
	}
}

void test(void)
{
	uint32_t rounds = (uint32_t)arg_number("rounds", 100);
	uint32_t cpus = (uint32_t)arg_number("cpus", 1);

	random_seed(arg_number("seed", 1));
	apic_enable();
	find();
	put_value("devices", found);
	for (uint32_t i = 0; i < found; i++)
		sane(&devices[i]);
	if (cpus > 1)
		start_ap(1, ap_main, AP_PAGE);
	for (uint32_t i = 0; i < found; i++) {
		target = i;
		attack = cpus > 1;
		for (uint32_t n = 0; n < rounds; n++) {
			any(0, &devices[i]);
			/* Moved BARs make all that follows miss. */
			if (n % 16 == 15)
				repair(&devices[i]);
		}
		attack = false;
		quiet = false;
		while (cpus > 1 && !quiet)
			;
		put_value("attacked", devices[i].id);
		for (uint32_t k = 0; k < found; k++)
			sane(&devices[k]);
	}
	put_value("other", other_rounds);
}
