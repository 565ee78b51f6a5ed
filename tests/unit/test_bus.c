/* SPDX-License-Identifier: Apache-2.0 */
/* Looking up devices, and the ports that end or reset a machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "devices/bus.h"
#include "devices/control.h"

struct device {
	uint64_t offset;
	unsigned int len, reads, writes;
	uint8_t data[8];
	bool lazy; /* touches nothing when read */
};

static void dev_read(void *ptr, uint64_t offset, void *data, unsigned int len)
{
	struct device *d = ptr;

	d->offset = offset;
	d->len = len;
	d->reads++;
	if (!d->lazy)
		memcpy(data, d->data, len);
}

static void dev_write(void *ptr, uint64_t offset, const void *data, unsigned int len)
{
	struct device *d = ptr;

	d->offset = offset;
	d->len = len;
	d->writes++;
	memcpy(d->data, data, len);
}

static const struct bus_ops ops = {dev_read, dev_write};

static void test_add(void **state)
{
	struct bus bus = {.count = 0};
	struct device d = {0};

	assert_int_equal(bus_add(&bus, 0x100, 0, &ops, &d), -EINVAL);
	assert_int_equal(bus_add(&bus, UINT64_MAX, 2, &ops, &d), -EINVAL);
	assert_int_equal(bus_add(&bus, 0x100, 0x10, &ops, &d), 0);
	/* Any overlap is refused; neighbours are not. */
	assert_int_equal(bus_add(&bus, 0x100, 0x10, &ops, &d), -EEXIST);
	assert_int_equal(bus_add(&bus, 0x10f, 1, &ops, &d), -EEXIST);
	assert_int_equal(bus_add(&bus, 0xff, 2, &ops, &d), -EEXIST);
	assert_int_equal(bus_add(&bus, 0, UINT64_MAX, &ops, &d), -EEXIST);
	assert_int_equal(bus_add(&bus, 0x110, 1, &ops, &d), 0);
	assert_int_equal(bus_add(&bus, 0xff, 1, &ops, &d), 0);
	/* The very end. */
	assert_int_equal(bus_add(&bus, UINT64_MAX, 1, &ops, &d), 0);
	assert_int_equal(bus.count, 4);
}

static void test_full(void **state)
{
	struct bus bus = {.count = 0};
	struct device d = {0};

	for (unsigned int i = 0; i < BUS_RANGES; i++)
		assert_int_equal(bus_add(&bus, i, 1, &ops, &d), 0);
	assert_int_equal(bus_add(&bus, 1000, 1, &ops, &d), -ENOSPC);
	assert_int_equal(bus.count, BUS_RANGES);
}

static void test_access(void **state)
{
	struct bus bus = {.count = 0};
	struct device a = {.data = {1, 2, 3, 4}}, b = {.lazy = true};
	uint8_t buf[8];

	bus_add(&bus, 0x1000, 0x10, &ops, &a);
	bus_add(&bus, 0x1010, 8, &ops, &b);
	assert_true(bus_read(&bus, 0x1004, buf, 4));
	assert_int_equal(a.offset, 4);
	assert_int_equal(a.len, 4);
	assert_memory_equal(buf, a.data, 4);
	assert_true(bus_write(&bus, 0x100f, "x", 1));
	assert_int_equal(a.offset, 15);
	assert_int_equal(a.data[0], 'x');
	/* A device that leaves the data alone gives all ones, not what was there. */
	memset(buf, 0, sizeof(buf));
	assert_true(bus_read(&bus, 0x1010, buf, 8));
	for (int i = 0; i < 8; i++)
		assert_int_equal(buf[i], 0xff);
	assert_int_equal(b.reads, 1);
}

static void test_unclaimed(void **state)
{
	struct bus bus = {.count = 0};
	struct device d = {0};
	uint8_t buf[9];

	bus_add(&bus, 0x1000, 0x10, &ops, &d);
	for (unsigned int len = 1; len <= 8; len *= 2) {
		const uint64_t addrs[] = {
			0, 0xfff, 0x1010, UINT64_MAX, 0x1010 - len + 1, UINT64_MAX - len + 1};

		for (size_t i = 0; i < sizeof(addrs) / sizeof(addrs[0]); i++) {
			if (len == 1 && i == 4)
				continue; /* not across the end */
			memset(buf, 0x5a, sizeof(buf));
			assert_false(bus_read(&bus, addrs[i], buf, len));
			for (unsigned int j = 0; j < len; j++)
				assert_int_equal(buf[j], 0xff);
			assert_int_equal(buf[len], 0x5a);
			assert_false(bus_write(&bus, addrs[i], buf, len));
		}
	}
	assert_int_equal(d.reads + d.writes, 0);
}

static void test_around(void **state)
{
	struct bus bus = {.count = 0};
	struct device inner = {0}, outer = {0};
	uint8_t buf[8] = {0};

	assert_int_equal(bus_add(&bus, 0x101, 2, &ops, &inner), 0);
	assert_int_equal(bus_add_around(&bus, 0x102, 4, &ops, &outer), -EEXIST);
	assert_int_equal(bus_add_around(&bus, 0x100, 8, &ops, &outer), 0);
	/* And not the other way round. */
	assert_int_equal(bus_add(&bus, 0x104, 1, &ops, &inner), -EEXIST);
	assert_true(bus_write(&bus, 0x101, buf, 2));
	assert_int_equal(inner.writes, 1);
	assert_int_equal(inner.offset, 0);
	/* Not wholly inside: the outer one's. */
	assert_true(bus_write(&bus, 0x102, buf, 2));
	assert_true(bus_read(&bus, 0x100, buf, 4));
	assert_int_equal(outer.reads + outer.writes, 2);
	assert_int_equal(outer.offset, 0);
	assert_false(bus_write(&bus, 0x107, buf, 2));
	assert_int_equal(inner.reads + inner.writes, 1);
}

