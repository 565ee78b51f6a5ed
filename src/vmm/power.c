/* SPDX-License-Identifier: Apache-2.0 */
/* How a guest ends: the sleep register, the power button, and what a panicking guest writes to. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "vmm/irq.h"
#include "vmm/vm.h"

static void power_off(void *ctx)
{
	struct catnap_exit e = {.size = sizeof(e), .reason = CATNAP_EXIT_POWEROFF};

	e.vcpu = vm_current_vcpu(ctx);
	vm_end(ctx, &e);
}

static void power_button(void *ctx, bool level)
{
	irq_set_pin(ctx, POWER_BUTTON_GSI, level);
}

static void panicked(void *ctx, uint8_t events)
{
	struct catnap_exit e = {.size = sizeof(e), .reason = CATNAP_EXIT_PANIC};
	struct catnap_event happened = history_event(CATNAP_EVENT_PANIC);
	struct catnap_vm *vm = ctx;
	char text[128] = "the guest panicked, and goes on with its crash kernel";

	happened.vcpu = e.vcpu = vm_current_vcpu(vm);
	happened.value = !(events & PVPANIC_PANICKED);
	snprintf(happened.text, sizeof(happened.text), "%s",
		 happened.value ? text : "the guest panicked");
	history_add(&vm->history, &happened);
	if (events & PVPANIC_PANICKED)
		vm_end(vm, &e);
	else if (log_limit_pass(&vm->panic_limit, text, sizeof(text)))
		vm_log(vm, CATNAP_LOG_WARN, text);
}

int power_devices_add(struct catnap_vm *vm, struct error *err)
{
	int ret;

	vm->power.off = power_off;
	vm->power.button = power_button;
	vm->pvpanic.event = panicked;
	vm->power.ctx = vm->pvpanic.ctx = vm;
	ret = power_add(&vm->power, &vm->pio, &vm->mmio);
	if (ret == 0)
		ret = pvpanic_add(&vm->pvpanic, &vm->pio, &vm->mmio);
	if (ret < 0)
		error_set(err, "debug_exit_port: 0x%x belongs to another device",
			  (unsigned int)vm->cfg.debug_exit_port);
	return ret;
}

int catnap_vm_power_button(struct catnap_vm *vm)
{
	bool runs;

	if (vm_in_child(vm, "power_button"))
		return -EPERM;
	pthread_mutex_lock(&vm->lock);
	runs = vm->started && !vm->ended;
	pthread_mutex_unlock(&vm->lock);
	if (!runs)
		return vm_fail(vm, -EINVAL, "power_button: the VM does not run");
	/* Somebody in the guest listens to the button when its interrupt is not masked. */
	if (!irq_pin_enabled(vm, POWER_BUTTON_GSI))
		return vm_fail(vm, -ENXIO, "the guest does not listen to the power button");
	power_press(&vm->power);
	return 0;
}
