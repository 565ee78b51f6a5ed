/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DSDT: the devices that cannot be found otherwise. There are no processor objects: with them
 * Linux would load ACPI's idle driver, and the guest's own halt polling would lose to it.
 */
#include <errno.h>

#include "devices/power.h"
#include "devices/pvpanic.h"
#include "devices/serial.h"
#include "vmm/acpi.h"
#include "vmm/aml.h"

#define NOTIFY_BUTTON 0x80 /* 4.8.3.2: S0 power button pressed */
#define STATUS_ALL    0xf  /* 6.3.7 _STA: present, enabled, shown, working */

static void resources(struct aml *a, const struct aml_resources *r)
{
	aml_name(a, "_CRS");
	aml_resource_template(a, r);
}

static void serial_port(struct aml *a)
{
	struct aml_resources r = {.len = 0};

	aml_res_io(&r, SERIAL_COM1_PORT, SERIAL_PORTS);
	aml_res_interrupt(&r, SERIAL_COM1_IRQ, true, false);
	aml_device(a, "COM1");
	aml_name(a, "_HID");
	aml_eisa_id(a, "PNP0501"); /* 16550A-compatible */
	aml_name(a, "_UID");
	aml_integer(a, 1);
	aml_name(a, "_DDN");
	aml_string(a, "COM1");
	resources(a, &r);
	aml_close(a);
}

/* 4.8.3.2 control method power button; 5.6.9 interrupt-signalled events through the GED. */
static void power_button(struct aml *a)
{
	struct aml_resources r = {.len = 0};

	aml_device(a, "PWRB");
	aml_name(a, "_HID");
	aml_eisa_id(a, "PNP0C0C");
	aml_name(a, "_UID");
	aml_integer(a, 0);
	aml_close(a);

	aml_res_interrupt(&r, POWER_BUTTON_GSI, true, false);
	aml_device(a, "GED0");
	aml_name(a, "_HID");
	aml_string(a, "ACPI0013");
	aml_name(a, "_UID");
	aml_integer(a, 0);
	resources(a, &r);
	aml_method(a, "_EVT", 1, true);
	aml_if_arg_is(a, 0, POWER_BUTTON_GSI);
	aml_notify(a, "PWRB", NOTIFY_BUTTON);
	aml_close(a);
	aml_close(a);
	aml_close(a);
}

/* As QEMU's own tables have it: drivers use the resource, or the two methods. */
static void pvpanic_device(struct aml *a)
{
	struct aml_resources r = {.len = 0};

	aml_res_io(&r, PVPANIC_PORT, 1);
	aml_device(a, "PEVT");
	aml_name(a, "_HID");
	aml_string(a, "QEMU0001");
	aml_name(a, "_UID");
	aml_integer(a, 0);
	resources(a, &r);
	aml_io_byte(a, "PEOR", "PEPT", PVPANIC_PORT, 1);
	aml_name(a, "_STA");
	aml_integer(a, STATUS_ALL);
	aml_method(a, "RDPT", 0, false);
	aml_return(a);
	aml_path(a, "PEPT");
	aml_close(a);
	aml_method(a, "WRPT", 1, false);
	aml_store_arg(a, 0, "PEPT");
	aml_close(a);
	aml_close(a);
}

int dsdt_build(const struct acpi_config *cfg, void *buffer, size_t size)
{
	struct aml a;

	aml_init(&a, buffer, size);
	aml_scope(&a, "\\_SB");
	serial_port(&a);
	power_button(&a);
	pvpanic_device(&a);
	aml_close(&a);
	/* 7.4.2: what to write as SLP_TYP to power off; the second is of registers that are not
	 * here. */
	aml_name(&a, "\\_S5");
	aml_package(&a, 4);
	aml_integer(&a, POWER_S5);
	for (int i = 0; i < 3; i++)
		aml_integer(&a, 0);
	aml_close(&a);
	return a.failed ? -ENOSPC : (int)a.len;
}
