/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupt controllers in a snapshot: all of their state is there again, the timer goes on, what
 * was on its way arrives, and what cannot be is refused. */
#include "lapic_fixture.h"
#include "devices/ioapic.h"
#include "snap.h"

#define SAVED_AT  1234
#define LOADED_AT 5000000

static struct state_in *save(struct snap *s, struct lapic *l, uint64_t now)
{
	lapic_save(l, snap_begin(s), now);
	return snap_in(s);
}

/* In one that was just made; with the same features. */
static struct lapic *load(struct vm *vm, struct snap *s, const struct lapic *like)
{
	struct lapic *l = power_up(vm);

	l->tsc_deadline_offered = like->tsc_deadline_offered;
	assert_int_equal(lapic_load(l, &s->in, LOADED_AT, &s->err), 0);
	return l;
}

static void assert_saves_the_same(const struct snap *before, struct lapic *l)
{
	struct snap again;

	save(&again, l, LOADED_AT);
	assert_same_snap(before, &again);
	snap_free(&again);
}

static void post(struct vm *vm, uint8_t vector, bool level)
{
	const struct lapic_msg msg = {.vector = vector, .level = level, .xapic_dest = true};

	lapic_bus_send(&vm->bus, &msg, NULL);
}

/* Something in each register. */
static struct lapic *rich(struct vm *vm)
{
	struct lapic *l = xapic(vm);

	mmio_write(l, LDR, 0x02000000);
	mmio_write(l, DFR, 0x0fffffff);
	mmio_write(l, LVT_THERMAL, MASKED | 0x7ff);
	mmio_write(l, LVT_PERF, 0x4f2);
	mmio_write(l, LVT_LINT0, MASKED | 0xa700);
	mmio_write(l, LVT_LINT1, 0x400);
	mmio_write(l, LVT_ERROR, 0xfe);
	mmio_write(l, ICR2, 0x33000000);
	mmio_write(l, ICR, 0x05); /* an illegal vector: an error, and its interrupt */
	mmio_write(l, ESR, 0);
	mmio_write(l, ICR, 0x06);
	send(vm, 0x60, true);
	take(l, 0xfe);
	lapic_eoi(l);
	take(l, 0x60);
	send(vm, 0x71, false);
	mmio_write(l, TPR, 0x35);
	mmio_write(l, TIMER_DIVIDE, 0x9); /* 64 */
	mmio_write(l, LVT_TIMER, PERIODIC | 0x40);
	mmio_write_at(l, TIMER_INITIAL, 100000, 1000);
	/* Not collected. */
	post(vm, 0x92, false);
	post(vm, 0x93, true);
	post(vm, 3, false);
	atomic_fetch_or(&l->inbox.events, LAPIC_EVENT_NMI | LAPIC_EVENT_SIPI | 0x9900);
	return l;
}

static void test_all_registers(void **state)
{
	struct vm vm, other;
	struct lapic *l = rich(&vm), *m;
	struct snap s;

	save(&s, l, SAVED_AT);
	m = load(&other, &s, l);
	assert_saves_the_same(&s, m);
	for (uint32_t reg = 0x802; reg <= 0x83e; reg++)
		if (reg != ID && reg != TIMER_CURRENT && reg != APR && reg != RRD && reg != EOI)
			assert_int_equal(mmio_read(l, reg), mmio_read(m, reg));
	assert_int_equal(mmio_read(m, PPR), 0x60);
	assert_int_equal(mmio_read_at(l, TIMER_CURRENT, SAVED_AT + 5000),
			 mmio_read_at(m, TIMER_CURRENT, LOADED_AT + 5000));
	snap_free(&s);
}

static void test_what_was_on_its_way_arrives(void **state)
{
	struct vm vm, other;
	struct lapic *l = rich(&vm), *m;
	uint32_t events;
	struct snap s;

	save(&s, l, SAVED_AT);
	m = load(&other, &s, l);
	assert_int_equal(other.wakes, 1);
	assert_true(lapic_inbox_pending(m));
	events = lapic_collect(m);
	assert_int_equal(events, LAPIC_EVENT_NMI | LAPIC_EVENT_SIPI | 0x9900);
	assert_int_equal(events, lapic_collect(l));
	/* The illegal one has told of itself; by the error's entry. */
	take(m, 0xfe);
	lapic_eoi(m);
	take(m, 0x93);
	lapic_eoi(m);
	assert_int_equal(other.eois, 1);
	assert_int_equal(other.eoi_vector, 0x93);
	take(m, 0x92);
	lapic_eoi(m);
	take(m, 0x71);
	lapic_eoi(m);
	assert_int_equal(other.eois, 1);
	/* The vector that was in service when it was saved. */
	lapic_eoi(m);
	assert_int_equal(other.eois, 2);
	assert_int_equal(other.eoi_vector, 0x60);
	assert_false(lapic_has_irr(m));
	assert_false(lapic_inbox_pending(m));
	snap_free(&s);
}

