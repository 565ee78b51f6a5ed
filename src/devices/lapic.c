/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One local APIC: registers in both of their interfaces, priorities, errors and the timer.
 * Intel SDM volume 3, chapter "Advanced Programmable Interrupt Controller (APIC)": "Local APIC",
 * "Handling Local Interrupts" (LVT, ESR, timer), "Handling Interrupts" (IRR, ISR, TMR, PPR, EOI),
 * "Spurious Interrupt" and "Extended XAPIC (x2APIC)".
 *
 * Choices the SDM leaves open: EOI-broadcast suppression and CMCI are not offered, so their bit and
 * register are reserved; the xAPIC id is read-only; arbitration priority and remote read are gone,
 * as since the Pentium 4.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "devices/lapic_impl.h"
#include "relaxed.h"

#define VERSION 0x00050014u /* integrated, 6 LVT entries, no EOI-broadcast suppression */
#define NEVER	UINT64_MAX

/* Bit maps of 256 vectors. */

static bool test_vector(const uint32_t *map, uint8_t vector)
{
	return map[vector / 32] >> (vector % 32) & 1;
}

static void set_vector(uint32_t *map, uint8_t vector)
{
	map[vector / 32] |= 1u << (vector % 32);
}

static void clear_vector(uint32_t *map, uint8_t vector)
{
	map[vector / 32] &= ~(1u << (vector % 32));
}

static int highest_vector(const uint32_t *map)
{
	for (int word = 7; word >= 0; word--) {
		if (map[word])
			return word * 32 + 31 - __builtin_clz(map[word]);
	}
	return -1;
}

static bool any_vector(const uint32_t *map)
{
	uint32_t any = 0;

	for (int word = 0; word < 8; word++)
		any |= map[word];
	return any;
}

/* The words that senders read: written only on change, so that their cache line stays shared. */

static void publish(_Atomic uint32_t *word, uint32_t value)
{
	if (relaxed_load(word) != value)
		relaxed_store(word, value);
}

static enum lapic_mode mode_of(const struct lapic *l)
{
	return (enum lapic_mode)relaxed_load(&l->address.mode);
}

enum lapic_mode lapic_mode_of_base(uint64_t base)
{
	if (!(base & LAPIC_BASE_ENABLE))
		return LAPIC_DISABLED;
	return base & LAPIC_BASE_X2APIC ? LAPIC_X2APIC : LAPIC_XAPIC;
}

uint32_t lapic_x2apic_ldr(uint32_t id)
{
	return id >> 4 << 16 | 1u << (id & 15);
}

/* Priorities */

/* Reckons the "Processor Priority Register"; of what is the model's choice, TPR[3:0] where the
 * classes are equal. */
static void update_ppr(struct lapic *l)
{
	int isrv = highest_vector(l->isr);
	uint32_t class = isrv < 0 ? 0 : (uint32_t)isrv & 0xf0;

	publish(&l->address.ppr, (l->tpr & 0xf0) >= class ? l->tpr : class);
}

void lapic_set_tpr(struct lapic *l, uint32_t tpr)
{
	l->tpr = tpr;
	update_ppr(l);
}

void lapic_set_cr8(struct lapic *l, uint64_t cr8)
{
	/* Told after every exit: what has not changed must not clear TPR[3:0]. */
	if ((cr8 & 0xf) != lapic_cr8(l))
		lapic_set_tpr(l, (uint32_t)(cr8 & 0xf) << 4);
}

int lapic_pending_vector(const struct lapic *l)
{
	int vector = highest_vector(l->irr);

	if (vector < 0 || ((uint32_t)vector & 0xf0) <= (relaxed_load(&l->address.ppr) & 0xf0))
		return -1;
	return vector;
}

bool lapic_has_irr(const struct lapic *l)
{
	return any_vector(l->irr);
}

void lapic_accept(struct lapic *l, uint8_t vector)
{
	if (!test_vector(l->irr, vector))
		return;
	clear_vector(l->irr, vector);
	set_vector(l->isr, vector);
	update_ppr(l);
}

