/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O APIC: pins, redirection entries, remote IRR. Intel 82093AA data sheet, "Functional
 * Description" and "Register Description"; version 0x20 with the EOI register of the later chipsets
 * (ICH data sheets).
 *
 * The polarity bit is kept and ignored: a pin's level here is whether its interrupt is asserted.
 */
#include <string.h>

#include "devices/ioapic.h"

#define SELECT_OFFSET 0x00
#define WINDOW_OFFSET 0x10
#define EOI_OFFSET    0x40

#define REG_ID		0x00
#define REG_VERSION	0x01
#define REG_ARBITRATION 0x02
#define REG_TABLE	0x10

#define VERSION	 (0x20u | (IOAPIC_PINS - 1) << 16)
#define ID_SHIFT 24
#define ID_MASK	 0xfu

#define ENTRY_VECTOR(e)	  ((uint8_t)(e))
#define ENTRY_DELIVERY(e) ((uint8_t)((e) >> 8 & 7))
#define ENTRY_DEST(e)	  ((uint8_t)((e) >> 56))
#define ENTRY_LOGICAL	  (UINT64_C(1) << 11)
#define ENTRY_REMOTE_IRR  (UINT64_C(1) << 14)
#define ENTRY_LEVEL	  (UINT64_C(1) << 15)
#define ENTRY_MASKED	  (UINT64_C(1) << 16)
/* Without delivery status (12, always idle here) and remote IRR, which are read-only. */
#define ENTRY_WRITABLE_LOW  UINT64_C(0x1afff)
#define ENTRY_WRITABLE_HIGH UINT64_C(0xff00000000000000)

/* Returns whether it is by level. Only these two delivery modes have levels; "treated as an edge
 * ... even if programmed as level". */
static bool is_level(uint64_t entry)
{
	return (entry & ENTRY_LEVEL) &&
	       (ENTRY_DELIVERY(entry) == LAPIC_FIXED || ENTRY_DELIVERY(entry) == LAPIC_LOWEST);
}

static unsigned int send(struct ioapic *io, uint64_t entry)
{
	const struct lapic_msg msg = {
		.dest = ENTRY_DEST(entry),
		.vector = ENTRY_VECTOR(entry),
		.delivery = ENTRY_DELIVERY(entry),
		.shorthand = LAPIC_TO_DEST,
		.logical = entry & ENTRY_LOGICAL,
		.level = is_level(entry),
		.xapic_dest = true,
	};

	return lapic_bus_send(io->bus, &msg, NULL);
}

/*
 * Sends a level that is asserted, not masked, and not being handled. If no local APIC took it, the
 * next change of the entry or the pin tries again.
 */
static void send_level(struct ioapic *io, unsigned int pin)
{
	uint64_t entry = io->entry[pin];

	if (!is_level(entry) || !(io->level >> pin & 1) ||
	    (entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR)))
		return;
	/* Under the lock: its EOI waits until remote IRR is set. */
	if (send(io, entry))
		io->entry[pin] |= ENTRY_REMOTE_IRR;
}

void ioapic_set_pin(struct ioapic *io, unsigned int pin, bool level)
{
	bool rising;

	if (pin >= IOAPIC_PINS)
		return;
	pthread_mutex_lock(&io->lock);
	rising = level && !(io->level >> pin & 1);
	if (level)
		io->level |= 1u << pin;
	else
		io->level &= ~(1u << pin);

	/* "Edge-sensitive interrupts signaled on a masked interrupt pin are ignored". */
	if (is_level(io->entry[pin]))
		send_level(io, pin);
	else if (rising && !(io->entry[pin] & ENTRY_MASKED))
		send(io, io->entry[pin]);
	pthread_mutex_unlock(&io->lock);
}

bool ioapic_pin_enabled(struct ioapic *io, unsigned int pin)
{
	bool enabled;

	if (pin >= IOAPIC_PINS)
		return false;
	pthread_mutex_lock(&io->lock);
	enabled = !(io->entry[pin] & ENTRY_MASKED);
	pthread_mutex_unlock(&io->lock);
	return enabled;
}

static void end_of_interrupt(struct ioapic *io, uint8_t vector)
{
	uint32_t pins = io->level_mask_of_vector[vector];

	for (; pins; pins &= pins - 1) {
		unsigned int pin = (unsigned int)__builtin_ctz(pins);

		if (!(io->entry[pin] & ENTRY_REMOTE_IRR))
			continue;
		io->entry[pin] &= ~ENTRY_REMOTE_IRR;
		send_level(io, pin);
	}
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	pthread_mutex_lock(&io->lock);
	end_of_interrupt(io, vector);
	pthread_mutex_unlock(&io->lock);
}

static void write_entry(struct ioapic *io, unsigned int pin, uint64_t value)
{
	uint64_t old = io->entry[pin];

	value &= ENTRY_WRITABLE_LOW | ENTRY_WRITABLE_HIGH;
	/*
	 * Going to edge and back is how systems without an EOI register clear remote IRR; keeping
	 * it while the entry is an edge would lose the pin for good.
	 */
	if (is_level(value))
		value |= old & ENTRY_REMOTE_IRR;
	io->entry[pin] = value;

	io->level_mask_of_vector[ENTRY_VECTOR(old)] &= ~(1u << pin);
	if (is_level(value))
		io->level_mask_of_vector[ENTRY_VECTOR(value)] |= 1u << pin;
	send_level(io, pin);
}