static void test_nothing_in_the_inbox_wakes_nobody(void **state)
{
	struct vm vm, other;
	struct lapic *l = xapic(&vm);
	struct snap s;

	save(&s, l, SAVED_AT);
	load(&other, &s, l);
	assert_int_equal(other.wakes, 0);
	assert_saves_the_same(&s, &other.lapic);
	snap_free(&s);
}

static void test_counts_go_on(void **state)
{
	static const uint32_t modes[] = {0, PERIODIC};
	struct vm vm, other;
	struct lapic *l, *m;
	struct snap s;

	for (int i = 0; i < 2; i++) {
		l = xapic(&vm);
		mmio_write(l, TIMER_DIVIDE, 0xb);
		mmio_write(l, LVT_TIMER, modes[i] | 0x40);
		mmio_write(l, TIMER_INITIAL, 100000);
		save(&s, l, 50000);
		m = load(&other, &s, l);
		assert_int_equal(lapic_deadline(m), LOADED_AT + 150000);
		assert_false(lapic_timer_run(m, LOADED_AT + 149999));
		assert_true(lapic_timer_run(m, LOADED_AT + 150000));
		take(m, 0x40);
		assert_int_equal(lapic_deadline(m), modes[i] ? LOADED_AT + 350000 : NEVER);
		snap_free(&s);
		/* One that is due is due. */
		save(&s, l, 200001);
		m = load(&other, &s, l);
		assert_true(lapic_timer_run(m, LOADED_AT));
		snap_free(&s);
		/* Nor does one begin that was stopped. */
		mmio_write(l, TIMER_INITIAL, 0);
		save(&s, l, 200001);
		assert_int_equal(lapic_deadline(load(&other, &s, l)), NEVER);
		snap_free(&s);
	}
}

/* It goes on with the time of now: what is now for its state lies before the host was started. */
static void test_timers_go_on_where_the_host_is_younger(void **state)
{
	struct vm vm, other;
	struct lapic *l = xapic(&vm), *m;
	struct snap s;

	mmio_write(l, TIMER_DIVIDE, 0xb);
	mmio_write(l, LVT_TIMER, 0x40);
	mmio_write(l, TIMER_INITIAL, 100000);
	save(&s, l, 0);
	m = power_up(&other);
	assert_int_equal(lapic_load(m, &s.in, -60000, &s.err), 0);
	assert_int_equal(lapic_deadline(m), 140000);
	snap_free(&s);
	save(&s, l, 0);
	m = power_up(&other);
	assert_int_equal(lapic_load(m, &s.in, -200001, &s.err), 0);
	assert_true(lapic_timer_run(m, 5));
	snap_free(&s);

	l = xapic(&vm);
	l->tsc_deadline_offered = true;
	mmio_write(l, LVT_TIMER, TSC_DEADLINE | 0x40);
	msr_write_at(l, LAPIC_MSR_TSC_DEADLINE, 11000, 1000);
	for (int i = 0; i < 2; i++) {
		const int64_t now = i ? -9000 : -3000;

		save(&s, l, 6000);
		m = power_up(&other);
		m->tsc_deadline_offered = true;
		/* The guest's TSC was 6000 then. */
		m->tsc_offset = (uint64_t)6000 - (uint64_t)now;
		assert_int_equal(lapic_load(m, &s.in, now, &s.err), 0);
		assert_int_equal(lapic_deadline(m), i ? 0 : 2000);
		assert_true(lapic_timer_run(m, 2000));
		snap_free(&s);
	}
}