void lapic_eoi(struct lapic *l)
{
	int vector = highest_vector(l->isr);

	if (vector < 0) {
		l->spurious++;
		return;
	}
	clear_vector(l->isr, (uint8_t)vector);
	update_ppr(l);
	if (test_vector(l->tmr, (uint8_t)vector) && l->bus->eoi)
		l->bus->eoi(l->bus->ctx, (uint8_t)vector);
}

/* Interrupts that come in */

static void lvt_deliver(struct lapic *l, uint32_t lvt);

/* Logs an error. "Error Handling": the interrupt comes once for each kind until a write to the ESR
 * arms it again. */
static void log_error(struct lapic *l, uint32_t esr)
{
	bool news = esr & ~l->esr_pending;

	l->esr_pending |= esr;
	if (news)
		lvt_deliver(l, l->lvt_error);
}

/* Takes a fixed interrupt from inside, always an edge. */
static void take_vector(struct lapic *l, uint8_t vector)
{
	if (!(l->svr & SVR_ENABLED))
		return;
	if (vector < FIRST_LEGAL_VECTOR) {
		log_error(l, LAPIC_ESR_RECEIVE_ILLEGAL);
		return;
	}
	set_vector(l->irr, vector);
	clear_vector(l->tmr, vector);
}

/* Delivers an entry of the LVT: that of the timer or of errors, which have no delivery mode.
 * Nothing drives the others. */
static void lvt_deliver(struct lapic *l, uint32_t lvt)
{
	if (!(lvt & LVT_MASKED))
		take_vector(l, (uint8_t)lvt);
}

/* Takes the posted vectors that the bits of @events point at. */
static void take_posted(struct lapic *l, uint32_t events)
{
	bool enabled = l->svr & SVR_ENABLED && mode_of(l) != LAPIC_DISABLED;

	for (uint32_t words = events >> 16 & 0xff; words; words &= words - 1) {
		int word = __builtin_ctz(words);
		uint32_t bits =
			atomic_exchange_explicit(&l->inbox.pir[word], 0, memory_order_acquire);

		/* Vectors on their way to an APIC that has been disabled or reset since are
		 * lost. */
		if (enabled) {
			l->irr[word] |= bits;
			l->tmr[word] &= ~bits;
		}
	}
	/* After the edges: of a vector that came as both, the EOI must reach the IOAPIC. */
	for (uint32_t words = events >> 24; words; words &= words - 1) {
		int word = __builtin_ctz(words);
		uint32_t bits = atomic_exchange_explicit(&l->inbox.pir_level[word], 0,
							 memory_order_acquire);

		if (enabled) {
			l->irr[word] |= bits;
			l->tmr[word] |= bits;
		}
	}
	if (enabled && events & LAPIC_EVENT_BAD_VECTOR)
		log_error(l, LAPIC_ESR_RECEIVE_ILLEGAL);
}

uint32_t lapic_collect(struct lapic *l)
{
	uint32_t events;

	if (!lapic_inbox_pending(l))
		return 0;
	events = atomic_exchange_explicit(&l->inbox.events, 0, memory_order_acquire);
	take_posted(l, events);
	return events & LAPIC_EVENT_OWNER;
}

/* The timer: "APIC Timer". Its input clock runs at LAPIC_TIMER_HZ, so counts are nanoseconds. */
_Static_assert(LAPIC_TIMER_HZ == 1000000000, "timer counts are taken for nanoseconds");

static uint32_t timer_mode(const struct lapic *l)
{
	return LVT_MODE(l->lvt_timer);
}

/* Returns the shift of the "Divide Configuration Register": 000 is 2, 001 is 4, ... 110 is 128, 111
 * is 1. */
static unsigned int shift_of(uint32_t divide)
{
	unsigned int field = (divide & 3) | (divide >> 1 & 4);

	return (field + 1) & 7;
}

static unsigned int divide_shift(const struct lapic *l)
{
	return shift_of(l->timer_divide);
}

