/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The make of guest memory: private and anonymous, or a file without a name that other processes
 * can be handed; of which pages, from which nodes of the host, there from the beginning or not.
 */
#ifndef VMM_MEMORY_MAP_H
#define VMM_MEMORY_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include <catnap/catnap.h>
#include "errors.h"

struct memory_map {
	int fd;		 /* -1: it is private */
	uint64_t mapped; /* bytes of it so far */
	uint64_t total;
	uint32_t pages;		    /* enum catnap_memory_pages */
	bool prefault, lock, bound; /* bound: some of it to nodes of the host */
	uint64_t host_nodes;
};

/* Returns the size of the pages that @pages, an enum catnap_memory_pages, are at least. */
uint64_t memory_page_size(uint32_t pages);
/* Begins a map as @cfg has it, and makes the file, if it is one. Returns 0 or -errno with a
 * sentence, which says what to do about it. */
int memory_map_begin(struct memory_map *m, const struct catnap_vm_config *cfg, struct error *err);
/* Maps the next @size bytes: stores where in *@host, for munmap(2). The same. */
int memory_map_part(struct memory_map *m, uint64_t size, void **host, struct error *err);
/* Has the pages of a part, or of a piece of one, come from @host_nodes, or if that is 0 from those of
 * the VM. Before memory_map_settle(). Returns the same. */
int memory_map_bind(const struct memory_map *m, void *host, uint64_t size, uint64_t host_nodes,
		    struct error *err);
/* Does the last step with each part: of which pages it is, and whether they come now. Returns the
 * same. */
int memory_map_settle(struct memory_map *m, void *host, uint64_t size, struct error *err);
/* Makes the part read as zeroes from now on. Memory that is not to be there from the beginning, nor
 * locked, nor of huge pages, goes back to the host. */
void memory_map_clear(const struct memory_map *m, void *host, uint64_t size);
/* Closes the file. */
void memory_map_end(struct memory_map *m);

#endif
