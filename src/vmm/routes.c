/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's table of what its interrupt numbers (GSIs) stand for, with irqchip kernel: the pins of its chips,
 * as it is without us, and behind them messages, for eventfds that raise interrupts (KVM_IRQFD). It is
 * always given as a whole.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "vmm/irq.h"
#include "vmm/vm.h"

#define PIC_PINS  16
#define FIRST_GSI IOAPIC_PINS

struct vm_routes {
	bool used[VM_ROUTES];
	struct msix_message messages[VM_ROUTES];
};

/* Gives KVM the table. The line of PCI hotplug is up until a driver listens: a PIC, which begins
 * unmasked, is not to hear it. The lock is held. */
static int give(struct catnap_vm *vm)
{
	const struct vm_routes *r = vm->routes;
	const unsigned int most = PIC_PINS + IOAPIC_PINS + VM_ROUTES;
	struct kvm_irq_routing *table =
		calloc(1, sizeof(*table) + most * sizeof(table->entries[0]));
	int ret;

	if (!table)
		return -ENOMEM;
	for (unsigned int pin = 0; pin < PIC_PINS; pin++)
		if (pin != PCI_HOTPLUG_GSI || !vm->cfg.hotplug)
			table->entries[table->nr++] = (struct kvm_irq_routing_entry){
				.gsi = pin,
				.type = KVM_IRQ_ROUTING_IRQCHIP,
				.u.irqchip = {.irqchip = pin < 8 ? KVM_IRQCHIP_PIC_MASTER
								 : KVM_IRQCHIP_PIC_SLAVE,
					      .pin = pin % 8}};
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++)
		table->entries[table->nr++] = (struct kvm_irq_routing_entry){
			.gsi = pin,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = {.irqchip = KVM_IRQCHIP_IOAPIC, .pin = pin}};
	for (unsigned int i = 0; i < VM_ROUTES; i++)
		if (r->used[i])
			table->entries[table->nr++] = (struct kvm_irq_routing_entry){
				.gsi = FIRST_GSI + i,
				.type = KVM_IRQ_ROUTING_MSI,
				.u.msi = {.address_lo = (uint32_t)r->messages[i].address,
					  .address_hi = (uint32_t)(r->messages[i].address >> 32),
					  .data = r->messages[i].data}};
	ret = ioctl(vm->kvm.vm_fd, KVM_SET_GSI_ROUTING, table) < 0 ? -errno : 0;
	free(table);
	return ret;
}

int routes_begin(struct catnap_vm *vm)
{
	int ret = -ENOMEM;

	pthread_mutex_lock(&vm->routes_lock);
	if (!vm->routes)
		vm->routes = calloc(1, sizeof(*vm->routes));
	if (vm->routes)
		ret = give(vm);
	pthread_mutex_unlock(&vm->routes_lock);
	return ret;
}

int routes_put(struct catnap_vm *vm, unsigned int route, const struct msix_message *m)
{
	int ret = -ENOMEM;

	pthread_mutex_lock(&vm->routes_lock);
	if (!vm->routes)
		vm->routes = calloc(1, sizeof(*vm->routes));
	if (vm->routes) {
		vm->routes->messages[route] = *m;
		vm->routes->used[route] = true;
		ret = give(vm);
		vm->routes->used[route] = ret == 0;
	}
	pthread_mutex_unlock(&vm->routes_lock);
	return ret;
}

void routes_drop(struct catnap_vm *vm, unsigned int route)
{
	pthread_mutex_lock(&vm->routes_lock);
	if (vm->routes)
		vm->routes->used[route] = false;
	pthread_mutex_unlock(&vm->routes_lock);
}

int routes_follow(struct catnap_vm *vm, unsigned int route, int fd, bool on)
{
	struct kvm_irqfd irqfd = {.fd = (uint32_t)fd,
				  .gsi = FIRST_GSI + route,
				  .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN};

	return ioctl(vm->kvm.vm_fd, KVM_IRQFD, &irqfd) < 0 ? -errno : 0;
}
