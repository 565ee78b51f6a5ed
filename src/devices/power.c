/* SPDX-License-Identifier: Apache-2.0 */
/* Sleep registers and power button: ACPI 6.5, 4.8.3.7 "Sleep Control and Status Registers". */
#include <string.h>

#include "devices/power.h"
#include "poll/clock.h"

#define STATUS_WAKE 0x80 /* written as 1 to clear; a machine that never sleeps never sets it */
#define PM_TIMER_HZ 3579545u
#define NS_PER_S    1000000000u
#define MMIO_STATUS 4 /* offset of the status register, where each has a word */

static void control_write(struct power *p, uint8_t value)
{
	/* Other types of sleep are not offered, and the other bits are reserved. */
	if ((value & 0x3c) == POWER_S5_CONTROL)
		p->off(p->ctx);
}

static void read_value(struct power *p, bool status, void *data, unsigned int len)
{
	memset(data, 0, len);
	if (status)
		*(uint8_t *)data = p->status;
}

static void write_value(struct power *p, bool status, const void *data)
{
	uint8_t value = *(const uint8_t *)data;

	if (!status)
		control_write(p, value);
	else if (value & STATUS_WAKE)
		p->status &= (uint8_t)~STATUS_WAKE;
}

static void port_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	read_value(dev, offset != 0, data, len);
}

static void port_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	write_value(dev, offset != 0, data);
}

static void mmio_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	if (offset == 0 || offset == MMIO_STATUS)
		read_value(dev, offset != 0, data, len);
}

static void mmio_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	if (offset == 0 || offset == MMIO_STATUS)
		write_value(dev, offset != 0, data);
}

/* Reads the timer, of 32 bits; drivers look at 24 of them. */
static uint32_t timer_ticks(uint64_t ns)
{
	return (uint32_t)(ns / NS_PER_S * PM_TIMER_HZ + ns % NS_PER_S * PM_TIMER_HZ / NS_PER_S);
}

static uint32_t timer_at(const struct power *p, uint64_t ns)
{
	return timer_ticks(ns) + p->timer_ahead;
}

static void timer_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	uint32_t ticks = timer_at(dev, clock_monotonic_ns());

	memcpy(data, (const uint8_t *)&ticks + offset, len);
}

static void timer_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
}

static const struct bus_ops timer_ops = {timer_read, timer_write};
static const struct bus_ops port_ops = {port_read, port_write};
static const struct bus_ops mmio_ops = {mmio_read, mmio_write};

int power_add(struct power *p, struct bus *pio, struct bus *mmio)
{
	int ret = bus_add(pio, POWER_CONTROL_PORT, 2, &port_ops, p);

	if (ret == 0)
		ret = bus_add(pio, POWER_TIMER_PORT, 4, &timer_ops, p);
	return ret < 0 ? ret : bus_add(mmio, POWER_MMIO_BASE, POWER_MMIO_SIZE, &mmio_ops, p);
}

void power_press(struct power *p)
{
	p->button(p->ctx, true);
	p->button(p->ctx, false);
}

void power_save(const struct power *p, struct state_writer *w, uint64_t now_ns)
{
	state_put_u8(w, p->status);
	state_put_u32(w, timer_at(p, now_ns));
}

int power_load(struct power *p, struct state_in *in, int64_t now_ns, struct error *err)
{
	uint8_t status = state_get_u8(in);
	uint32_t timer = state_get_u32(in);
	uint32_t host =
		now_ns < 0 ? -timer_ticks(-(uint64_t)now_ns) : timer_ticks((uint64_t)now_ns);
	int ret;

	state_check(in, !(status & ~STATUS_WAKE), "the sleep status register");
	ret = state_finish(in, err);
	if (ret < 0)
		return ret;
	p->status = status;
	p->timer_ahead = timer - host;
	return 0;
}
