/* SPDX-License-Identifier: Apache-2.0 */
/* The 16550A's registers and its interrupt line. */
#include <string.h>

#include "devices/serial.h"

/* Registers, by offset. */
enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RX	      0x01
#define IER_THR_EMPTY 0x02
#define IER_LINE      0x04
#define IER_MASK      0x0f
#define IIR_NONE      0x01
#define IIR_THR_EMPTY 0x02
#define IIR_RX	      0x04
#define IIR_LINE      0x06
#define IIR_FIFO      0xc0
#define FCR_ENABLE    0x01
#define FCR_CLEAR_RX  0x02
#define LCR_DLAB      0x80
#define MCR_RTS	      0x02
#define MCR_OUT2      0x08
#define MCR_LOOP      0x10
#define MCR_MASK      0x1f
#define LSR_READY     0x01
#define LSR_OVERRUN   0x02
#define LSR_TX_EMPTY  0x60 /* holding register and shift register */
#define MSR_CONNECTED 0xb0 /* carrier, data set ready, clear to send */

int serial_init(struct serial *s)
{
	int ret;

	memset(s, 0, sizeof(*s));
	s->dll = 1; /* 115200 baud, as firmware leaves it */
	s->lcr = 0x03;
	ret = outlet_init(&s->outlet);
	if (ret < 0)
		return ret;
	ret = -pthread_mutex_init(&s->lock, NULL);
	if (ret < 0)
		outlet_fini(&s->outlet);
	return ret;
}

void serial_destroy(struct serial *s)
{
	pthread_mutex_destroy(&s->lock);
	outlet_fini(&s->outlet);
}

static uint8_t interrupt_id(const struct serial *s)
{
	if ((s->ier & IER_LINE) && s->overrun)
		return IIR_LINE;
	if ((s->ier & IER_RX) && s->used)
		return IIR_RX;
	if ((s->ier & IER_THR_EMPTY) && s->thr_empty_pending)
		return IIR_THR_EMPTY;
	return IIR_NONE;
}

/* Brings the interrupt output in line. On a PC OUT2 gates it; drivers that poll never set that. */
static bool wants_irq(const struct serial *s)
{
	return interrupt_id(s) != IIR_NONE && (s->mcr & MCR_OUT2);
}

static void update_irq(struct serial *s)
{
	bool level = wants_irq(s);

	if (level == s->irq_level)
		return;
	s->irq_level = level;
	if (s->irq)
		s->irq(s->irq_ctx, level);
}

void serial_reset(struct serial *s)
{
	pthread_mutex_lock(&s->lock);
	s->ier = s->mcr = s->scr = s->fcr = s->dlm = 0;
	s->dll = 1;
	s->lcr = 0x03;
	s->head = s->used = 0;
	s->thr_empty_pending = s->overrun = s->uses_rts = false;
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

static void push(struct serial *s, uint8_t byte)
{
	if (s->used == SERIAL_FIFO) {
		s->overrun = true;
		return;
	}
	s->fifo[(s->head + s->used++) % SERIAL_FIFO] = byte;
}

static uint8_t pop(struct serial *s)
{
	uint8_t byte;

	if (!s->used)
		return 0;
	byte = s->fifo[s->head];
	s->head = (s->head + 1) % SERIAL_FIFO;
	s->used--;
	return byte;
}

/* Loops bytes back. Returns false if they are to leave, without the lock. The lock is held. */
static bool loop_back(struct serial *s, const uint8_t *data, size_t len)
{
	if (!(s->mcr & MCR_LOOP))
		return false;
	for (size_t i = 0; i < len; i++)
		push(s, data[i]);
	s->thr_empty_pending = true;
	update_irq(s);
	return true;
}

/* Puts bytes out. The lock is not held. */
static void transmit(struct serial *s, const uint8_t *data, size_t len)
{
	outlet_put(&s->outlet, data, len);
	pthread_mutex_lock(&s->lock);
	s->thr_empty_pending = true;
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

static uint8_t modem_status(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_CONNECTED;
	/* Looped back: DTR -> DSR, RTS -> CTS, OUT1 -> RI, OUT2 -> DCD. */
	return (uint8_t)((s->mcr & 0x01) << 5 | (s->mcr & 0x02) << 3 | (s->mcr & 0x0c) << 4);
}

static uint8_t read_register(struct serial *s, unsigned int reg)
{
	uint8_t value = 0xff;

	switch (reg) {
	case REG_DATA:
		value = s->lcr & LCR_DLAB ? s->dll : pop(s);
		break;
	case REG_IER:
		value = s->lcr & LCR_DLAB ? s->dlm : s->ier;
		break;
	case REG_IIR_FCR:
		value = interrupt_id(s);
		if (value == IIR_THR_EMPTY)
			s->thr_empty_pending = false;
		if (s->fcr & FCR_ENABLE)
			value |= IIR_FIFO;
		break;
	case REG_LCR:
		value = s->lcr;
		break;
	case REG_MCR:
		value = s->mcr;
		break;
	case REG_LSR:
		value = LSR_TX_EMPTY | (s->used ? LSR_READY : 0) | (s->overrun ? LSR_OVERRUN : 0);
		s->overrun = false;
		break;
	case REG_MSR:
		value = modem_status(s);
		break;
	case REG_SCR:
		value = s->scr;
		break;
	}
	update_irq(s);
	return value;
}

/* Writes a register. Returns true if the byte is to be transmitted, without the lock. The lock is
 * held. */
static bool write_register(struct serial *s, unsigned int reg, uint8_t value)
{
	switch (reg) {
	case REG_DATA:
		if (!(s->lcr & LCR_DLAB))
			return !loop_back(s, &value, 1);
		s->dll = value;
		break;
	case REG_IER:
		if (s->lcr & LCR_DLAB) {
			s->dlm = value;
			break;
		}
		/* Enabling the transmitter's interrupt while it is empty raises it. */
		if (!(s->ier & IER_THR_EMPTY) && (value & IER_THR_EMPTY))
			s->thr_empty_pending = true;
		s->ier = value & IER_MASK;
		break;
	case REG_IIR_FCR:
		/* The other bits count only with this one; and its change empties the FIFOs. */
		if (((value ^ s->fcr) & FCR_ENABLE) ||
		    (value & (FCR_ENABLE | FCR_CLEAR_RX)) == (FCR_ENABLE | FCR_CLEAR_RX))
			s->used = 0;
		s->fcr = value & FCR_ENABLE;
		break;
	case REG_LCR:
		s->lcr = value;
		break;
	case REG_MCR:
		s->mcr = value & MCR_MASK;
		if (!(value & MCR_LOOP) && (value & MCR_RTS))
			s->uses_rts = true;
		break;
	case REG_SCR:
		s->scr = value;
		break;
	}
	update_irq(s);
	return false;
}

static void serial_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	struct serial *s = dev;
	uint8_t *bytes = data;

	pthread_mutex_lock(&s->lock);
	for (unsigned int i = 0; i < len; i++)
		bytes[i] = read_register(s, (unsigned int)offset + i);
	pthread_mutex_unlock(&s->lock);
}

static void serial_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct serial *s = dev;
	const uint8_t *bytes = data;

	for (unsigned int i = 0; i < len; i++) {
		bool leaves;

		pthread_mutex_lock(&s->lock);
		leaves = write_register(s, (unsigned int)offset + i, bytes[i]);
		pthread_mutex_unlock(&s->lock);
		if (leaves)
			transmit(s, bytes + i, 1);
	}
}

