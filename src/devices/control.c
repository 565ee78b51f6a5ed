/* SPDX-License-Identifier: Apache-2.0 */
/* Reset and exit ports. */
#include <string.h>

#include "devices/control.h"

#define I8042_DATA    0x60
#define I8042_COMMAND 0x64
#define I8042_PULSE   0xf0 /* pulse output lines; bit 0 clear: the reset line */
#define RESET_PORT    0xcf9
#define RESET_CPU     0x04
#define RESET_KIND    0x0a
#define POST_PORT     0x80

/* Answers as without a keyboard: nothing to read, always ready to be written. */
static void i8042_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	memset(data, 0, len);
}

static void i8042_command(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct control *c = dev;
	uint8_t value = *(const uint8_t *)data;

	if ((value & I8042_PULSE) == I8042_PULSE && !(value & 1))
		c->event(c->ctx, CONTROL_RESET, 0);
}

static void ignore_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
}

static void reset_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	struct control *c = dev;

	*(uint8_t *)data = c->reset_register;
}

static void reset_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct control *c = dev;
	uint8_t value = *(const uint8_t *)data, old = c->reset_register;

	c->reset_register = value & RESET_KIND; /* it stays, the trigger does not */
	if ((value & RESET_CPU) && !(old & RESET_CPU))
		c->event(c->ctx, CONTROL_RESET, 0);
}

static void debug_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
}

static void debug_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct control *c = dev;
	uint32_t value = 0;

	memcpy(&value, data, len < sizeof(value) ? len : sizeof(value));
	c->event(c->ctx, CONTROL_DEBUG_EXIT, value);
}

static const struct bus_ops i8042_data_ops = {i8042_read, ignore_write};
static const struct bus_ops i8042_command_ops = {i8042_read, i8042_command};
static const struct bus_ops reset_ops = {reset_read, reset_write};
static const struct bus_ops post_ops = {debug_read, ignore_write};
static const struct bus_ops debug_ops = {debug_read, debug_write};

int control_add(struct control *c, struct bus *pio, int debug_exit_port)
{
	int ret = 0;

	/* First, so that it may take the place of one of the others, but not of the serial port. */
	if (debug_exit_port >= 0)
		ret = bus_add(pio, (uint64_t)debug_exit_port, 4, &debug_ops, c);
	if (ret < 0)
		return ret;
	bus_add(pio, I8042_DATA, 1, &i8042_data_ops, c);
	bus_add(pio, I8042_COMMAND, 1, &i8042_command_ops, c);
	bus_add(pio, RESET_PORT, 1, &reset_ops, c);
	bus_add(pio, POST_PORT, 1, &post_ops, c);
	return 0;
}

void control_save(const struct control *c, struct state_writer *w)
{
	state_put_u8(w, c->reset_register);
}

int control_load(struct control *c, struct state_in *in, struct error *err)
{
	uint8_t value = state_get_u8(in);
	int ret;

	state_check(in, !(value & ~RESET_KIND), "the reset control register");
	ret = state_finish(in, err);
	if (ret == 0)
		c->reset_register = value;
	return ret;
}