static void test_tsc_deadlines_are_the_guests(void **state)
{
	struct vm vm, other;
	struct lapic *l = xapic(&vm), *m;
	struct snap s;

	l->tsc_deadline_offered = true;
	l->tsc_offset = 100;
	mmio_write(l, LVT_TIMER, TSC_DEADLINE | 0x40);
	msr_write_at(l, LAPIC_MSR_TSC_DEADLINE, 11100, 1000);
	assert_int_equal(lapic_deadline(l), 11000);
	save(&s, l, 6000);
	m = power_up(&other);
	m->tsc_deadline_offered = true;
	/* The guest's TSC is 6100, as then. */
	m->tsc_offset = (uint64_t)6100 - LOADED_AT;
	assert_int_equal(lapic_load(m, &s.in, LOADED_AT, &s.err), 0);
	assert_int_equal(lapic_deadline(m), LOADED_AT + 5000);
	assert_int_equal(msr_read(m, LAPIC_MSR_TSC_DEADLINE), 11100);
	assert_saves_the_same(&s, m);
	snap_free(&s);
	/* Passed meanwhile: due at once. */
	save(&s, l, 6000);
	m = power_up(&other);
	m->tsc_deadline_offered = true;
	assert_int_equal(lapic_load(m, &s.in, LOADED_AT, &s.err), 0);
	assert_true(lapic_timer_run(m, LOADED_AT));
	take(m, 0x40);
	snap_free(&s);
	/* A host that cannot. */
	save(&s, l, 6000);
	m = power_up(&other);
	assert_int_equal(lapic_load(m, &s.in, LOADED_AT, &s.err), -ENOTSUP);
	assert_non_null(strstr(s.err.text, "TSC deadline"));
	snap_free(&s);
}

static void test_x2apic(void **state)
{
	struct vm vm, other;
	struct lapic *l = x2apic(&vm), *m;
	struct snap s;

	msr_write(l, ICR, 0x1200000000u | 0xc4500);
	save(&s, l, 0);
	m = load(&other, &s, l);
	assert_int_equal(msr_read(m, ICR), 0x1200000000u | 0xc4500);
	assert_int_equal(msr_read(m, LDR), 1);
	assert_saves_the_same(&s, m);
	snap_free(&s);
	/* Switched off altogether. */
	l = power_up(&vm);
	lapic_set_base(l, LAPIC_MMIO_BASE | LAPIC_BASE_BSP);
	save(&s, l, 0);
	m = load(&other, &s, l);
	assert_int_equal(mmio_read(m, SVR), UINT32_MAX);
	assert_saves_the_same(&s, m);
	snap_free(&s);
}

/* Where fields are, see lapic_state.c. */
enum {
	AT_BASE = 0,
	AT_LDR = 8,
	AT_DFR = 12,
	AT_IRR = 16,
	AT_ISR = 48,
	AT_TPR = 112,
	AT_SVR = 116,
	AT_ESR = 120,
	AT_ICR = 128,
	AT_ICR2 = 136,
	AT_LVT = 140,
	AT_DIVIDE = 164,
	AT_INITIAL = 168,
	AT_COUNTS = 172,
	AT_LEFT = 173,
	AT_TSC = 181,
	AT_EVENTS = 189,
	AT_PIR = 193,
};

static void test_what_cannot_be_is_refused(void **state)
{
	static const struct {
		size_t at, len;
		uint64_t value;
		const char *what;
	} wrong[] = {
		{AT_BASE, 8, LAPIC_MMIO_BASE | LAPIC_BASE_ENABLE, "base"}, /* not the first one */
		{AT_BASE, 8, LAPIC_MMIO_BASE | LAPIC_BASE_BSP | LAPIC_BASE_X2APIC, "base"},
		{AT_BASE, 8, 0xffffffffffffffff, "base"},
		{AT_LDR, 4, 1, "logical id"},
		{AT_DFR, 4, 0xf0000000, "destination format"},
		{AT_IRR, 4, 0x8000, "vector below 16"},
		{AT_ISR, 4, 1, "vector below 16"},
		{AT_PIR, 4, 1, "vector below 16"},
		{AT_TPR, 4, 0x100, "task priority"},
		{AT_SVR, 4, 0x1000, "spurious"},
		{AT_SVR, 4, 0, "local vector table"}, /* switched off, and not all masked */
		{AT_ESR, 4, 1, "error status"},
		{AT_ICR, 8, 0x1000, "interrupt command"},
		{AT_ICR, 8, 0x100000000, "interrupt command"},
		{AT_ICR2, 4, 1, "interrupt command"},
		{AT_LVT, 4, 0x100000, "local vector table"},
		{AT_LVT + 8, 4, 0x1000, "local vector table"},
		{AT_DIVIDE, 4, 4, "divider"},
		{AT_INITIAL, 4, 0, "timer's mode"},
		{AT_COUNTS, 1, 2, "yes or no"},
		{AT_COUNTS, 1, 0, "left of the timer"},
		{AT_LEFT, 8, 6400001, "left of the timer"},
		{AT_LEFT, 8, UINT64_MAX, "left of the timer"},
		{AT_TSC, 8, 1, "TSC deadline"},
		{AT_EVENTS, 4, 0x10000, "events"},
		{AT_EVENTS, 4, 0x100, "events"},
	};
	struct vm vm, other;
	struct lapic *l = rich(&vm), *m;
	struct snap s, t;

	save(&s, l, SAVED_AT);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snap_with(&t, &s, wrong[i].at, wrong[i].value, wrong[i].len);
		m = power_up(&other);
		assert_int_equal(lapic_load(m, &t.in, LOADED_AT, &t.err), -EINVAL);
		if (!strstr(t.err.text, wrong[i].what))
			fail_msg("%zu: \"%s\", not of \"%s\"", i, t.err.text, wrong[i].what);
		/* Nothing of it was taken. */
		assert_int_equal(mmio_read(m, SVR), 0xff);
		assert_int_equal(lapic_deadline(m), NEVER);
		assert_false(lapic_inbox_pending(m));
		snap_free(&t);
	}
	snap_free(&s);
}

