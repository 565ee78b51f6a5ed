/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots, between their files: the parts of a state file, and the memory files that it names. */
#ifndef VMM_SNAPSHOT_H
#define VMM_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include <catnap/snapshot.h>

#include "errors.h"
#include "state.h"
#include "vmm/memory.h"
#include "vmm/memory_file.h"

struct catnap_vm;

#define STATE_CONFIG  STATE_ID('V', 'M', 'C', 'F') /* snapshot_config.c */
#define STATE_NODES   STATE_ID('N', 'O', 'D', 'E') /* the same; where there are some */
#define STATE_DEVICES STATE_ID('D', 'E', 'V', 'S') /* the same */
#define STATE_MEMORY  STATE_ID('M', 'E', 'M', 'F') /* snapshot_chain.c */
#define STATE_CLOCK   STATE_ID('C', 'L', 'C', 'K') /* snapshot_machine.c */
#define STATE_CHIPS   STATE_ID('K', 'C', 'H', 'P') /* the same */
#define STATE_LEARNED STATE_ID('L', 'R', 'N', 'D') /* the same */

_Static_assert(CATNAP_SNAPSHOT_ID == MEMORY_ID, "what the header says");

/* The files that a VM is restored from, while it is made. */
struct vm_source {
	struct memory_source memory;
	const char *handler; /* of the process that serves memory; NULL: none does */
};

/* ---- snapshot_chain.c: the memory files of a snapshot ---- */

struct memory_link {
	uint32_t kind;
	uint8_t id[MEMORY_ID];
	char name[CATNAP_SNAPSHOT_NAME + 1];
};

/* The first is full, those that follow are diffs, each of the one before. */
struct memory_chain {
	struct memory_link *links; /* owned */
	uint32_t count;
};

void chain_free(struct memory_chain *c);
/* Copies a chain. 0 or -ENOMEM. */
int chain_copy(struct memory_chain *to, const struct memory_chain *from);
/* Adds a link; one that is full is alone then. 0 or -ENOMEM. */
int chain_add(struct memory_chain *c, const struct memory_link *link);
void chain_save(const struct memory_chain *c, uint64_t memory_size, struct state_writer *w);
/* *Reads a chain. *@memory_size: what it says of it. 0, or -EINVAL or -ENOMEM with a sentence. */
int chain_load(struct memory_chain *c, uint64_t *memory_size, struct state_in *in,
	       struct error *err);
/* Returns whether @name is one that a memory file can have. */
bool chain_name_ok(const char *name);
/* Opens memory file @n, which is at @fd, and holds it against the chain. As memory_file_open(). */
int chain_open(const struct memory_chain *c, uint32_t n, int fd, uint64_t memory_size,
	       struct memory_file *f, struct error *err);

/* ---- snapshot_config.c: what the VM is made of ---- */

/* The parts of a configuration that a guest sees, and what tells of the snapshot. */
struct snapshot_config {
	uint32_t vcpus, irqchip, hw, transport, rng, realtime, guest_hlt, tsc_khz;
	int32_t debug_exit_port;
	uint64_t memory_size, taken_ns;
	char version[32], name[CATNAP_MAX_NAME + 1];
	char *cmdline, *linux_cmdline; /* owned */
	struct catnap_node nodes[CATNAP_MAX_NODES];
	uint32_t node_count;
};

struct vm_made;

struct snapshot_device {
	uint16_t type;	      /* virtio's number */
	struct vm_made *made; /* in rooms, and its texts */
};

struct catnap_snapshot {
	uint8_t *data; /* owned; the reader's */
	struct state_reader reader;
	struct snapshot_config config;
	struct memory_chain chain;
	struct snapshot_device *devices; /* owned */
	struct snapshot_room *rooms;	 /* owned; one for each device */
	uint32_t device_count;
};

void config_save(struct catnap_vm *vm, uint64_t taken_ns, struct state_writer *w);
int config_load(struct snapshot_config *c, struct state_in *in, struct error *err);
/* The guest's nodes; none are no section. config_load() comes first. */
void nodes_save(const struct catnap_vm *vm, struct state_writer *w);
int nodes_load(struct snapshot_config *c, struct state_in *in, struct error *err);
void devices_save(struct catnap_vm *vm, struct state_writer *w);
int devices_load(struct catnap_snapshot *s, struct state_in *in, struct error *err);
void devices_free(struct catnap_snapshot *s);

/* ---- snapshot_machine.c: the whole machine's state ---- */

/* Saves the machine. All threads stand. @realtime_ns, @host_tsc: the moment. vm->instant is the
 * same. 0 or -errno, mostly with a sentence. */
int machine_save(struct catnap_vm *vm, struct state_writer *w, uint64_t realtime_ns,
		 uint64_t host_tsc, struct error *err);
/* Loads that of a VM that was made with its devices, before its start. The same. */
int machine_load(struct catnap_vm *vm, struct catnap_snapshot *s, const struct catnap_restore *how,
		 struct error *err);

/* ---- snapshot_write.c ---- */

/* Writes a state file that is sealed. 0, or with a sentence those of ftruncate(2) and pwrite(2). */
int snapshot_write_state(const struct state_writer *w, int fd, struct error *err);
/* Calls the caller's commit. 0, or what it returned, with a sentence. */
int snapshot_commit(const struct catnap_snapshot_request *rq, struct error *err);

#endif
