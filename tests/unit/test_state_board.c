/* SPDX-License-Identifier: Apache-2.0 */
/* The serial port, the reset control register, power, and rate limits in a snapshot. */
#include "snap.h"

#include "buckets.h"
#include "devices/control.h"
#include "devices/genid.h"
#include "devices/power.h"
#include "devices/serial.h"
#include "poll/trial.h"

/* -- serial ----------------------------------------------------------------------------------- */

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };

struct port {
	struct serial s;
	unsigned int calls;
	bool level;
};

static void on_irq(void *ctx, bool level)
{
	struct port *p = ctx;

	p->calls++;
	p->level = level;
}

static void make_port(struct port *p)
{
	memset(p, 0, sizeof(*p));
	assert_int_equal(serial_init(&p->s), 0);
	p->s.irq = on_irq;
	p->s.irq_ctx = p;
}

static void out(struct port *p, unsigned int reg, uint8_t value)
{
	serial_ops.write(&p->s, reg, &value, 1);
}

static uint8_t in(struct port *p, unsigned int reg)
{
	uint8_t value = 0x5a;

	serial_ops.read(&p->s, reg, &value, 1);
	return value;
}

/* With all kinds of things in it; a FIFO that does not begin at its beginning. */
static void use_port(struct port *p)
{
	out(p, LCR, 0x83);
	out(p, 0, 0x0c);
	out(p, 1, 0x01);
	out(p, LCR, 0x03);
	out(p, IIR, 0x01);
	out(p, MCR, 0x0b);
	out(p, SCR, 0xa5);
	assert_int_equal(serial_input(&p->s, "abcdefg", 7), 7);
	for (int i = 0; i < 5; i++)
		in(p, DATA);
	out(p, IER, 0x03);
}

static void test_serial_goes_on(void **state)
{
	struct port p, q;
	struct snap s, t;

	make_port(&p);
	use_port(&p);
	assert_true(p.level);
	serial_save(&p.s, snap_begin(&s));
	snap_in(&s);
	make_port(&q);
	assert_int_equal(serial_load(&q.s, &s.in, &s.err), 0);
	serial_save(&q.s, snap_begin(&t));
	snap_in(&t);
	assert_same_snap(&s, &t);
	/* The line is told when it is asked for. */
	assert_int_equal(q.calls, 0);
	serial_drive(&q.s);
	assert_int_equal(q.calls, 1);
	assert_true(q.level);
	/* Input that was not read, and then the transmitter's interrupt. */
	assert_int_equal(in(&q, IIR), 0xc4);
	assert_int_equal(in(&q, DATA), 'f');
	assert_int_equal(in(&q, DATA), 'g');
	assert_int_equal(in(&q, IIR), 0xc2);
	assert_int_equal(in(&q, IIR), 0xc1);
	assert_false(q.level);
	assert_int_equal(in(&q, SCR), 0xa5);
	out(&q, LCR, 0x83);
	assert_int_equal(in(&q, 0), 0x0c);
	assert_int_equal(in(&q, 1), 0x01);
	snap_free(&s);
	snap_free(&t);
	serial_destroy(&p.s);
	serial_destroy(&q.s);
}

static void test_serial_keeps_all_input(void **state)
{
	char text[SERIAL_FIFO];
	struct port p, q;
	struct snap s;

	for (int i = 0; i < SERIAL_FIFO; i++)
		text[i] = (char)i;
	make_port(&p);
	assert_int_equal(serial_input(&p.s, text, 10), 10);
	for (int i = 0; i < 10; i++)
		in(&p, DATA);
	assert_int_equal(serial_input(&p.s, text, sizeof(text)), sizeof(text));
	serial_save(&p.s, snap_begin(&s));
	snap_in(&s);
	make_port(&q);
	assert_int_equal(serial_load(&q.s, &s.in, &s.err), 0);
	assert_int_equal(serial_input(&q.s, "x", 1), 0);
	for (int i = 0; i < SERIAL_FIFO; i++)
		assert_int_equal(in(&q, DATA), i);
	assert_int_equal(in(&q, LSR), 0x60);
	snap_free(&s);
	serial_destroy(&p.s);
	serial_destroy(&q.s);
}

