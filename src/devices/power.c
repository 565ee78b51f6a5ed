/* SPDX-License-Identifier: Apache-2.0 */
/* Sleep registers and power button: ACPI 6.5, 4.8.3.7 "Sleep Control and Status Registers". */
#include <string.h>
#include <time.h>

#include "devices/power.h"

#define STATUS_WAKE 0x80 /* written as 1 to clear; a machine that never sleeps never sets it */
#define PM_TIMER_HZ 3579545u
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

/* 32 bits; 24 of them are what drivers look at. */
static void timer_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	struct timespec ts;
	uint32_t ticks;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ticks = (uint32_t)((uint64_t)ts.tv_sec * PM_TIMER_HZ +
			   (uint64_t)ts.tv_nsec * PM_TIMER_HZ / 1000000000u);
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
