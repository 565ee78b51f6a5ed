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
#include "state.h"

#define MSIX_VECTORS_MAX 2048

struct msix_entry {
	uint32_t address_low, address_high, data, control;
};
_Static_assert(sizeof(struct msix_entry) == 16, "PCI 3.0, 6.8.2");

struct msix_message {
	uint64_t address;
	uint32_t data;
};

struct msix {
	/* Constant once made. */
	struct pci_function *function;
	unsigned int vectors;
	unsigned int control;	 /* where Message Control is in configuration space */
	uint64_t pending_offset; /* of the pending bits in the BAR */
	void (*send)(void *ctx, uint64_t address, uint32_t data);
	void *ctx;
	/* Called with the lock held when a vector's message, or whether it may be sent, may be another
	 * than before; it may call msix_message() alone. NULL: nobody wants to know. */
	void (*changed)(void *ctx);
	void *changed_ctx;

	pthread_mutex_t lock;
	bool made;
	/* Under the lock. */
	bool enabled, masked;
	struct msix_entry *table;
	uint64_t *pending; /* a bit each */
};

/*
 * Adds @vectors to @f, with their table in BAR @bar, of 32 bits. 0, -ENOMEM, or -EINVAL and -ENOSPC
 * as from pci_function_add_*(). msix_fini() is harmless after a failure, if *@m was zeroed.
 */
int msix_init(struct msix *m, struct pci_function *f, unsigned int bar, unsigned int vectors,
	      void (*send)(void *ctx, uint64_t address, uint32_t data), void *ctx);
void msix_fini(struct msix *m);
/* Resets it to its state at power-on: all vectors masked, none pending. After pci_function_reset().
 * Any thread. */
void msix_reset(struct msix *m);
/* Returns whether interrupts are messages now, and the function's pin is silent. The function's
 * lock is held. */
bool msix_enabled(const struct msix *m);
/* Raises @vector; one that is not there is ignored. Returns false if MSI-X is not enabled. Any
 * thread. */
bool msix_raise(struct msix *m, unsigned int vector);

/* Returns whether a vector's message would be sent at once, and which one it is. Under the lock. */
bool msix_message(const struct msix *m, unsigned int vector, struct msix_message *message);
/* Calls changed(): something else of it has changed. Any thread. */
void msix_look(struct msix *m);

/* Its state in a snapshot, beside Message Control, which is the function's. */
struct msix_state {
	struct msix_entry *table; /* as many as there are vectors */
	uint64_t *pending;
};

/* Writes the table and the pending bits, in an open section. Any thread. */
void msix_save(struct msix *m, struct state_writer *w);
/* Reads what msix_save() has written, and notes what is wrong in @in. 0 or -ENOMEM; @s is to be freed
 * in any case. */
int msix_read(const struct msix *m, struct msix_state *s, struct state_in *in);
/* Takes it over, after pci_function_load(): no message is sent. Before the threads start. */
void msix_load(struct msix *m, const struct msix_state *s);
void msix_state_free(struct msix_state *s);

#endif
