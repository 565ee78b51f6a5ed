/* SPDX-License-Identifier: Apache-2.0 */
/* The serial port, rule by rule of the PC16550D data sheet (section numbers are its own). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "devices/serial.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };
#define FCR IIR

struct port {
	struct serial s;
	char out[256];
	size_t out_len;
	unsigned int rises, falls;
	bool level;
};

static void on_output(void *ctx, const void *data, size_t len)
{
	struct port *p = ctx;

	assert_true(p->out_len + len <= sizeof(p->out));
	memcpy(p->out + p->out_len, data, len);
	p->out_len += len;
}

static void on_irq(void *ctx, bool level)
{
	struct port *p = ctx;

	assert_int_not_equal(level, p->level); /* only changes */
	p->level = level;
	if (level)
		p->rises++;
	else
		p->falls++;
}

static void setup(struct port *p)
{
	memset(p, 0, sizeof(*p));
	assert_int_equal(serial_init(&p->s), 0);
	p->s.outlet.output = on_output;
	p->s.irq = on_irq;
	p->s.outlet.ctx = p->s.irq_ctx = p;
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

/* Interrupts reach the PC: OUT2. FIFOs on. */
static void enable(struct port *p, uint8_t ier)
{
	out(p, MCR, 0x0b);
	out(p, FCR, 0x07);
	out(p, IER, ier);
}

/* 8.1 and table I: after reset. */
static void test_reset(void **state)
{
	struct port p;

	setup(&p);
	assert_int_equal(in(&p, IER), 0);
	assert_int_equal(in(&p, IIR), 0x01);
	assert_int_equal(in(&p, MCR), 0);
	assert_int_equal(in(&p, LSR), 0x60);
	assert_int_equal(in(&p, MSR) & 0x0f, 0);
	assert_int_equal(in(&p, LCR) & 0x80, 0);
	assert_int_equal(p.rises, 0);
	serial_destroy(&p.s);
}

/* 8.1: DLAB switches the first two registers to the divisor; 8.7: IER's upper bits are 0. */
static void test_divisor(void **state)
{
	struct port p;

	setup(&p);
	out(&p, IER, 0xff);
	assert_int_equal(in(&p, IER), 0x0f);
	out(&p, LCR, 0x83);
	out(&p, DATA, 0x0c);
	out(&p, IER, 0x01);
	assert_int_equal(in(&p, DATA), 0x0c);
	assert_int_equal(in(&p, IER), 0x01);
	assert_int_equal(in(&p, LCR), 0x83);
	assert_false(serial_write_many(&p.s, "xy", 2)); /* it would be the divisor */
	assert_int_equal(p.out_len, 0);
	out(&p, LCR, 0x03);
	assert_int_equal(in(&p, IER), 0x0f);
	out(&p, DATA, 'a');
	assert_int_equal(p.out_len, 1);
	out(&p, LCR, 0x83);
	assert_int_equal(in(&p, DATA), 0x0c);
	serial_destroy(&p.s);
}

static void test_scratch_and_modem(void **state)
{
	struct port p;

	setup(&p);
	out(&p, SCR, 0xa5);
	assert_int_equal(in(&p, SCR), 0xa5);
	out(&p, MCR, 0xff);
	assert_int_equal(in(&p, MCR), 0x1f); /* 8.8: bits 5 to 7 are 0 */
	out(&p, MCR, 0x00);
	assert_int_equal(in(&p, MSR) & 0xb0, 0xb0); /* somebody is at the other end, always */
	/* LSR and MSR are for reading. */
	out(&p, LSR, 0x00);
	assert_int_equal(in(&p, LSR), 0x60);
	serial_destroy(&p.s);
}

/* 8.6: the two upper bits of IIR tell that the FIFOs are on. */
static void test_fifo(void **state)
{
	struct port p;

	setup(&p);
	assert_int_equal(in(&p, IIR) & 0xc0, 0);
	out(&p, FCR, 0x01);
	assert_int_equal(in(&p, IIR) & 0xc0, 0xc0);
	assert_int_equal(serial_input(&p.s, "abc", 3), 3);
	assert_int_equal(in(&p, LSR), 0x61);
	assert_int_equal(in(&p, DATA), 'a');
	/* 8.5: bit 1 clears the receiver's. */
	out(&p, FCR, 0x03);
	assert_int_equal(in(&p, LSR), 0x60);
	assert_int_equal(serial_input(&p.s, "de", 2), 2);
	assert_int_equal(in(&p, DATA), 'd');
	/* Without bit 0 the others do not count; but the change of bit 0 itself clears. */
	out(&p, FCR, 0x00);
	assert_int_equal(in(&p, IIR) & 0xc0, 0);
	assert_int_equal(in(&p, LSR), 0x60);
	assert_int_equal(serial_input(&p.s, "f", 1), 1);
	out(&p, FCR, 0x02);
	assert_int_equal(in(&p, LSR), 0x61);
	assert_int_equal(in(&p, DATA), 'f');
	serial_destroy(&p.s);
}

/* Input waits outside once the FIFO is full: nothing is lost, nothing overruns. */
static void test_input_full(void **state)
{
	char data[SERIAL_FIFO + 10];
	struct port p;

	setup(&p);
	enable(&p, 0x01);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)i;
	assert_int_equal(serial_input(&p.s, data, sizeof(data)), SERIAL_FIFO);
	assert_int_equal(serial_input(&p.s, data, 1), 0);
	assert_int_equal(in(&p, LSR), 0x61);
	assert_int_equal(in(&p, DATA), 0);
	assert_int_equal(serial_input(&p.s, data + SERIAL_FIFO, 10), 1);
	for (int i = 1; i <= SERIAL_FIFO; i++)
		assert_int_equal(in(&p, DATA), i);
	assert_int_equal(in(&p, LSR), 0x60);
	assert_int_equal(in(&p, DATA), 0); /* nothing there */
	assert_int_equal(serial_input(&p.s, data, 0), 0);
	assert_int_equal(p.rises, 1);
	assert_int_equal(p.falls, 1);
	serial_destroy(&p.s);
}

