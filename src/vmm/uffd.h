/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory that another process serves page by page (Linux admin-guide/mm/userfaultfd.rst). The
 * handler listens at a Unix socket. It gets the descriptor for faults and, as JSON, the regions, in
 * the form of Firecracker's. It keeps the connection, whose end says that it has gone.
 */
#ifndef VMM_UFFD_H
#define VMM_UFFD_H

#include "errors.h"
#include "vmm/memory.h"

struct uffd {
	int fd;	    /* userfaultfd(2); -1: memory is not served */
	int socket; /* to the handler */
};

/* Zeroes but for descriptors that are none. */
void uffd_init(struct uffd *u);
/* Has @m, which nobody has touched, served by the handler at @path. 0, or -errno with a sentence. */
int uffd_begin(struct uffd *u, const struct memory *m, const char *path, struct error *err);
/* Lets go: from now on a page that is not there is zeroes, and whoever waits for one goes on. Any
 * thread. */
void uffd_release(const struct uffd *u, const struct memory *m);
/* Returns whether the handler is there. Any thread. */
bool uffd_is_served(const struct uffd *u);
void uffd_fini(struct uffd *u);

#endif
