/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The working set of a snapshot: which pages of its memory a guest touches right after it went on.
 * A file has it, beside the snapshot's others; docs/snapshot-format.md has the bytes. It may have
 * been written by an enemy, like those.
 */
#ifndef VMM_WORKING_SET_H
#define VMM_WORKING_SET_H

#include <stdint.h>

#include "errors.h"
#include "vmm/ahead.h"
#include "vmm/memory.h"
#include "vmm/memory_file.h"

struct working_set {
	struct ahead_range *ranges; /* owned; whole pages, in order, and none touches the next */
	uint64_t count;
	uint64_t pages; /* of all ranges */
};

/* Frees what @ws has. */
void working_set_free(struct working_set *ws);
/*
 * Reads @fd, which has to be of the snapshot @id, with @size bytes of memory. working_set_free() may
 * follow in any case. Returns 0, or with a sentence:
 *   -EINVAL  it is no such file, or damaged
 *   -ENOTSUP it has another format
 *   -ESTALE  it is of another snapshot
 *   others   -ENOMEM, and those of pread(2)
 */
int working_set_read(struct working_set *ws, int fd, const uint8_t id[MEMORY_ID], uint64_t size,
		     struct error *err);
/* Writes @ws to @fd, which is emptied. Returns 0, or with a sentence those of ftruncate(2) and
 * pwrite(2). */
int working_set_write(const struct working_set *ws, int fd, const uint8_t id[MEMORY_ID],
		      uint64_t size, struct error *err);
/*
 * Fills @ws with the pages of @m that this process has touched. @pagemap: /proc/self/pagemap, open
 * to be read. working_set_free() may follow in any case. Returns 0, or with a sentence -ENOMEM and
 * those of pread(2).
 */
int working_set_take(struct working_set *ws, const struct memory *m, int pagemap,
		     struct error *err);
/* Maps the pages of @ws that are in the page cache, so that they are touched without a fault of the
 * host's. Where the kernel does not know how, they are mapped when they are touched. */
void working_set_map(const struct working_set *ws, const struct memory *m);

#endif
