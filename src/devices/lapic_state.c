/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a local APIC in a snapshot. docs/snapshot-format.md has the bytes.
 *
 * Times are written so that another host can read them: a TSC deadline as the guest wrote it, a
 * count by how many ns are left of it. Values that follow from other registers are not written: the
 * processor's priority, and in x2APIC mode the logical id. Nor are statistics.
 */
#include <errno.h>
#include <stddef.h>

#include "devices/lapic_impl.h"
#include "relaxed.h"

#define BASE_BITS \
	(UINT64_C(0x000ffffffffff000) | LAPIC_BASE_BSP | LAPIC_BASE_X2APIC | LAPIC_BASE_ENABLE)
#define ESR_BITS                                                                       \
	(LAPIC_ESR_REDIRECTABLE | LAPIC_ESR_SEND_ILLEGAL | LAPIC_ESR_RECEIVE_ILLEGAL | \
	 LAPIC_ESR_ILLEGAL_REGISTER)
/* Bits that say where to look in the inbox follow from what is there. */
#define EVENT_BITS  (LAPIC_EVENT_OWNER | LAPIC_EVENT_BAD_VECTOR)
#define SIPI_VECTOR 0xff00u

enum { LVTS = 6 };

/* The values that are written, in that order. */
struct state {
	uint64_t base;
	uint32_t ldr, dfr;
	uint32_t irr[8], isr[8], tmr[8];
	uint32_t tpr, svr, esr, esr_pending;
	uint64_t icr;
	uint32_t icr2;
	uint32_t lvt[LVTS]; /* from REG_LVT_TIMER on */
	uint32_t divide, initial;
	bool counts; /* a count is under way */
	uint64_t left_ns;
	uint64_t tsc_deadline; /* 0: none */
	uint32_t events;
	uint32_t pir[8], pir_level[8];
};

/* -- saving ----------------------------------------------------------------------------------- */

static void put_words(struct state_writer *w, const uint32_t *words)
{
	for (int i = 0; i < 8; i++)
		state_put_u32(w, words[i]);
}

static void put_atomic_words(struct state_writer *w, const _Atomic uint32_t *words)
{
	for (int i = 0; i < 8; i++)
		state_put_u32(w, relaxed_load(&words[i]));
}

static void save_timer(const struct lapic *l, struct state_writer *w, uint64_t now)
{
	bool counts = LVT_MODE(l->lvt_timer) <= TIMER_PERIODIC && l->timer_deadline != UINT64_MAX;
	uint64_t left = counts && now < l->timer_deadline ? l->timer_deadline - now : 0;

	state_put_u32(w, l->timer_divide);
	state_put_u32(w, l->timer_initial);
	state_put_bool(w, counts);
	state_put_u64(w, clock_ticks_to_ns(l->clock, left));
	state_put_u64(w, l->tsc_deadline);
}

/* Saves the inbox. A vector is in its word before its event is there, so one that has an event is
 * found. */
static void save_inbox(const struct lapic_inbox *inbox, struct state_writer *w)
{
	uint32_t events = atomic_load_explicit(&inbox->events, memory_order_acquire);

	state_put_u32(w, events & EVENT_BITS);
	put_atomic_words(w, inbox->pir);
	put_atomic_words(w, inbox->pir_level);
}

void lapic_save(const struct lapic *l, struct state_writer *w, uint64_t now)
{
	const uint32_t lvt[LVTS] = {l->lvt_timer, l->lvt_thermal, l->lvt_perf,
				    l->lvt_lint0, l->lvt_lint1,	  l->lvt_error};

	state_put_u64(w, l->base);
	state_put_u32(w, relaxed_load(&l->address.ldr));
	state_put_u32(w, relaxed_load(&l->address.dfr));
	put_words(w, l->irr);
	put_words(w, l->isr);
	put_words(w, l->tmr);
	state_put_u32(w, l->tpr);
	state_put_u32(w, l->svr);
	state_put_u32(w, l->esr);
	state_put_u32(w, l->esr_pending);
	state_put_u64(w, l->icr);
	state_put_u32(w, l->icr2);
	for (int i = 0; i < LVTS; i++)
		state_put_u32(w, lvt[i]);
	save_timer(l, w, now);
	save_inbox(&l->inbox, w);
}

/* -- loading ---------------------------------------------------------------------------------- */

static void get_words(struct state_in *in, uint32_t *words)
{
	for (int i = 0; i < 8; i++)
		words[i] = state_get_u32(in);
}

static void read_state(struct state *s, struct state_in *in)
{
	s->base = state_get_u64(in);
	s->ldr = state_get_u32(in);
	s->dfr = state_get_u32(in);
	get_words(in, s->irr);
	get_words(in, s->isr);
	get_words(in, s->tmr);
	s->tpr = state_get_u32(in);
	s->svr = state_get_u32(in);
	s->esr = state_get_u32(in);
	s->esr_pending = state_get_u32(in);
	s->icr = state_get_u64(in);
	s->icr2 = state_get_u32(in);
	for (int i = 0; i < LVTS; i++)
		s->lvt[i] = state_get_u32(in);
	s->divide = state_get_u32(in);
	s->initial = state_get_u32(in);
	s->counts = state_get_bool(in);
	s->left_ns = state_get_u64(in);
	s->tsc_deadline = state_get_u64(in);
	s->events = state_get_u32(in);
	get_words(in, s->pir);
	get_words(in, s->pir_level);
}