uint64_t lapic_timer_most_ns(uint32_t divide, uint32_t initial)
{
	uint64_t ns = (uint64_t)initial << shift_of(divide);

	return ns > MIN_PERIOD_NS ? ns : MIN_PERIOD_NS;
}

static uint64_t count_to_ticks(const struct lapic *l, uint32_t count)
{
	return clock_ns_to_ticks(l->clock, (uint64_t)count << divide_shift(l));
}

static uint64_t period_ticks(const struct lapic *l)
{
	uint64_t period = count_to_ticks(l, l->timer_initial);
	uint64_t min = clock_ns_to_ticks(l->clock, MIN_PERIOD_NS);

	if (period < min)
		period = min;
	return period ? period : 1;
}

static void timer_disarm(struct lapic *l)
{
	l->timer_deadline = NEVER;
	l->tsc_deadline = 0;
}

static uint32_t timer_current(const struct lapic *l, uint64_t now)
{
	uint64_t left, ns, count;
	unsigned int shift = divide_shift(l);

	if (timer_mode(l) > TIMER_PERIODIC || l->timer_deadline == NEVER)
		return 0;
	if (now < l->timer_deadline) {
		left = l->timer_deadline - now;
	} else if (timer_mode(l) == TIMER_PERIODIC) {
		uint64_t period = period_ticks(l);

		/* Nobody has run the timer yet, but it counts on. */
		left = period - (now - l->timer_deadline) % period;
	} else {
		return 0;
	}
	/*
	 * Rounded up: 0 means expired. A period that was stretched to the minimum shows as a full
	 * count.
	 */
	ns = clock_ticks_to_ns(l->clock, left);
	count = (ns >> shift) + !!(ns & ((1u << shift) - 1));
	if (!count)
		count = 1;
	return count < l->timer_initial ? (uint32_t)count : l->timer_initial;
}

/* Returns how long all of the count lasts, in ticks. */
static uint64_t whole_ticks(const struct lapic *l)
{
	return timer_mode(l) == TIMER_PERIODIC ? period_ticks(l)
					       : count_to_ticks(l, l->timer_initial);
}

void lapic_timer_place(struct lapic *l, uint64_t deadline)
{
	l->timer_deadline = deadline;
	l->timer_start = deadline - whole_ticks(l);
}

/* Starts a count at @now of which @count is left. */
static void timer_start(struct lapic *l, uint32_t count, uint64_t now)
{
	bool all = timer_mode(l) == TIMER_PERIODIC && count == l->timer_initial;
	uint64_t left = all ? whole_ticks(l) : count_to_ticks(l, count);

	lapic_timer_place(l, clock_add(now, left));
}

static void write_timer_initial(struct lapic *l, uint32_t count, uint64_t now)
{
	if (timer_mode(l) == TIMER_DEADLINE)
		return;
	l->timer_initial = count;
	if (count && timer_mode(l) <= TIMER_PERIODIC)
		timer_start(l, count, now);
	else
		timer_disarm(l);
}

static void write_timer_divide(struct lapic *l, uint32_t divide, uint64_t now)
{
	uint32_t left = timer_current(l, now);

	/* A count that is under way goes on from where it is, at the new rate. */
	if (divide == l->timer_divide)
		return;
	l->timer_divide = divide;
	if (left)
		timer_start(l, left, now);
}

static void write_lvt_timer(struct lapic *l, uint32_t lvt)
{
	uint32_t mode = LVT_MODE(lvt);

	/* "Transitioning between TSC-deadline mode and other timer modes also disarms the
	 * timer." */
	if (mode != timer_mode(l) && (mode > TIMER_PERIODIC || timer_mode(l) > TIMER_PERIODIC)) {
		timer_disarm(l);
		l->timer_initial = 0;
	}
	if (mode == TIMER_RESERVED)
		l->illegal++;
	l->lvt_timer = lvt;
}