static int load_port(struct state_reader *r, struct error *err)
{
	struct state_in at;
	struct port p;
	int ret = state_find(r, SNAP_ID, 0, 1, &at, err);

	make_port(&p);
	if (ret == 0)
		ret = serial_load(&p.s, &at, err);
	for (unsigned int i = 0; ret == 0 && i < 300; i++) {
		serial_input(&p.s, "y", i & 1);
		in(&p, i % 8);
		out(&p, (i / 8) % 8, (uint8_t)i);
	}
	serial_destroy(&p.s);
	return ret;
}

static void test_serial_any_byte_may_be_wrong(void **state)
{
	struct port p;
	struct snap s, t;

	make_port(&p);
	use_port(&p);
	serial_save(&p.s, snap_begin(&s));
	snap_in(&s);
	snap_attack(&s, load_port);
	/* More input than there is room for. */
	snap_with(&t, &s, 10, SERIAL_FIFO + 1, 1);
	assert_int_equal(load_port(&t.r, &t.err), -EINVAL);
	assert_non_null(strstr(t.err.text, "bytes of input"));
	snap_free(&t);
	snap_with(&t, &s, 0, 0x10, 1);
	assert_int_equal(load_port(&t.r, &t.err), -EINVAL);
	assert_non_null(strstr(t.err.text, "interrupt enable"));
	snap_free(&t);
	snap_free(&s);
	serial_destroy(&p.s);
}

/* -- reset control and power ------------------------------------------------------------------ */

static void no_event(void *ctx, enum control_event event, uint32_t value)
{
	fail();
}

static void test_control(void **state)
{
	struct control c = {.event = no_event}, d = {.event = no_event};
	struct bus pio = {.count = 0}, other = {.count = 0};
	uint8_t value = 0x0a;
	struct snap s;

	assert_int_equal(control_add(&c, &pio, -1), 0);
	assert_int_equal(control_add(&d, &other, -1), 0);
	assert_true(bus_write(&pio, 0xcf9, &value, 1));
	control_save(&c, snap_begin(&s));
	snap_in(&s);
	assert_int_equal(control_load(&d, &s.in, &s.err), 0);
	value = 0;
	assert_true(bus_read(&other, 0xcf9, &value, 1));
	assert_int_equal(value, 0x0a);
	snap_free(&s);
	/* The trigger is never there. */
	state_put_u8(snap_begin(&s), 0x0e);
	assert_int_equal(control_load(&d, snap_in(&s), &s.err), -EINVAL);
	assert_non_null(strstr(s.err.text, "reset control register"));
	snap_free(&s);
}

static uint32_t pm_timer(struct bus *pio)
{
	uint32_t ticks;

	assert_true(bus_read(pio, POWER_TIMER_PORT, &ticks, 4));
	return ticks;
}

