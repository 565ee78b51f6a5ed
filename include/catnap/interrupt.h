/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/interrupt.h - interrupts and doorbells, for devices of your own.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_INTERRUPT_H
#define CATNAP_INTERRUPT_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

/**
 * Sends a message-signalled interrupt, as a device would write it. @address is 0xfee00000 | APIC id
 * << 12 and the mode of the destination; @data is the vector and the delivery mode. To a polling
 * vCPU it costs no system call (irqchip user). Any thread.
 * Errors:
 *   -EINVAL  no such destination, or its local APIC is off
 *   others   -errno of KVM_SIGNAL_MSI
 */
CATNAP_API int catnap_vm_signal_msi(struct catnap_vm *vm, uint64_t address, uint32_t data);

/**
 * Makes an eventfd an interrupt: each time it is signalled, the guest gets the message (@address,
 * @data), see catnap_vm_signal_msi(). It is what KVM_IRQFD is to KVM's irqchip. With irqchip user
 * the vCPU that the message names waits for it itself, in its own ring, with no thread in between;
 * or the I/O thread does, if there is one. Signals that come faster than they are taken become one
 * interrupt. The descriptor stays the caller's, who must not read it, and must outlive the VM or
 * its removal. Any thread, between create and destroy; after the start only without sandbox.
 * Errors:
 *   -EINVAL  no such address
 *   -EBADF
 *   -EEXIST  it is one already
 *   -ENOSPC  32
 *   -EPERM   sandbox
 *   others   those of KVM_IRQFD
 */
CATNAP_API int catnap_vm_add_interrupt_event(struct catnap_vm *vm, int fd, uint64_t address,
					     uint32_t data);
/**
 * Ends an interrupt's event: nobody reads @fd once it returns; an interrupt that was taken before
 * may still come.
 * Errors:
 *   -ENOENT  @fd is no such interrupt
 */
CATNAP_API int catnap_vm_del_interrupt_event(struct catnap_vm *vm, int fd);

/** A place that the guest writes to, to tell somebody of something. */
struct catnap_doorbell {
	uint32_t size;	  /**< set by catnap_doorbell_init() */
	uint32_t len;	  /**< of the write: 1, 2, 4 or 8 bytes; 0: any */
	uint64_t address; /**< guest-physical, where no memory is; or the I/O port */
	uint32_t port;	  /**< not 0: address is an I/O port */
	uint32_t match;	  /**< not 0: only writes of value count */
	uint64_t value;
};

/** Sets the defaults: any length, any value, not a port. */
CATNAP_API void catnap_doorbell_init(struct catnap_doorbell *bell);
CATNAP_API void catnap_doorbell_init_sized(struct catnap_doorbell *bell, size_t size);
#define catnap_doorbell_init(bell) \
	catnap_doorbell_init_sized((bell), sizeof(struct catnap_doorbell))
/**
 * Hands out an eventfd (*@fd, non-blocking) that is signalled by each such write, in the kernel,
 * which then goes on in the guest at once. It does what KVM_IOEVENTFD does. The descriptor is the
 * VM's, until catnap_vm_del_doorbell() or destroy closes it. A doorbell comes before a device at
 * its place. Any thread, between create and destroy.
 * Errors:
 *   -EINVAL  size, len, address, match
 *   -EEXIST  there is one
 *   -ENOSPC  32
 *   -EMFILE
 *   others   those of KVM_IOEVENTFD
 */
CATNAP_API int catnap_vm_add_doorbell(struct catnap_vm *vm, const struct catnap_doorbell *bell,
				      int *fd);
/** Removes a doorbell, and closes its descriptor. -ENOENT: not one of this VM's. */
CATNAP_API int catnap_vm_del_doorbell(struct catnap_vm *vm, int fd);

#ifdef __cplusplus
}
#endif
#endif
