/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where interrupts of devices go: pins of the I/O APIC and messages, to our own local APICs or to
 * KVM's; and what comes back from ours, a wake of the vCPU and the end of a level-triggered one.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/irq.h"
#include "vmm/vm.h"

static void wake(void *ctx, uint32_t id, bool ipi)
{
	struct catnap_vm *vm = ctx;

	vcpu_wake(vm->vcpus[id], ipi ? CATNAP_WORK_IPI : VCPU_WORK_IRQ);
}

static void level_eoi(void *ctx, uint8_t vector)
{
	struct catnap_vm *vm = ctx;

	ioapic_eoi(&vm->ioapic, vector);
}

void irq_init(struct catnap_vm *vm)
{
	vm->lapics.wake = wake;
	vm->lapics.eoi = level_eoi;
	vm->lapics.ctx = vm;
}

static void ioapic_bus_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	ioapic_mmio_read(dev, offset, data, len);
}

static void ioapic_bus_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	ioapic_mmio_write(dev, offset, data, len);
}

static const struct bus_ops ioapic_bus_ops = {ioapic_bus_read, ioapic_bus_write};

int irq_add_ioapic(struct catnap_vm *vm)
{
	int ret;

	if (!vm->host.irqchip_user)
		return 0;
	ret = ioapic_init(&vm->ioapic, &vm->lapics);
	if (ret < 0)
		return ret;
	vm->ioapic_made = true;
	bus_add(&vm->mmio, IOAPIC_MMIO_BASE, IOAPIC_MMIO_SIZE, &ioapic_bus_ops, &vm->ioapic);
	return 0;
}

int irq_remember(struct catnap_vm *vm, struct error *err)
{
	for (uint32_t i = 0; i < VM_KVM_CHIPS && !vm->host.irqchip_user; i++) {
		vm->chips[i].chip_id = i; /* both PICs, the I/O APIC */
		if (ioctl(vm->kvm.vm_fd, KVM_GET_IRQCHIP, &vm->chips[i]) < 0)
			return error_errno(err, -errno, "KVM_GET_IRQCHIP");
	}
	return 0;
}

int irq_reset(struct catnap_vm *vm, struct error *err)
{
	if (vm->host.irqchip_user)
		ioapic_reset(&vm->ioapic);
	for (uint32_t i = 0; i < VM_KVM_CHIPS && !vm->host.irqchip_user; i++)
		if (ioctl(vm->kvm.vm_fd, KVM_SET_IRQCHIP, &vm->chips[i]) < 0)
			return error_errno(err, -errno, "KVM_SET_IRQCHIP");
	return 0;
}

void irq_fini(struct catnap_vm *vm)
{
	if (vm->ioapic_made)
		ioapic_destroy(&vm->ioapic);
	vm->ioapic_made = false;
}

void irq_set_pin(struct catnap_vm *vm, unsigned int pin, bool level)
{
	if (vm->host.irqchip_user) {
		ioapic_set_pin(&vm->ioapic, pin, level);
	} else {
		struct kvm_irq_level irq = {.irq = pin, .level = level};

		ioctl(vm->kvm.vm_fd, KVM_IRQ_LINE, &irq);
	}
}

bool irq_pin_enabled(struct catnap_vm *vm, unsigned int pin)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};

	if (vm->host.irqchip_user)
		return ioapic_pin_enabled(&vm->ioapic, pin);
	return ioctl(vm->kvm.vm_fd, KVM_GET_IRQCHIP, &chip) == 0 &&
	       !chip.chip.ioapic.redirtbl[pin].fields.mask;
}

int irq_send_message(struct catnap_vm *vm, uint64_t address, uint32_t data)
{
	struct kvm_msi msi = {.address_lo = (uint32_t)address,
			      .address_hi = (uint32_t)(address >> 32),
			      .data = data};
	int ret;

	if (vm->host.irqchip_user)
		return lapic_bus_msi(&vm->lapics, address, data) ? 0 : -EINVAL;
	ret = ioctl(vm->kvm.vm_fd, KVM_SIGNAL_MSI, &msi);
	return ret < 0 ? -errno : ret ? 0 : -EINVAL;
}

void irq_deliver(void *vm, uint64_t address, uint32_t data)
{
	irq_send_message(vm, address, data);
}

int catnap_vm_signal_msi(struct catnap_vm *vm, uint64_t address, uint32_t data)
{
	int ret;

	if (vm_in_child(vm, "signal_msi"))
		return -EPERM;
	ret = irq_send_message(vm, address, data);
	if (ret == -EINVAL)
		return vm_fail(vm, ret, "signal_msi: 0x%llx: no vCPU there takes it",
			       (unsigned long long)address);
	return ret < 0 ? vm_fail(vm, ret, "signal_msi: KVM_SIGNAL_MSI: %s", strerror(-ret)) : 0;
}
