/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X (PCI Local Bus Specification 3.0, 6.8.2; PCI Express 5.0, 7.7.2): the capability, and a BAR
 * with the table and the pending bits. A vector that is raised while it is masked, or while the
 * function may not master the bus, stays pending, and goes out when it may.
 *
 * Threads: any. A mutex protects the table; send() is called with it held, so that no message of a
 * vector is under way once a guest's write of its mask has returned. send() must not come back
 * here. The function's lock may be held around this one, not the other way round.
 */
#ifndef DEVICES_PCI_MSIX_H
#define DEVICES_PCI_MSIX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/pci/function.h"

#define MSIX_VECTORS_MAX 2048

struct msix_entry {
	uint32_t address_low, address_high, data, control;
};
_Static_assert(sizeof(struct msix_entry) == 16, "PCI 3.0, 6.8.2");

struct msix {
	/* Constant once made. */
	struct pci_function *function;
	unsigned int vectors;
	unsigned int control;	 /* where Message Control is in configuration space */
	uint64_t pending_offset; /* of the pending bits in the BAR */
	void (*send)(void *ctx, uint64_t address, uint32_t data);
	void *ctx;

	pthread_mutex_t lock;
	bool made;
	/* Under the lock. */
	bool enabled, masked;
	struct msix_entry *table;
	uint64_t *pending; /* a bit each */
};

/*
 * Adds @vectors to @f, with their table in BAR @bar, of 32 bits. 0, -ENOMEM, or -EINVAL and -ENOSPC
 * as from pci_function_add_*(). After a failure, too, msix_fini() is harmless on what was zeroed.
 */
int msix_init(struct msix *m, struct pci_function *f, unsigned int bar, unsigned int vectors,
	      void (*send)(void *ctx, uint64_t address, uint32_t data), void *ctx);
void msix_fini(struct msix *m);
/* With the function's lock held: interrupts are messages now, and the function's pin is silent. */
bool msix_enabled(const struct msix *m);
/* Any thread: raises @vector; one that is not there is ignored. False: MSI-X is not enabled. */
bool msix_raise(struct msix *m, unsigned int vector);

#endif
