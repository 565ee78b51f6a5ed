/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupts of devices, whoever has the interrupt controllers: we (irqchip user), or KVM. */
#ifndef VMM_IRQ_H
#define VMM_IRQ_H

#include <stdbool.h>
#include <stdint.h>

struct catnap_vm;

/* Sets whom the local APICs call. Before the vCPUs are made. */
void irq_init(struct catnap_vm *vm);
/* Makes the I/O APIC and puts it on the bus, unless KVM has one. 0 or -errno. */
int irq_add_ioapic(struct catnap_vm *vm);
void irq_fini(struct catnap_vm *vm);
/* Irqchip kernel: remembers what KVM's chips are at power-on. 0, or -errno with a sentence. */
struct error;
int irq_remember(struct catnap_vm *vm, struct error *err);
/* Resets the interrupt controllers, but for local APICs, to their state at power-on. All vCPUs
 * stand. Returns 0, or -errno with a sentence. */
int irq_reset(struct catnap_vm *vm, struct error *err);

/* Drives input pin @pin of the I/O APIC. Any thread; locks of devices may be held. */
void irq_set_pin(struct catnap_vm *vm, unsigned int pin, bool level);
/* Returns whether the guest has unmasked the pin. Any thread. */
bool irq_pin_enabled(struct catnap_vm *vm, unsigned int pin);
/*
 * Sends a message-signalled interrupt. Any thread; locks of devices may be held.
 *
 * Returns 0: a local APIC took it;
 * -EINVAL: the address is nobody's, or all that it names are switched off;
 * another -errno of KVM's, with irqchip kernel.
 */
int irq_send_message(struct catnap_vm *vm, uint64_t address, uint32_t data);
/* Does the same for msix_init(), with the VM as its context. If nobody takes it nothing happens, as
 * on a real machine. */
void irq_deliver(void *vm, uint64_t address, uint32_t data);

#endif