static void test_power_timer_goes_on(void **state)
{
	struct power p = {.off = NULL}, q = {.off = NULL};
	struct bus pio = {.count = 0}, mmio = {.count = 0}, other = {.count = 0},
		   other_mmio = {.count = 0};
	uint64_t day = UINT64_C(86400000000000);
	struct snap s, t, u;
	uint32_t before, after;

	assert_int_equal(power_add(&p, &pio, &mmio), 0);
	assert_int_equal(power_add(&q, &other, &other_mmio), 0);
	p.status = 0x80;
	power_save(&p, snap_begin(&s), 3 * day);
	snap_in(&s);
	/* On a host that was started a while ago. */
	assert_int_equal(power_load(&q, &s.in, day, &s.err), 0);
	power_save(&q, snap_begin(&t), day);
	snap_in(&t);
	assert_same_snap(&s, &t);
	snap_free(&t);
	/* A second later it is a second ahead. */
	power_save(&q, snap_begin(&t), day + 1000000000);
	snap_in(&t);
	state_get_u8(&t.in);
	assert_int_equal(state_find(&s.r, SNAP_ID, 0, 1, &s.in, &s.err), 0);
	state_get_u8(&s.in);
	before = state_get_u32(&s.in);
	after = state_get_u32(&t.in);
	assert_int_equal(after - before, 3579545);
	assert_int_equal(q.status, 0x80);
	/* On one that was started later than it was put down. */
	assert_int_equal(state_find(&s.r, SNAP_ID, 0, 1, &s.in, &s.err), 0);
	assert_int_equal(power_load(&q, &s.in, -2 * (int64_t)day, &s.err), 0);
	power_save(&q, snap_begin(&u), 1000000000);
	snap_in(&u);
	state_get_u8(&u.in);
	assert_int_equal(state_get_u32(&u.in) - before, (uint32_t)(UINT64_C(172801) * 3579545));
	snap_free(&u);
	before = pm_timer(&other);
	assert_true(pm_timer(&other) - before < 3579545);
	snap_free(&s);
	snap_free(&t);
	state_put_u8(snap_begin(&s), 1);
	state_put_u32(&s.w, 0);
	assert_int_equal(power_load(&q, snap_in(&s), 0, &s.err), -EINVAL);
	snap_free(&s);
}

/* -- generation ------------------------------------------------------------------------------- */

static uint64_t in_page(const uint8_t *area, unsigned int at, unsigned int len)
{
	uint64_t value = 0;

	memcpy(&value, area + 0x1000 + at, len);
	return value;
}

static void test_each_restore_is_another_generation(void **state)
{
	static uint8_t area[2][GENID_AREA_SIZE];
	struct genid g, clones[2];
	struct snap s;

	assert_int_equal(genid_init(&g), 0);
	memset(area, 0xff, sizeof(area));
	genid_write(&g, area[0]);
	assert_memory_equal(area[0], g.id, 16);
	assert_int_equal(in_page(area[0], 0, 4), 0x4b4c4356);
	assert_int_equal(in_page(area[0], 4, 4), 0x1000);
	assert_int_equal(in_page(area[0], 8, 4), 0x00ff0001); /* version 1, no counter */
	assert_int_equal(in_page(area[0], 12, 4), 0);
	assert_int_equal(in_page(area[0], 24, 8), 0x300);
	for (unsigned int i = 32; i < 0x1000; i++)
		assert_int_equal(area[0][0x1000 + i], 0);
	genid_save(&g, snap_begin(&s));
	snap_in(&s);
	/* Two clones are not the same, nor is one of them what they are made of. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(state_find(&s.r, SNAP_ID, 0, 1, &s.in, &s.err), 0);
		assert_int_equal(genid_load(&clones[i], &s.in, &s.err), 0);
		genid_write(&clones[i], area[i]);
		assert_memory_not_equal(area[i], g.id, 16);
		assert_int_equal(in_page(area[i], 12, 4), 2);
		assert_int_equal(in_page(area[i], 16, 8), 1);
		assert_int_equal(in_page(area[i], 104, 8), 1);
	}
	assert_memory_not_equal(area[0], area[1], 16);
	snap_free(&s);
	/* And so on. */
	genid_save(&clones[0], snap_begin(&s));
	assert_int_equal(genid_load(&g, snap_in(&s), &s.err), 0);
	assert_int_equal(g.generation, 2);
	snap_free(&s);
	state_put_u32(snap_begin(&s), 1);
	assert_int_equal(genid_load(&g, snap_in(&s), &s.err), -EINVAL);
	snap_free(&s);
}

/* -- rate limits ------------------------------------------------------------------------------ */