struct window {
	struct bus_range range;
	unsigned int asked;
};

static bool window_find(void *dev, uint64_t addr, struct bus_range *found)
{
	struct window *w = dev;

	w->asked++;
	if (addr < w->range.base || addr - w->range.base >= w->range.size)
		return false;
	*found = w->range;
	return true;
}

static void test_window(void **state)
{
	struct bus bus = {.count = 0};
	struct device d = {0};
	struct window w = {.range = {.base = 0x2010, .size = 0x10, .ops = &ops, .dev = &d}};
	uint8_t buf[8] = {0};

	assert_int_equal(bus_add_window(&bus, 0x2000, 0x1000, window_find, &w), 0);
	assert_int_equal(bus_add(&bus, 0x2fff, 1, &ops, &d), -EEXIST);
	assert_true(bus_write(&bus, 0x2014, buf, 4));
	assert_int_equal(d.offset, 4);
	assert_false(bus_write(&bus, 0x201e, buf, 4));
	assert_false(bus_read(&bus, 0x2020, buf, 4));
	assert_int_equal(buf[3], 0xff);
	/* It moves; what sticks out of the window is not seen. */
	w.range.base = 0x2ff8;
	assert_false(bus_write(&bus, 0x2014, buf, 4));
	assert_true(bus_write(&bus, 0x2ff8, buf, 8));
	assert_false(bus_write(&bus, 0x2ffc, buf, 8));
	assert_false(bus_write(&bus, 0x3000, buf, 4));
	assert_int_equal(d.writes, 2);
	assert_int_equal(w.asked, 5);
}

/* ---- the control ports ---- */

struct seen {
	unsigned int resets, exits;
	uint32_t value;
};

static void on_event(void *ctx, enum control_event event, uint32_t value)
{
	struct seen *s = ctx;

	if (event == CONTROL_RESET)
		s->resets++;
	else
		s->exits++;
	s->value = value;
}

static void out(struct bus *bus, uint16_t port, uint32_t value, unsigned int len)
{
	bus_write(bus, port, &value, len);
}

static uint8_t in(struct bus *bus, uint16_t port)
{
	uint8_t value = 0x5a;

	bus_read(bus, port, &value, 1);
	return value;
}

static void test_reset(void **state)
{
	struct bus bus = {.count = 0};
	struct seen s = {0};
	struct control c = {.event = on_event, .ctx = &s};

	assert_int_equal(control_add(&c, &bus, -1), 0);
	/* 8042: only the pulse of the reset line; and it is always ready for a command. */
	assert_int_equal(in(&bus, 0x64) & 2, 0);
	out(&bus, 0x64, 0xd1, 1);
	out(&bus, 0x60, 0xdf, 1);
	out(&bus, 0x64, 0xff, 1);
	out(&bus, 0x64, 0xf1, 1);
	assert_int_equal(s.resets, 0);
	out(&bus, 0x64, 0xfe, 1);
	assert_int_equal(s.resets, 1);
	out(&bus, 0x64, 0xf0, 1);
	assert_int_equal(s.resets, 2);
	/* Reset control register: bit 2 going up resets, bits 1 and 3 say how and can be read. */
	out(&bus, 0xcf9, 0x02, 1);
	assert_int_equal(s.resets, 2);
	assert_int_equal(in(&bus, 0xcf9), 0x02);
	out(&bus, 0xcf9, 0x06, 1);
	assert_int_equal(s.resets, 3);
	out(&bus, 0xcf9, 0x0e, 1);
	assert_int_equal(s.resets, 4);
	/* Port 0x80 takes what comes. */
	out(&bus, 0x80, 0xfe, 1);
	assert_int_equal(s.resets, 4);
	assert_int_equal(s.exits, 0);
}

static void test_debug_exit(void **state)
{
	struct bus bus = {.count = 0};
	struct seen s = {0};
	struct control c = {.event = on_event, .ctx = &s};

	assert_int_equal(control_add(&c, &bus, 0xf4), 0);
	out(&bus, 0xf4, 0x12345678, 4);
	assert_int_equal(s.value, 0x12345678);
	out(&bus, 0xf4, 0x12345678, 2);
	assert_int_equal(s.value, 0x5678);
	out(&bus, 0xf4, 0x12345678, 1);
	assert_int_equal(s.value, 0x78);
	assert_int_equal(s.exits, 3);
	assert_int_equal(in(&bus, 0xf4), 0xff);
	assert_int_equal(s.resets, 0);
}

static void test_debug_exit_taken(void **state)
{
	for (int port = 0x3f8 - 3; port < 0x400; port++) {
		struct bus bus = {.count = 0};
		struct seen s = {0};
		struct control c = {.event = on_event, .ctx = &s};

		bus_add(&bus, 0x3f8, 8, &ops, &s);
		assert_int_equal(control_add(&c, &bus, port), -EEXIST);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_access),
		cmocka_unit_test(test_unclaimed),
		cmocka_unit_test(test_around),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_debug_exit),
		cmocka_unit_test(test_debug_exit_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