/* 8.4: in loopback the receiver can overrun; reading LSR clears the mark; the FIFO keeps the
 * first. */
static void test_flow_control(void **state)
{
	struct port p;

	setup(&p);
	/* 8.6: RTS is MCR bit 1. A program that never raises it is no reason to hold input. */
	assert_int_equal(serial_input(&p.s, "a", 1), 1);
	/* Looped back, the line shows nothing of it. */
	out(&p, MCR, 0x12);
	out(&p, MCR, 0x01);
	assert_int_equal(serial_input(&p.s, "b", 1), 1);
	out(&p, MCR, 0x03);
	assert_int_equal(serial_input(&p.s, "c", 1), 1);
	out(&p, MCR, 0x01);
	assert_int_equal(serial_input(&p.s, "d", 1), 0);
	out(&p, MCR, 0x03);
	assert_int_equal(serial_input(&p.s, "d", 1), 1);
	for (const char *c = "abcd"; *c; c++)
		assert_int_equal(in(&p, DATA), *c);
	serial_destroy(&p.s);
}

static void test_overrun(void **state)
{
	struct port p;

	setup(&p);
	enable(&p, 0x00);
	out(&p, MCR, 0x18);
	for (int i = 0; i < SERIAL_FIFO; i++)
		out(&p, DATA, (uint8_t)i);
	assert_int_equal(in(&p, LSR), 0x61);
	out(&p, DATA, 0xee);
	assert_int_equal(in(&p, LSR), 0x63);
	assert_int_equal(in(&p, LSR), 0x61);
	assert_int_equal(in(&p, DATA), 0);
	serial_destroy(&p.s);
}

/* 8.7 and table III: receiver's interrupt, as long as there is something to read. */
static void test_receive_interrupt(void **state)
{
	struct port p;

	setup(&p);
	enable(&p, 0x01);
	assert_false(p.level);
	serial_input(&p.s, "ab", 2);
	assert_true(p.level);
	assert_int_equal(in(&p, IIR), 0xc4);
	assert_int_equal(in(&p, IIR), 0xc4); /* reading IIR does not clear it */
	in(&p, DATA);
	assert_true(p.level);
	in(&p, DATA);
	assert_false(p.level);
	assert_int_equal(in(&p, IIR), 0xc1);
	/* Enabled after the fact; and gated by OUT2. */
	out(&p, IER, 0x00);
	serial_input(&p.s, "c", 1);
	assert_false(p.level);
	out(&p, IER, 0x01);
	assert_true(p.level);
	out(&p, MCR, 0x03);
	assert_false(p.level);
	out(&p, MCR, 0x0b);
	assert_true(p.level);
	out(&p, FCR, 0x03);
	assert_false(p.level);
	serial_destroy(&p.s);
}

/* Table III: transmitter empty: by enabling it and by each byte; cleared by reading IIR if it is
 * the source. */
static void test_transmit_interrupt(void **state)
{
	struct port p;

	setup(&p);
	enable(&p, 0x00);
	out(&p, IER, 0x02);
	assert_true(p.level);
	assert_int_equal(in(&p, IIR), 0xc2);
	assert_false(p.level);
	assert_int_equal(in(&p, IIR), 0xc1);
	out(&p, DATA, 'x');
	assert_true(p.level);
	assert_int_equal(in(&p, IIR), 0xc2);
	assert_false(p.level);
	/* Writing it again while it is enabled is not enabling it. */
	out(&p, IER, 0x02);
	assert_false(p.level);
	out(&p, IER, 0x00);
	out(&p, IER, 0x02);
	assert_true(p.level);
	out(&p, IER, 0x00);
	assert_false(p.level);
	assert_int_equal(in(&p, IIR), 0xc1);
	/* In one go, too. */
	out(&p, IER, 0x02);
	in(&p, IIR);
	assert_false(p.level);
	assert_true(serial_write_many(&p.s, "many", 4));
	assert_true(p.level);
	assert_memory_equal(p.out, "xmany", 5);
	serial_destroy(&p.s);
}