void lapic_timer_set_tsc(struct lapic *l, uint64_t value, int64_t now)
{
	uint64_t guest_now = (uint64_t)now + l->tsc_offset;

	l->tsc_deadline = value;
	if (!value)
		l->timer_deadline = NEVER;
	else if (value <= guest_now)
		l->timer_deadline = clock_add_from(now, 0);
	else
		l->timer_deadline = clock_add_from(now, value - guest_now);
}

/* Sets the deadline: "TSC-Deadline Mode". */
static void write_tsc_deadline(struct lapic *l, uint64_t value, uint64_t now)
{
	if (timer_mode(l) == TIMER_DEADLINE)
		lapic_timer_set_tsc(l, value, (int64_t)now);
}

bool lapic_timer_run(struct lapic *l, uint64_t now)
{
	if (l->timer_deadline == NEVER || now < l->timer_deadline)
		return false;
	if (timer_mode(l) == TIMER_PERIODIC) {
		uint64_t period = period_ticks(l);
		uint64_t missed = (now - l->timer_deadline) / period;

		l->timer_start = l->timer_deadline + missed * period;
		l->timer_deadline = clock_add(l->timer_start, period);
	} else {
		timer_disarm(l);
	}
	lvt_deliver(l, l->lvt_timer);
	return true;
}

/* Registers that both interfaces have */

static uint32_t *lvt_register(struct lapic *l, uint32_t reg)
{
	switch (reg) {
	case REG_LVT_TIMER:
		return &l->lvt_timer;
	case REG_LVT_THERMAL:
		return &l->lvt_thermal;
	case REG_LVT_PERF:
		return &l->lvt_perf;
	case REG_LVT_LINT0:
		return &l->lvt_lint0;
	case REG_LVT_LINT1:
		return &l->lvt_lint1;
	case REG_LVT_ERROR:
		return &l->lvt_error;
	default:
		return NULL;
	}
}

/* Returns the bits that a write changes; *@read_only are those that it may carry without being
 * reserved. 0: no such register. */
uint32_t lapic_writable_bits(const struct lapic *l, uint32_t reg, uint32_t *read_only)
{
	*read_only = 0;
	switch (reg) {
	case REG_TPR:
		return 0xff;
	case REG_SVR:
		return SVR_WRITABLE;
	case REG_LVT_TIMER:
		*read_only = LVT_STATUS;
		return l->tsc_deadline_offered ? 0x700ff : 0x300ff;
	case REG_LVT_THERMAL:
	case REG_LVT_PERF:
		*read_only = LVT_STATUS;
		return 0x107ff;
	case REG_LVT_LINT0:
	case REG_LVT_LINT1:
		*read_only = LVT_STATUS | LVT_REMOTE_IRR;
		return 0x1a7ff;
	case REG_LVT_ERROR:
		*read_only = LVT_STATUS;
		return 0x100ff;
	case REG_TIMER_INITIAL:
		return UINT32_MAX;
	case REG_TIMER_DIVIDE:
		return DIVIDE_WRITABLE;
	default:
		return 0;
	}
}

static void write_svr(struct lapic *l, uint32_t value)
{
	if (l->svr & SVR_ENABLED && !(value & SVR_ENABLED)) {
		uint32_t posted = ~(LAPIC_EVENT_OWNER);

		/* "The reception of any interrupt ... in progress ... is completed before". */
		posted &= atomic_fetch_and_explicit(&l->inbox.events, LAPIC_EVENT_OWNER,
						    memory_order_acquire);
		take_posted(l, posted);
		l->lvt_timer |= LVT_MASKED;
		l->lvt_thermal |= LVT_MASKED;
		l->lvt_perf |= LVT_MASKED;
		l->lvt_lint0 |= LVT_MASKED;
		l->lvt_lint1 |= LVT_MASKED;
		l->lvt_error |= LVT_MASKED;
	}
	l->svr = value;
	publish(&l->address.sw_enabled, !!(value & SVR_ENABLED));
}