static void check_registers(const struct lapic *l, const struct state *s, struct state_in *in)
{
	enum lapic_mode mode = lapic_mode_of_base(s->base);
	const uint32_t illegal = (1u << FIRST_LEGAL_VECTOR) - 1;

	state_check(in,
		    !(s->base & ~BASE_BITS) && !(s->base & LAPIC_BASE_BSP) == !l->bsp &&
			    !(mode == LAPIC_DISABLED && s->base & LAPIC_BASE_X2APIC),
		    "the base");
	state_check(in,
		    mode == LAPIC_X2APIC ? s->ldr == lapic_x2apic_ldr(l->id)
					 : !(s->ldr & 0xffffffu),
		    "the logical id");
	state_check(in, (s->dfr & DFR_ONES) == DFR_ONES, "the destination format");
	state_check(in, !((s->irr[0] | s->isr[0] | s->pir[0] | s->pir_level[0]) & illegal),
		    "a vector below 16");
	state_check(in, s->tpr <= 0xff, "the task priority");
	state_check(in, !(s->svr & ~SVR_WRITABLE), "the spurious vector");
	state_check(in, !((s->esr | s->esr_pending) & ~ESR_BITS), "the error status");
	state_check(in,
		    !((uint32_t)s->icr & ~ICR_WRITABLE) && !(s->icr2 & 0xffffffu) &&
			    (mode == LAPIC_X2APIC || s->icr <= UINT32_MAX),
		    "the interrupt command");
	state_check(in,
		    !(s->events & ~EVENT_BITS) &&
			    (s->events & LAPIC_EVENT_SIPI || !(s->events & SIPI_VECTOR)),
		    "the events in the inbox");
}

static void check_lvt(const struct lapic *l, const struct state *s, struct state_in *in)
{
	for (uint32_t i = 0; i < LVTS; i++) {
		uint32_t ignored, bits = lapic_writable_bits(l, REG_LVT_TIMER + i, &ignored);

		state_check(in,
			    !(s->lvt[i] & ~bits) &&
				    (s->svr & SVR_ENABLED || s->lvt[i] & LVT_MASKED),
			    "an entry of the local vector table");
	}
}

static void check_timer(const struct state *s, struct state_in *in)
{
	uint32_t mode = LVT_MODE(s->lvt[0]);

	state_check(in, !(s->divide & ~DIVIDE_WRITABLE), "the timer's divider");
	state_check(in, !s->counts || (mode <= TIMER_PERIODIC && s->initial), "the timer's mode");
	state_check(in,
		    s->counts ? s->left_ns <= lapic_timer_most_ns(s->divide, s->initial)
			      : !s->left_ns,
		    "what is left of the timer's count");
	state_check(in, !s->tsc_deadline || mode == TIMER_DEADLINE, "the TSC deadline");
}

static void take_inbox(struct lapic *l, const struct state *s)
{
	uint32_t events = s->events;

	for (int i = 0; i < 8; i++) {
		relaxed_store(&l->inbox.pir[i], s->pir[i]);
		relaxed_store(&l->inbox.pir_level[i], s->pir_level[i]);
		if (s->pir[i])
			events |= LAPIC_EVENT_PIR(i);
		if (s->pir_level[i])
			events |= LAPIC_EVENT_PIR_LEVEL(i);
	}
	atomic_store_explicit(&l->inbox.events, events, memory_order_release);
	if (events && l->bus->wake)
		l->bus->wake(l->bus->ctx, l->id, false);
}

static void take_timer(struct lapic *l, const struct state *s, int64_t now)
{
	l->timer_divide = s->divide;
	l->timer_initial = s->initial;
	l->timer_deadline = UINT64_MAX;
	l->tsc_deadline = 0;
	if (s->counts)
		lapic_timer_place(l, clock_add_from(now, clock_ns_to_ticks(l->clock, s->left_ns)));
	else if (s->tsc_deadline)
		lapic_timer_set_tsc(l, s->tsc_deadline, now);
}

static void take(struct lapic *l, const struct state *s, int64_t now)
{
	l->base = s->base;
	relaxed_store(&l->address.mode, lapic_mode_of_base(s->base));
	relaxed_store(&l->address.ldr, s->ldr);
	relaxed_store(&l->address.dfr, s->dfr);
	relaxed_store(&l->address.sw_enabled, !!(s->svr & SVR_ENABLED));
	for (int i = 0; i < 8; i++) {
		l->irr[i] = s->irr[i];
		l->isr[i] = s->isr[i];
		l->tmr[i] = s->tmr[i];
	}
	l->svr = s->svr;
	l->esr = s->esr;
	l->esr_pending = s->esr_pending;
	l->icr = s->icr;
	l->icr2 = s->icr2;
	l->lvt_timer = s->lvt[0];
	l->lvt_thermal = s->lvt[1];
	l->lvt_perf = s->lvt[2];
	l->lvt_lint0 = s->lvt[3];
	l->lvt_lint1 = s->lvt[4];
	l->lvt_error = s->lvt[5];
	lapic_set_tpr(l, s->tpr);
	take_timer(l, s, now);
	take_inbox(l, s);
}

int lapic_load(struct lapic *l, struct state_in *in, int64_t now, struct error *err)
{
	struct state s;
	int ret;

	read_state(&s, in);
	if (state_good(in) && LVT_MODE(s.lvt[0]) == TIMER_DEADLINE && !l->tsc_deadline_offered)
		return state_refuse(in, err, -ENOTSUP,
				    "the guest's timer is in TSC deadline mode, which this host "
				    "does not offer");
	check_registers(l, &s, in);
	check_lvt(l, &s, in);
	check_timer(&s, in);
	ret = state_finish(in, err);
	if (ret == 0)
		take(l, &s, now);
	return ret;
}