const struct bus_ops serial_ops = {.read = serial_read, .write = serial_write};

bool serial_write_many(struct serial *s, const void *data, size_t len)
{
	bool plain, looped;

	pthread_mutex_lock(&s->lock);
	plain = !(s->lcr & LCR_DLAB);
	looped = plain && loop_back(s, data, len);
	pthread_mutex_unlock(&s->lock);
	if (plain && !looped)
		transmit(s, data, len);
	return plain;
}

/*
 * Returns whether the port takes input. The other end heeds RTS, as modems do with hardware flow
 * control: Linux lowers it while it has no room (stty crtscts) and while nobody has the port open.
 * Programs that never touch it get their input all the same.
 */
static bool takes_input(const struct serial *s)
{
	return !(s->mcr & MCR_LOOP) && (!s->uses_rts || (s->mcr & MCR_RTS));
}

size_t serial_input(struct serial *s, const void *data, size_t len)
{
	const uint8_t *bytes = data;
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	if (takes_input(s)) {
		while (n < len && s->used < SERIAL_FIFO)
			push(s, bytes[n++]);
		update_irq(s);
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

void serial_save(struct serial *s, struct state_writer *w)
{
	pthread_mutex_lock(&s->lock);
	state_put_u8(w, s->ier);
	state_put_u8(w, s->lcr);
	state_put_u8(w, s->mcr);
	state_put_u8(w, s->scr);
	state_put_u8(w, s->fcr);
	state_put_u8(w, s->dll);
	state_put_u8(w, s->dlm);
	state_put_bool(w, s->thr_empty_pending);
	state_put_bool(w, s->overrun);
	state_put_bool(w, s->uses_rts);
	state_put_u8(w, (uint8_t)s->used);
	for (unsigned int i = 0; i < s->used; i++)
		state_put_u8(w, s->fifo[(s->head + i) % SERIAL_FIFO]);
	pthread_mutex_unlock(&s->lock);
}

int serial_load(struct serial *s, struct state_in *in, struct error *err)
{
	uint8_t ier = state_get_u8(in), lcr = state_get_u8(in), mcr = state_get_u8(in);
	uint8_t scr = state_get_u8(in), fcr = state_get_u8(in);
	uint8_t dll = state_get_u8(in), dlm = state_get_u8(in);
	bool thr_empty = state_get_bool(in), overrun = state_get_bool(in);
	bool uses_rts = state_get_bool(in);
	uint8_t used = state_get_u8(in), fifo[SERIAL_FIFO] = {0};
	int ret;

	state_check(in, !(ier & ~IER_MASK), "the interrupt enable register");
	state_check(in, !(mcr & ~MCR_MASK), "the modem control register");
	state_check(in, !(fcr & ~FCR_ENABLE), "the FIFO control register");
	if (state_check(in, used <= SERIAL_FIFO, "the number of bytes of input"))
		state_get_bytes(in, fifo, used);
	ret = state_finish(in, err);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(&s->lock);
	s->ier = ier;
	s->lcr = lcr;
	s->mcr = mcr;
	s->scr = scr;
	s->fcr = fcr;
	s->dll = dll;
	s->dlm = dlm;
	s->thr_empty_pending = thr_empty;
	s->overrun = overrun;
	s->uses_rts = uses_rts;
	s->head = 0;
	s->used = used;
	memcpy(s->fifo, fifo, sizeof(fifo));
	s->irq_level = wants_irq(s);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

void serial_drive(struct serial *s)
{
	pthread_mutex_lock(&s->lock);
	if (s->irq)
		s->irq(s->irq_ctx, s->irq_level);
	pthread_mutex_unlock(&s->lock);
}