static void write_register(struct lapic *l, uint32_t reg, uint32_t value, uint64_t now)
{
	uint32_t *lvt = lvt_register(l, reg);

	if (lvt) {
		if (!(l->svr & SVR_ENABLED))
			value |= LVT_MASKED;
		if (reg == REG_LVT_TIMER)
			write_lvt_timer(l, value);
		else
			*lvt = value;
		return;
	}
	switch (reg) {
	case REG_TPR:
		lapic_set_tpr(l, value);
		break;
	case REG_SVR:
		write_svr(l, value);
		break;
	case REG_TIMER_INITIAL:
		write_timer_initial(l, value, now);
		break;
	case REG_TIMER_DIVIDE:
		write_timer_divide(l, value, now);
		break;
	default:
		break;
	}
}

/* Returns false if it is not a register that both have. */
static bool read_register(struct lapic *l, uint32_t reg, uint32_t *value, uint64_t now)
{
	const uint32_t *lvt = lvt_register(l, reg);

	if (lvt) {
		*value = *lvt;
		return true;
	}
	if (reg >= REG_ISR && reg <= REG_IRR_LAST) {
		const uint32_t *map = reg < REG_TMR ? l->isr : reg < REG_IRR ? l->tmr : l->irr;

		*value = map[reg & 7];
		return true;
	}
	switch (reg) {
	case REG_VERSION:
		*value = VERSION;
		return true;
	case REG_TPR:
		*value = l->tpr;
		return true;
	case REG_PPR:
		*value = relaxed_load(&l->address.ppr);
		return true;
	case REG_LDR:
		*value = relaxed_load(&l->address.ldr);
		return true;
	case REG_SVR:
		*value = l->svr;
		return true;
	case REG_ESR:
		*value = l->esr;
		return true;
	case REG_TIMER_INITIAL:
		*value = l->timer_initial;
		return true;
	case REG_TIMER_CURRENT:
		*value = timer_current(l, now);
		return true;
	case REG_TIMER_DIVIDE:
		*value = l->timer_divide;
		return true;
	default:
		return false;
	}
}

/* Writes the ESR. "Error Handling": a write makes what was detected since the last one readable. */
static void write_esr(struct lapic *l)
{
	l->esr = l->esr_pending;
	l->esr_pending = 0;
}

static void send_ipi(struct lapic *l, uint64_t icr, bool x2apic)
{
	struct lapic_msg msg;
	uint32_t esr;

	if (!lapic_icr_decode(icr, x2apic, &msg, &esr)) {
		l->illegal++;
		if (esr)
			log_error(l, esr);
	} else if (msg.shorthand == LAPIC_TO_SELF) {
		take_vector(l, msg.vector);
	} else {
		lapic_bus_send(l->bus, &msg, l);
	}
}

/* x2APIC: "x2APIC Register Address Space" and "Reserved Bit Checking" */

static int x2apic_read(struct lapic *l, uint32_t reg, uint64_t *value, uint64_t now)
{
	uint32_t low;

	if (reg == REG_ID) {
		*value = l->id;
	} else if (reg == REG_ICR) {
		*value = l->icr;
	} else if (read_register(l, reg, &low, now)) {
		*value = low;
	} else {
		return -EPERM;
	}
	return 0;
}

/* Writes the "X2APIC Interrupt Command Register": no delivery status, and bits 13, 17:16 and 31:20
 * reserved. */
static int x2apic_write_icr(struct lapic *l, uint64_t value)
{
	if ((uint32_t)value & ~ICR_WRITABLE)
		return -EPERM;
	l->icr = value;
	send_ipi(l, value, true);
	return 0;
}