static int load_any(struct state_reader *r, struct error *err)
{
	struct state_in in;
	struct vm vm;
	struct lapic *l = power_up(&vm);
	int ret = state_find(r, SNAP_ID, 0, 1, &in, err);

	if (ret == 0)
		ret = lapic_load(l, &in, LOADED_AT, err);
	if (ret < 0)
		return ret;
	/* It goes on as if nothing were the matter. */
	lapic_collect(l);
	for (int i = 0; i < 300; i++) {
		int vector;

		lapic_timer_run(l, LOADED_AT + (uint64_t)i * 1000000);
		vector = lapic_pending_vector(l);
		if (vector >= 0)
			lapic_accept(l, (uint8_t)vector);
		lapic_eoi(l);
	}
	return 0;
}

static void test_any_byte_may_be_wrong(void **state)
{
	struct vm vm;
	struct snap s;

	save(&s, rich(&vm), SAVED_AT);
	snap_attack(&s, load_any);
	snap_free(&s);
}

/* -- I/O APIC --------------------------------------------------------------------------------- */

static void io_write(struct ioapic *io, uint32_t reg, uint32_t value)
{
	ioapic_mmio_write(io, 0, &reg, 4);
	ioapic_mmio_write(io, 0x10, &value, 4);
}

static uint32_t io_read(struct ioapic *io, uint32_t reg)
{
	uint32_t value;

	ioapic_mmio_write(io, 0, &reg, 4);
	ioapic_mmio_read(io, 0x10, &value, 4);
	return value;
}

/* Pin 5 level-triggered and being handled, pin 6 an edge that is up, pin 7 up, level and masked. */
static void make_io(struct vm *vm, struct ioapic *io)
{
	assert_int_equal(ioapic_init(io, &vm->bus), 0);
	io_write(io, 0, 0x07000000);
	io_write(io, 0x10 + 2 * 5, 0x8000 | 0x55);
	io_write(io, 0x10 + 2 * 6, 0x56);
	io_write(io, 0x10 + 2 * 7 + 1, 0x00000000);
	io_write(io, 0x10 + 2 * 7, 0x18000 | 0x57);
	ioapic_set_pin(io, 5, true);
	ioapic_set_pin(io, 6, true);
	ioapic_set_pin(io, 7, true);
}