static bool is_entry(uint32_t index)
{
	return index >= REG_TABLE && index < REG_TABLE + 2 * IOAPIC_PINS;
}

static void write_window(struct ioapic *io, uint32_t value)
{
	unsigned int pin = (io->index - REG_TABLE) / 2;

	if (is_entry(io->index) && io->index % 2)
		write_entry(io, pin, (uint32_t)io->entry[pin] | (uint64_t)value << 32);
	else if (is_entry(io->index))
		write_entry(io, pin, io->entry[pin] >> 32 << 32 | value);
	else if (io->index == REG_ID)
		io->id = value >> ID_SHIFT & ID_MASK;
	else
		io->illegal++;
}

static uint32_t read_window(struct ioapic *io)
{
	uint64_t entry;

	if (is_entry(io->index)) {
		entry = io->entry[(io->index - REG_TABLE) / 2];
		return (uint32_t)(io->index % 2 ? entry >> 32 : entry);
	}
	switch (io->index) {
	case REG_ID:
	case REG_ARBITRATION: /* loaded with the ID; no APIC bus to arbitrate for */
		return io->id << ID_SHIFT;
	case REG_VERSION:
		return VERSION;
	default:
		io->illegal++;
		return UINT32_MAX;
	}
}

static bool is_length(unsigned int len)
{
	return len == 1 || len == 2 || len == 4 || len == 8;
}

void ioapic_mmio_read(struct ioapic *io, uint64_t offset, void *data, unsigned int len)
{
	uint64_t value = UINT64_MAX;

	pthread_mutex_lock(&io->lock);
	if (!is_length(len)) {
		io->illegal++;
		memset(data, 0xff, len);
		pthread_mutex_unlock(&io->lock);
		return;
	}
	if (offset == SELECT_OFFSET)
		value = io->index;
	else if (offset == WINDOW_OFFSET)
		value = read_window(io);
	else if (offset == EOI_OFFSET) /* write-only */
		value = 0;
	else
		io->illegal++;
	pthread_mutex_unlock(&io->lock);
	memcpy(data, &value, len);
}

void ioapic_mmio_write(struct ioapic *io, uint64_t offset, const void *data, unsigned int len)
{
	uint32_t value = 0;

	pthread_mutex_lock(&io->lock);
	if (!is_length(len)) {
		io->illegal++;
		pthread_mutex_unlock(&io->lock);
		return;
	}
	memcpy(&value, data, len < 4 ? len : 4);
	if (offset == SELECT_OFFSET)
		io->index = value & 0xff;
	else if (offset == WINDOW_OFFSET)
		write_window(io, value);
	else if (offset == EOI_OFFSET)
		end_of_interrupt(io, (uint8_t)value);
	else
		io->illegal++;
	pthread_mutex_unlock(&io->lock);
}

int ioapic_init(struct ioapic *io, struct lapic_bus *bus)
{
	int ret;

	memset(io, 0, sizeof(*io));
	io->bus = bus;
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++)
		io->entry[pin] = ENTRY_MASKED;
	ret = pthread_mutex_init(&io->lock, NULL);
	return -ret;
}

void ioapic_reset(struct ioapic *io)
{
	pthread_mutex_lock(&io->lock);
	io->id = io->index = 0;
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++)
		io->entry[pin] = ENTRY_MASKED;
	memset(io->level_mask_of_vector, 0, sizeof(io->level_mask_of_vector));
	pthread_mutex_unlock(&io->lock);
}

void ioapic_save(struct ioapic *io, struct state_writer *w)
{
	pthread_mutex_lock(&io->lock);
	state_put_u8(w, (uint8_t)io->id);
	state_put_u8(w, (uint8_t)io->index);
	state_put_u32(w, io->level);
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++)
		state_put_u64(w, io->entry[pin]);
	pthread_mutex_unlock(&io->lock);
}

static bool is_possible(uint64_t entry)
{
	uint64_t bits = ENTRY_WRITABLE_LOW | ENTRY_WRITABLE_HIGH;

	if (is_level(entry))
		bits |= ENTRY_REMOTE_IRR;
	return !(entry & ~bits);
}

int ioapic_load(struct ioapic *io, struct state_in *in, struct error *err)
{
	uint8_t id = state_get_u8(in), index = state_get_u8(in);
	uint32_t level = state_get_u32(in);
	uint64_t entry[IOAPIC_PINS];
	int ret;

	state_check(in, !(id & ~ID_MASK), "the id");
	state_check(in, !(level >> IOAPIC_PINS), "a level");
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		entry[pin] = state_get_u64(in);
		state_check(in, is_possible(entry[pin]), "an entry of the redirection table");
	}
	ret = state_finish(in, err);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&io->lock);
	io->id = id;
	io->index = index;
	io->level = level;
	memset(io->level_mask_of_vector, 0, sizeof(io->level_mask_of_vector));
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		io->entry[pin] = entry[pin];
		if (is_level(entry[pin]))
			io->level_mask_of_vector[ENTRY_VECTOR(entry[pin])] |= 1u << pin;
	}
	pthread_mutex_unlock(&io->lock);
	return 0;
}

void ioapic_destroy(struct ioapic *io)
{
	pthread_mutex_destroy(&io->lock);
}
