/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over PCI (virtio 1.2, section 4.1): the transport of one device as a PCI function. No
 * legacy interface, no resetting of single queues; MSI-X with a vector for each queue and one for
 * the configuration, and while that is off the interrupt pin, which is up as long as the interrupt
 * status is not 0. BAR 0 has the registers, BAR 2 MSI-X:
 *
 *	0x0000  common configuration
 *	0x1000  interrupt status
 *	0x2000  device configuration
 *	0x3000  doorbells, 4 bytes each: the address says which queue, the value does not matter
 *
 * Threads: registers on any vCPU, interrupts from any thread. The transport's own registers are
 * atomic words: drivers that race for them get one of the values, as from hardware. No lock is held
 * while the device is reset, which may take as long as its requests in flight.
 *
 * Clearing the bus master bit holds back interrupts; a device that runs still uses its queues.
 */
#ifndef DEVICES_VIRTIO_PCI_H
#define DEVICES_VIRTIO_PCI_H

#include <stdatomic.h>
#include <stdint.h>

#include "devices/pci/function.h"
#include "devices/pci/msix.h"
#include "devices/virtio/virtio.h"

#define VIRTIO_PCI_BAR	     0
#define VIRTIO_PCI_MSIX_BAR  2
#define VIRTIO_PCI_COMMON    0x0000u
#define VIRTIO_PCI_INTERRUPT 0x1000u
#define VIRTIO_PCI_DEVICE    0x2000u
#define VIRTIO_PCI_NOTIFY    0x3000u
#define VIRTIO_PCI_BAR_SIZE  0x4000u
#define VIRTIO_PCI_DOORBELL  4u /* notify_off_multiplier */

struct virtio_pci {
	struct pci_function function; /* for pci_bus_plug() */
	struct msix msix;
	struct virtio_device *dev;

	_Atomic uint32_t device_feature_select, driver_feature_select;
	_Atomic uint16_t queue_select;
	_Atomic uint16_t config_vector, queue_vectors[VIRTIO_QUEUES_MAX];
	_Atomic uint8_t isr;

	/* See virtio_pci_watch_queues(); NULL: nobody does. Constant while the vCPUs run. */
	void (*queue_message)(void *ctx, unsigned int queue, const struct msix_message *m);
	void *queue_ctx;
};

/*
 * Makes the function for @dev, and becomes its transport. @send: as for msix_init(). @dev is not
 * otherwise touched before the vCPUs run, and lives longer than @t. 0, -ENOMEM, or -EINVAL: too
 * many queues, or too large a configuration.
 */
int virtio_pci_init(struct virtio_pci *t, struct virtio_device *dev,
		    void (*send)(void *ctx, uint64_t address, uint32_t data), void *ctx);
/*
 * Has @message told of each queue's interrupt whenever that may be another one: the message that it is,
 * if that may be sent at once, or NULL. With the lock of MSI-X held. Before the vCPUs run.
 */
void virtio_pci_watch_queues(struct virtio_pci *t,
			     void (*message)(void *ctx, unsigned int queue,
					     const struct msix_message *m),
			     void *ctx);
/* Resets the device, MSI-X and configuration space to their state at power-on. Any thread with a
 * halter. */
void virtio_pci_reset(struct virtio_pci *t);
/* Writes the transport's registers, its MSI-X and its configuration space, in an open section. All
 * threads stand. */
void virtio_pci_save(struct virtio_pci *t, struct state_writer *w);
/*
 * Reads that section whole, checks it, and takes it over, before the threads start. The pin is not
 * driven yet: pci_function_update_intx() does that. 0, -ENOMEM, or -EINVAL; with a sentence.
 */
int virtio_pci_load(struct virtio_pci *t, struct state_in *in, struct error *err);
/* Takes it apart. All threads have gone. */
void virtio_pci_fini(struct virtio_pci *t);

#endif