/* Table III: line status over data over transmitter; a lower one waits for its turn. */
static void test_priorities(void **state)
{
	struct port p;

	setup(&p);
	enable(&p, 0x07);
	out(&p, MCR, 0x1b);
	for (int i = 0; i <= SERIAL_FIFO; i++)
		out(&p, DATA, (uint8_t)i);
	assert_int_equal(in(&p, IIR), 0xc6);
	assert_int_equal(in(&p, IIR), 0xc6);
	in(&p, LSR);
	assert_int_equal(in(&p, IIR), 0xc4);
	for (int i = 0; i < SERIAL_FIFO; i++)
		in(&p, DATA);
	/* None of the readings so far was for the transmitter. */
	assert_int_equal(in(&p, IIR), 0xc2);
	assert_int_equal(in(&p, IIR), 0xc1);
	assert_false(p.level);
	serial_destroy(&p.s);
}

/* 8.8: loopback. A byte that is sent is received and does not leave; outputs are wired to
 * inputs. */
static void test_loopback(void **state)
{
	static const struct {
		uint8_t mcr, msr;
	} wires[] = {{0x01, 0x20}, {0x02, 0x10}, {0x04, 0x40}, {0x08, 0x80}};
	struct port p;

	setup(&p);
	out(&p, FCR, 0x07);
	for (size_t i = 0; i < sizeof(wires) / sizeof(wires[0]); i++) {
		out(&p, MCR, 0x10 | wires[i].mcr);
		assert_int_equal(in(&p, MSR) & 0xf0, wires[i].msr);
	}
	out(&p, DATA, 'q');
	assert_true(serial_write_many(&p.s, "rs", 2));
	assert_int_equal(p.out_len, 0);
	/* The outside is cut off. */
	assert_int_equal(serial_input(&p.s, "z", 1), 0);
	assert_int_equal(in(&p, DATA), 'q');
	assert_int_equal(in(&p, DATA), 'r');
	assert_int_equal(in(&p, DATA), 's');
	assert_int_equal(in(&p, LSR), 0x60);
	out(&p, MCR, 0x00);
	assert_int_equal(serial_input(&p.s, "z", 1), 1);
	assert_int_equal(in(&p, DATA), 'z');
	serial_destroy(&p.s);
}

/* An access of several bytes is to that many registers. */
static void test_wide(void **state)
{
	const uint8_t data[] = {'w', 0x00, 0x01, 0x03};
	uint8_t got[4];
	struct port p;

	setup(&p);
	serial_ops.write(&p.s, 0, data, 4);
	assert_int_equal(p.out_len, 1);
	assert_int_equal(in(&p, LCR), 0x03);
	out(&p, SCR, 0x77);
	serial_ops.read(&p.s, 4, got, 4);
	assert_int_equal(got[1], 0x60);
	assert_int_equal(got[3], 0x77);
	serial_destroy(&p.s);
}

/* With nobody connected it works all the same. */
static void test_unconnected(void **state)
{
	struct serial s;
	uint8_t value = 'x';

	assert_int_equal(serial_init(&s), 0);
	serial_ops.write(&s, DATA, &value, 1);
	assert_true(serial_write_many(&s, "abc", 3));
	value = 0x0b;
	serial_ops.write(&s, MCR, &value, 1);
	value = 0x03;
	serial_ops.write(&s, IER, &value, 1);
	assert_int_equal(serial_input(&s, "x", 1), 1);
	serial_ops.read(&s, IIR, &value, 1);
	assert_int_equal(value, 0x04);
	serial_destroy(&s);
}

/* While a byte leaves, which may take long: input comes, registers are read, interrupts go. */
static void during_output(void *ctx, const void *data, size_t len)
{
	struct port *p = ctx;

	on_output(ctx, data, len);
	assert_int_equal(serial_input(&p->s, "ab", 2), 2);
	assert_int_equal(in(p, LSR) & 0x01, 0x01);
	assert_int_equal(in(p, DATA), 'a');
	assert_int_equal(in(p, DATA), 'b');
	out(p, SCR, 0x77);
}

static void test_output_under_way(void **state)
{
	struct port p;

	setup(&p);
	p.s.outlet.output = during_output;
	enable(&p, 0x03);
	out(&p, DATA, 'x');
	assert_int_equal(p.out_len, 1);
	assert_int_equal(in(&p, SCR), 0x77);
	assert_true(p.level); /* the transmitter is empty */
	assert_true(serial_write_many(&p.s, "yz", 2));
	assert_int_equal(p.out_len, 3);
	assert_memory_equal(p.out, "xyz", 3);
	serial_destroy(&p.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_divisor),
		cmocka_unit_test(test_scratch_and_modem),
		cmocka_unit_test(test_fifo),
		cmocka_unit_test(test_input_full),
		cmocka_unit_test(test_flow_control),
		cmocka_unit_test(test_overrun),
		cmocka_unit_test(test_receive_interrupt),
		cmocka_unit_test(test_transmit_interrupt),
		cmocka_unit_test(test_priorities),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_wide),
		cmocka_unit_test(test_unconnected),
		cmocka_unit_test(test_output_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