static void test_buckets_have_what_they_had(void **state)
{
	const struct rate_limits limits = {
		.bw = {.size = 1000, .one_time_burst = 50, .refill_ns = 1000},
		.ops = bucket(100, 10)};
	struct rate r, q;
	struct snap s, t;

	rate_init(&r, &limits, 5000);
	rate_charge(&r, 30, 900); /* 20 operations in debt */
	rate_save(&r, 5000, snap_begin(&s));
	rate_load(&q, 777, snap_in(&s));
	assert_int_equal(state_finish(&s.in, &s.err), 0);
	rate_save(&q, 777, snap_begin(&t));
	snap_in(&t);
	assert_same_snap(&s, &t);
	assert_int_equal(rate_wait(&q, 777), rate_wait(&r, 5000));
	assert_true(rate_wait(&q, 777) > 100000000);
	/* It fills from there on. */
	assert_int_equal(rate_wait(&q, 777 + 1000000000), 0);
	snap_free(&s);
	snap_free(&t);
}

static int load_rate(struct state_reader *r, struct error *err)
{
	struct state_in in;
	struct rate rate;
	int ret = state_find(r, SNAP_ID, 0, 1, &in, err);

	if (ret < 0)
		return ret;
	rate_load(&rate, 1000, &in);
	ret = state_finish(&in, err);
	/* Sums stay within their type, whatever it says: the sanitizer looks. */
	for (uint64_t i = 1; ret == 0 && i < 70; i++) {
		rate_charge(&rate, UINT64_MAX, UINT64_MAX);
		rate_wait(&rate, UINT64_C(1) << (i % 64));
	}
	return ret;
}

static void test_rate_any_byte_may_be_wrong(void **state)
{
	const struct rate_limits limits = {.bw = {.size = UINT64_MAX,
						  .one_time_burst = UINT64_MAX,
						  .refill_ns = RATE_REFILL_MAX_NS},
					   .ops = bucket(100, 10)};
	struct rate r;
	struct snap s, t;

	rate_init(&r, &limits, 0);
	rate_save(&r, 0, snap_begin(&s));
	snap_in(&s);
	snap_attack(&s, load_rate);
	snap_with(&t, &s, 16, RATE_REFILL_MAX_NS + 1, 8);
	assert_int_equal(load_rate(&t.r, &t.err), -EINVAL);
	assert_non_null(strstr(t.err.text, "refill time"));
	snap_free(&t);
	snap_with(&t, &s, 32, INT64_MAX, 8);
	assert_int_equal(load_rate(&t.r, &t.err), -EINVAL);
	assert_non_null(strstr(t.err.text, "left of a rate limit"));
	snap_free(&t);
	snap_with(&t, &s, 32, UINT64_C(1) << 63, 8);
	assert_int_equal(load_rate(&t.r, &t.err), -EINVAL);
	snap_free(&t);
	snap_free(&s);
}

/* Trials of all lengths, in vain and not, at each of their halts. */
static void test_trials_can_be_read_again(void **state)
{
	struct trial t, u;
	struct snap s;

	trial_init(&t);
	for (unsigned int i = 0; i < 3000; i++) {
		trial_end(&t, i % 7 == 0 ? 500 : 2000, 1000, i % 11 != 0);
		trial_save(&t, snap_begin(&s));
		trial_load(&u, snap_in(&s));
		assert_int_equal(state_finish(&s.in, &s.err), 0);
		assert_int_equal(u.lost, t.lost);
		assert_int_equal(u.left, t.left);
		snap_free(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_serial_goes_on),
		cmocka_unit_test(test_serial_keeps_all_input),
		cmocka_unit_test(test_serial_any_byte_may_be_wrong),
		cmocka_unit_test(test_control),
		cmocka_unit_test(test_power_timer_goes_on),
		cmocka_unit_test(test_each_restore_is_another_generation),
		cmocka_unit_test(test_buckets_have_what_they_had),
		cmocka_unit_test(test_trials_can_be_read_again),
		cmocka_unit_test(test_rate_any_byte_may_be_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
