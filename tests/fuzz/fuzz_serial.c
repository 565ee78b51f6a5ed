/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is a list of accesses to the serial port by the guest and of input from outside. Beside
 * what the port says of itself, each byte that it took from outside and that was not cleared comes
 * out, in order, and the interrupt line is what the registers say.
 */

#include "fuzz.h"
#include "devices/serial.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };

struct port {
	struct serial s;
	struct bus bus;
	bool level;
	uint64_t sent;
	/* The model: what is in the FIFO. */
	uint8_t fifo[SERIAL_FIFO];
	unsigned int used;
	uint8_t fcr;
	bool uses_rts;
};

static void on_output(void *ctx, const void *data, size_t len)
{
	struct port *p = ctx;

	check(len > 0);
	p->sent += len;
}

static void on_irq(void *ctx, bool level)
{
	struct port *p = ctx;

	check(level != p->level);
	p->level = level;
}

static uint8_t in(struct port *p, unsigned int reg)
{
	uint8_t value = 0;

	check(bus_read(&p->bus, SERIAL_COM1_PORT + reg, &value, 1));
	return value;
}

static void push(struct port *p, uint8_t byte)
{
	if (p->used < SERIAL_FIFO)
		p->fifo[p->used++] = byte;
}

static void guest_reads(struct port *p, unsigned int reg)
{
	bool divisor = in(p, LCR) & 0x80;
	uint8_t value = in(p, reg);

	if (reg == DATA && !divisor) {
		check(value == (p->used ? p->fifo[0] : 0));
		if (p->used)
			memmove(p->fifo, p->fifo + 1, --p->used);
	}
	if (reg == LSR)
		check((value & 1) == (p->used > 0));
}

static void guest_writes(struct port *p, unsigned int reg, uint8_t value)
{
	bool divisor = in(p, LCR) & 0x80, loop = in(p, MCR) & 0x10;
	uint64_t sent = p->sent;

	check(bus_write(&p->bus, SERIAL_COM1_PORT + reg, &value, 1));
	check(p->sent == sent + (reg == DATA && !divisor && !loop));
	if (reg == DATA && !divisor && loop)
		push(p, value);
	if (reg == MCR && (value & 0x12) == 0x02)
		p->uses_rts = true;
	if (reg == IIR) {
		if (((value ^ p->fcr) & 1) || (value & 3) == 3)
			p->used = 0;
		p->fcr = value & 1;
	}
}

static void outside_sends(struct port *p, const uint8_t *data, size_t len)
{
	size_t took = serial_input(&p->s, data, len);

	if ((in(p, MCR) & 0x10) || (p->uses_rts && !(in(p, MCR) & 0x02)))
		check(took == 0);
	else
		check(took == (len < SERIAL_FIFO - p->used ? len : SERIAL_FIFO - p->used));
	for (size_t i = 0; i < took; i++)
		push(p, data[i]);
}

static void check_line(struct port *p)
{
	uint8_t ier = in(p, IER), iir;
	bool divisor = in(p, LCR) & 0x80, out2 = in(p, MCR) & 0x08;

	if (!out2)
		check(!p->level);
	if (!divisor && out2 && (ier & 1) && p->used)
		check(p->level);
	/* As the guest sees it; reading may take the transmitter's interrupt back. */
	bool before = p->level;

	iir = in(p, IIR);
	check(out2 ? before == !(iir & 1) : !before);
	check((iir & 0x0f) == 1 || (iir & 0x0f) == 2 || (iir & 0x0f) == 4 || (iir & 0x0f) == 6);
	if ((iir & 0x0f) == 2)
		check(!p->level);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct port p;

	memset(&p, 0, sizeof(p));
	check(serial_init(&p.s) == 0);
	p.s.outlet.output = on_output;
	p.s.irq = on_irq;
	p.s.outlet.ctx = p.s.irq_ctx = &p;
	check(bus_add(&p.bus, SERIAL_COM1_PORT, SERIAL_PORTS, &serial_ops, &p.s) == 0);
	while (size >= 2) {
		uint8_t op = data[0], value = data[1];

		data += 2;
		size -= 2;
		switch (op >> 6) {
		case 0:
			guest_reads(&p, op & 7);
			break;
		case 1:
			guest_writes(&p, op & 7, value);
			break;
		case 2: {
			size_t len = value < size ? value : size;

			outside_sends(&p, data, len);
			data += len;
			size -= len;
			break;
		}
		case 3: {
			size_t len = value < size ? value : size;
			bool loop = in(&p, MCR) & 0x10, divisor = in(&p, LCR) & 0x80;
			uint64_t sent = p.sent;

			if (!len)
				break;
			check(serial_write_many(&p.s, data, len) == !divisor);
			check(p.sent == sent + (loop || divisor ? 0 : len));
			for (size_t i = 0; i < len && loop && !divisor; i++)
				push(&p, data[i]);
			data += len;
			size -= len;
			break;
		}
		}
		if (op & 0x20)
			check_line(&p);
	}
	serial_destroy(&p.s);
	return 0;
}