static int x2apic_write(struct lapic *l, uint32_t reg, uint64_t value, uint64_t now)
{
	uint32_t writable, read_only;

	if (reg == REG_ICR)
		return x2apic_write_icr(l, value);
	if (value > UINT32_MAX)
		return -EPERM;

	switch (reg) {
	case REG_EOI:
		if (value)
			return -EPERM;
		lapic_eoi(l);
		return 0;
	case REG_ESR:
		if (value)
			return -EPERM;
		write_esr(l);
		return 0;
	case REG_SELF_IPI:
		if (value > 0xff)
			return -EPERM;
		/* The same as the ICR's shorthand. */
		send_ipi(l, value | (uint64_t)LAPIC_TO_SELF << 18, true);
		return 0;
	case REG_LVT_TIMER:
		if (LVT_MODE(value) == TIMER_RESERVED)
			return -EPERM;
		break;
	default:
		break;
	}

	writable = lapic_writable_bits(l, reg, &read_only);
	if (!writable || value & ~(uint64_t)(writable | read_only))
		return -EPERM;
	write_register(l, reg, (uint32_t)value & writable, now);
	return 0;
}

int lapic_msr_read(struct lapic *l, uint32_t msr, uint64_t *value, uint64_t now)
{
	int ret = -EPERM;

	*value = 0;
	if (msr == LAPIC_MSR_TSC_DEADLINE && l->tsc_deadline_offered) {
		*value = l->tsc_deadline;
		return 0;
	}
	if (mode_of(l) == LAPIC_X2APIC && msr >= LAPIC_MSR_FIRST && msr <= LAPIC_MSR_LAST)
		ret = x2apic_read(l, msr - LAPIC_MSR_FIRST, value, now);
	if (ret)
		l->illegal++;
	return ret;
}

int lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value, uint64_t now)
{
	int ret = -EPERM;

	if (msr == LAPIC_MSR_TSC_DEADLINE && l->tsc_deadline_offered) {
		write_tsc_deadline(l, value, now);
		return 0;
	}
	if (mode_of(l) == LAPIC_X2APIC && msr >= LAPIC_MSR_FIRST && msr <= LAPIC_MSR_LAST)
		ret = x2apic_write(l, msr - LAPIC_MSR_FIRST, value, now);
	if (ret)
		l->illegal++;
	return ret;
}

/* xAPIC: "The Local APIC Block Diagram", table of the register address map */

static void illegal_register(struct lapic *l)
{
	l->illegal++;
	log_error(l, LAPIC_ESR_ILLEGAL_REGISTER);
}

static uint32_t xapic_read(struct lapic *l, uint32_t reg, uint64_t now)
{
	uint32_t value = 0;

	switch (reg) {
	case REG_ID:
		return l->id << 24;
	case REG_DFR:
		return relaxed_load(&l->address.dfr);
	case REG_ICR:
		return (uint32_t)l->icr;
	case REG_ICR2:
		return l->icr2;
	case REG_EOI: /* write-only */
	case REG_APR: /* not in the Pentium 4 and later */
	case REG_RRD:
		return 0;
	default:
		if (!read_register(l, reg, &value, now))
			illegal_register(l);
		return value;
	}
}

static void xapic_write(struct lapic *l, uint32_t reg, uint32_t value, uint64_t now)
{
	uint32_t writable, read_only;

	switch (reg) {
	case REG_EOI:
		lapic_eoi(l);
		return;
	case REG_ESR:
		write_esr(l);
		return;
	case REG_LDR:
		publish(&l->address.ldr, value & 0xff000000u);
		return;
	case REG_DFR:
		publish(&l->address.dfr, value | DFR_ONES);
		return;
	case REG_ICR:
		l->icr = value & ICR_WRITABLE;
		send_ipi(l, (uint64_t)l->icr2 << 32 | l->icr, false);
		return;
	case REG_ICR2:
		l->icr2 = value & 0xff000000u;
		return;
	case REG_ID: /* read-only */
	case REG_APR:
	case REG_RRD:
		l->illegal++;
		return;
	default:
		break;
	}

	writable = lapic_writable_bits(l, reg, &read_only);
	if (writable) {
		write_register(l, reg, value & writable, now);
	} else {
		uint32_t ignored;

		if (read_register(l, reg, &ignored, now))
			l->illegal++; /* read-only */
		else
			illegal_register(l);
	}
}