static void test_ioapic_goes_on(void **state)
{
	struct vm vm, other;
	struct ioapic io, fresh;
	struct snap s, t;

	xapic(&vm);
	make_io(&vm, &io);
	ioapic_save(&io, snap_begin(&s));
	snap_in(&s);
	xapic(&other);
	assert_int_equal(ioapic_init(&fresh, &other.bus), 0);
	assert_int_equal(ioapic_load(&fresh, &s.in, &s.err), 0);
	ioapic_save(&fresh, snap_begin(&t));
	snap_in(&t);
	assert_same_snap(&s, &t);
	assert_int_equal(other.wakes, 0);
	assert_int_equal(io_read(&fresh, 0x10 + 2 * 5), 0xc000 | 0x55);
	assert_int_equal(io_read(&fresh, 0), 0x07000000);
	/* Told again how its pins are, it sends nothing new. */
	ioapic_set_pin(&fresh, 5, true);
	ioapic_set_pin(&fresh, 6, true);
	assert_int_equal(other.wakes, 0);
	/* The end of the one that is handled: the pin is still up, so once more. */
	ioapic_eoi(&fresh, 0x55);
	assert_int_equal(other.wakes, 1);
	lapic_collect(&other.lapic);
	take(&other.lapic, 0x55);
	/* And what was masked comes when it may. */
	io_write(&fresh, 0x10 + 2 * 7, 0x8000 | 0x57);
	lapic_collect(&other.lapic);
	assert_int_equal(mmio_read(&other.lapic, IRR + 2), 1u << (0x57 - 0x40));
	/* A new edge of the one that is an edge. */
	ioapic_set_pin(&fresh, 6, false);
	ioapic_set_pin(&fresh, 6, true);
	lapic_collect(&other.lapic);
	assert_int_equal(mmio_read(&other.lapic, IRR + 2), 3u << (0x56 - 0x40));
	snap_free(&s);
	snap_free(&t);
	ioapic_destroy(&io);
	ioapic_destroy(&fresh);
}

static void test_ioapic_refuses(void **state)
{
	static const struct {
		size_t at, len;
		uint64_t value;
		const char *what;
	} wrong[] = {
		{0, 1, 0x10, "the id"},
		{2, 4, 0x1000000, "a level"},
		{6, 8, 0x4000, "redirection table"}, /* an edge is not handled */
		{6, 8, 0x1000, "redirection table"},
		{6 + 23 * 8, 8, UINT64_C(0x100000000), "redirection table"},
	};
	struct vm vm;
	struct ioapic io, fresh;
	struct snap s, t;

	xapic(&vm);
	make_io(&vm, &io);
	ioapic_save(&io, snap_begin(&s));
	snap_in(&s);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snap_with(&t, &s, wrong[i].at, wrong[i].value, wrong[i].len);
		assert_int_equal(ioapic_init(&fresh, &vm.bus), 0);
		assert_int_equal(ioapic_load(&fresh, &t.in, &t.err), -EINVAL);
		assert_non_null(strstr(t.err.text, wrong[i].what));
		assert_int_equal(io_read(&fresh, 0x10 + 2 * 5), 0x10000);
		ioapic_destroy(&fresh);
		snap_free(&t);
	}
	snap_free(&s);
	ioapic_destroy(&io);
}

static int load_io(struct state_reader *r, struct error *err)
{
	struct state_in in;
	struct ioapic io;
	struct vm vm;
	int ret = state_find(r, SNAP_ID, 0, 1, &in, err);

	xapic(&vm);
	assert_int_equal(ioapic_init(&io, &vm.bus), 0);
	if (ret == 0)
		ret = ioapic_load(&io, &in, err);
	for (unsigned int i = 0; ret == 0 && i < 256; i++) {
		ioapic_set_pin(&io, i % IOAPIC_PINS, i & 64);
		ioapic_eoi(&io, (uint8_t)i);
		io_write(&io, i % 0x40, i);
	}
	ioapic_destroy(&io);
	return ret;
}

static void test_ioapic_any_byte_may_be_wrong(void **state)
{
	struct vm vm;
	struct ioapic io;
	struct snap s;

	xapic(&vm);
	make_io(&vm, &io);
	ioapic_save(&io, snap_begin(&s));
	snap_in(&s);
	snap_attack(&s, load_io);
	snap_free(&s);
	ioapic_destroy(&io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_registers),
		cmocka_unit_test(test_what_was_on_its_way_arrives),
		cmocka_unit_test(test_nothing_in_the_inbox_wakes_nobody),
		cmocka_unit_test(test_counts_go_on),
		cmocka_unit_test(test_timers_go_on_where_the_host_is_younger),
		cmocka_unit_test(test_tsc_deadlines_are_the_guests),
		cmocka_unit_test(test_x2apic),
		cmocka_unit_test(test_what_cannot_be_is_refused),
		cmocka_unit_test(test_any_byte_may_be_wrong),
		cmocka_unit_test(test_ioapic_goes_on),
		cmocka_unit_test(test_ioapic_refuses),
		cmocka_unit_test(test_ioapic_any_byte_may_be_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