void lapic_mmio_read(struct lapic *l, uint32_t offset, void *data, unsigned int len, uint64_t now)
{
	unsigned char *out = data;
	uint32_t value = 0, reg = UINT32_MAX;

	if (mode_of(l) != LAPIC_XAPIC) {
		l->illegal++;
		memset(data, 0xff, len);
		return;
	}
	if (len == 4 && offset % 16 == 0 && offset < LAPIC_MMIO_SIZE) {
		value = xapic_read(l, offset / 16, now);
		memcpy(data, &value, 4);
		return;
	}
	l->illegal++;
	for (unsigned int i = 0; i < len; i++) {
		uint64_t at = (uint64_t)offset + i;

		if (at >= LAPIC_MMIO_SIZE) {
			out[i] = 0xff;
			continue;
		}
		if (at % 16 >= 4) { /* between two registers */
			out[i] = 0;
			continue;
		}
		if (at / 16 != reg) {
			reg = (uint32_t)(at / 16);
			value = xapic_read(l, reg, now);
		}
		out[i] = (unsigned char)(value >> at % 16 * 8);
	}
}

void lapic_mmio_write(struct lapic *l, uint32_t offset, const void *data, unsigned int len,
		      uint64_t now)
{
	uint32_t value;

	if (mode_of(l) != LAPIC_XAPIC || len != 4 || offset % 16 || offset >= LAPIC_MMIO_SIZE) {
		l->illegal++;
		return;
	}
	memcpy(&value, data, 4);
	xapic_write(l, offset / 16, value, now);
}

/* States: "Local APIC State After Power-Up or Reset", "... After an INIT Reset", "x2APIC State
 * Transitions" */

void lapic_reset(struct lapic *l)
{
	memset(l->irr, 0, sizeof(l->irr));
	memset(l->isr, 0, sizeof(l->isr));
	memset(l->tmr, 0, sizeof(l->tmr));
	l->svr = SVR_RESET;
	l->esr = 0;
	l->esr_pending = 0;
	l->icr = 0;
	l->icr2 = 0;
	l->lvt_timer = l->lvt_thermal = l->lvt_perf = LVT_MASKED;
	l->lvt_lint0 = l->lvt_lint1 = l->lvt_error = LVT_MASKED;
	l->timer_divide = 0;
	l->timer_initial = 0;
	l->timer_start = 0;
	timer_disarm(l);
	publish(&l->address.ldr, mode_of(l) == LAPIC_X2APIC ? lapic_x2apic_ldr(l->id) : 0);
	publish(&l->address.dfr, UINT32_MAX);
	publish(&l->address.sw_enabled, 0);
	lapic_set_tpr(l, 0);
}

void lapic_set_base(struct lapic *l, uint64_t base)
{
	enum lapic_mode old = mode_of(l), new = lapic_mode_of_base(base);

	if (base == l->base)
		return;
	l->base = base;
	if (new == old)
		return;
	publish(&l->address.mode, new);
	/*
	 * Going from xAPIC to x2APIC keeps the registers; the ICR becomes one register and the LDR
	 * follows from the id. From x2APIC back to xAPIC needs a disable in between: KVM sees to
	 * that.
	 */
	l->icr = (uint32_t)l->icr;
	l->icr2 = 0;
	if (new == LAPIC_DISABLED)
		lapic_reset(l);
	else
		publish(&l->address.ldr, new == LAPIC_X2APIC ? lapic_x2apic_ldr(l->id) : 0);
}

void lapic_init(struct lapic *l, struct lapic_bus *bus, uint32_t id, bool bsp,
		const struct clock *clock)
{
	memset(l, 0, sizeof(*l));
	l->bus = bus;
	l->clock = clock;
	l->id = id;
	l->bsp = bsp;
	l->base = LAPIC_MMIO_BASE | LAPIC_BASE_ENABLE | (bsp ? LAPIC_BASE_BSP : 0);
	publish(&l->address.mode, LAPIC_XAPIC);
	lapic_reset(l);
}
