/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a snapshot. The VM stands in a pause, and is held in it (vm->held): nobody's resume, reset
 * or end moves its threads until the snapshot is there. Nothing is in flight then, and what KVM has
 * of each vCPU is between two instructions (vcpu_settle()).
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "sized.h"
#include "vmm/snapshot.h"
#include "vmm/vm.h"

void catnap_snapshot_request_init_sized(struct catnap_snapshot_request *rq, size_t size)
{
	static const struct catnap_snapshot_request defaults = {
		.state_fd = -1, .memory_fd = -1, .memory_name = "memory"};

	sized_init(rq, size, &defaults, sizeof(defaults));
}

void(catnap_snapshot_request_init)(struct catnap_snapshot_request *rq)
{
	catnap_snapshot_request_init_sized(rq, sizeof(*rq));
}

/* -- holding it ------------------------------------------------------------------------------- */

static int hold(struct catnap_vm *vm, struct error *err)
{
	int ret = 0;

	pthread_mutex_lock(&vm->lock);
	if (vm->held)
		ret = error_fail(err, -EBUSY, "another one is being made");
	else if (vm->ended || !vm_stands(vm))
		ret = error_fail(err, -EINVAL, "expected the VM to stand in a pause");
	else
		vm->held = true;
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

static void let_go(struct catnap_vm *vm)
{
	bool last;

	pthread_mutex_lock(&vm->lock);
	vm->held = false;
	pthread_cond_broadcast(&vm->changed);
	last = vm_is_left(vm);
	pthread_mutex_unlock(&vm->lock);
	if (last)
		vm->take_apart(vm);
}

/* -- its memory ------------------------------------------------------------------------------- */

static const uint8_t *page_at(void *ctx, uint64_t at)
{
	const struct memory *m = ctx;
	unsigned int i = 0;

	while (i + 1 < m->count && at >= m->regions[i + 1].at)
		i++;
	return m->regions[i].host + (at - m->regions[i].at);
}

/* Notes the pages that vCPUs' threads write to by pointers of their own. */
static void note_own_pages(struct catnap_vm *vm)
{
	for (uint32_t i = 0; i < vm->vcpu_count; i++)
		if (vm->vcpus[i]->pv_eoi_flag)
			memory_wrote(&vm->memory, vm->vcpus[i]->pv_eoi_msr & ~UINT64_C(3), 4,
				     false);
}

/* Notes the buffers in flight, which are written later: they belong to the next account. */
static void note_in_flight(struct catnap_vm *vm)
{
	for (unsigned int i = 0; i < vm->virtio_count; i++) {
		struct virtio_device *dev = vm->virtio[i]->dev;

		for (unsigned int k = 0; k < dev->queue_count; k++) {
			struct virtqueue *q = &dev->queues[k].vq;

			pthread_mutex_lock(&q->lock);
			vq_will_write(q);
			pthread_mutex_unlock(&q->lock);
		}
	}
}

static int save_memory(struct catnap_vm *vm, const struct catnap_snapshot_request *rq,
		       const struct memory_chain *chain, struct error *err)
{
	const struct memory_link *link = &chain->links[chain->count - 1];
	struct memory_file f = {.kind = link->kind, .size = vm->memory.size};
	uint64_t *written = NULL;
	int ret = 0;

	memcpy(f.id, link->id, sizeof(f.id));
	if (link->kind == MEMORY_DIFF)
		memcpy(f.base, chain->links[chain->count - 2].id, sizeof(f.base));
	if (vm->memory.tracked) {
		/* With a full one the account begins anew as well. */
		written = calloc(memory_words(f.size), sizeof(*written));
		if (!written)
			return -ENOMEM;
		note_own_pages(vm);
		ret = memory_collect(&vm->memory, &vm->kvm, written, err);
		if (ret == 0)
			note_in_flight(vm);
	}
	if (ret == 0) {
		f.bits = link->kind == MEMORY_DIFF ? written : NULL;
		ret = memory_file_write(&f, rq->memory_fd, page_at, &vm->memory, err);
		if (ret < 0 && written)
			memory_put_back(&vm->memory, written);
		f.bits = NULL;
	}
	memory_file_free(&f);
	vm->written = written;
	return ret;
}

/* -- its state -------------------------------------------------------------------------------- */

static int save_state(struct catnap_vm *vm, const struct memory_chain *chain,
		      struct state_writer *w, struct error *err)
{
	uint64_t realtime_ns = clock_read_ns(CLOCK_REALTIME), host_tsc = __builtin_ia32_rdtsc();
	int ret;

	vm->instant = (int64_t)(vm->clock.tsc ? host_tsc : clock_now(&vm->clock));
	config_save(vm, realtime_ns, w);
	nodes_save(vm, w);
	devices_save(vm, w);
	chain_save(chain, vm->memory.size, w);
	ret = machine_save(vm, w, realtime_ns, host_tsc, err);
	return ret < 0 ? ret : state_seal(w);
}

/* -- all of it -------------------------------------------------------------------------------- */

/* Returns what the VM has whose state is in another process, and so is what that writes into guest
 * memory; NULL: nothing. */
static const char *external(const struct catnap_vm *vm)
{
	for (unsigned int i = 0; i < vm->virtio_count; i++)
		if (vm->virtio[i]->dev->external)
			return vm->virtio[i]->dev->name;
	return NULL;
}

/* Returns the memory files that come before a new one. */
static const struct memory_chain *before(const struct catnap_vm *vm,
					 const struct catnap_snapshot_request *rq)
{
	return rq->kind == CATNAP_SNAPSHOT_DIFF && rq->base ? &rq->base->chain : &vm->chain;
}

/* Checks what a diff needs. */
static int check_diff(const struct catnap_vm *vm, const struct catnap_snapshot_request *rq,
		      struct error *err)
{
	const struct memory_chain *chain = before(vm, rq);

	if (!vm->memory.tracked)
		return error_fail(err, -ENOTSUP,
				  "a diff: no account is kept of what is written: expected a VM "
				  "that was made with track_dirty");
	if (!vm->chain.count)
		return error_fail(err, -ENOENT,
				  "a diff: there is no snapshot before: expected a "
				  "full one first");
	if (rq->base && (rq->base->config.memory_size != vm->memory.size ||
			 memcmp(chain->links[chain->count - 1].id,
				vm->chain.links[vm->chain.count - 1].id, MEMORY_ID) != 0))
		return error_fail(err, -ESTALE,
				  "a diff: the snapshot before it is not this VM's last one: "
				  "expected a full one first");
	if (chain->count == CATNAP_SNAPSHOT_MEMORIES)
		return error_fail(err, -ENOSPC, "a diff: there are %d, which is the most",
				  CATNAP_SNAPSHOT_MEMORIES);
	return 0;
}

static int check(struct catnap_vm *vm, const struct catnap_snapshot_request *rq, struct error *err)
{
	int ret = hotplug_check_saved(vm, err);
	const char *device;

	if (ret < 0)
		return ret;
	device = external(vm);
	if (device)
		return error_fail(
			err, -ENOTSUP,
			"%s: its back end is in another process, whose state is not known", device);
	if (rq->kind > CATNAP_SNAPSHOT_DIFF)
		return error_fail(err, -EINVAL, "kind: %u is none", rq->kind);
	if (!chain_name_ok(rq->memory_name))
		return error_fail(err, -EINVAL,
				  "memory_name: expected a file's name, of at most %d bytes",
				  CATNAP_SNAPSHOT_NAME);
	return rq->kind == CATNAP_SNAPSHOT_FULL ? 0 : check_diff(vm, rq, err);
}

/* Makes a snapshot. The VM is held. */
static int make(struct catnap_vm *vm, const struct catnap_snapshot_request *rq, struct error *err)
{
	struct memory_link link = {.kind = rq->kind == CATNAP_SNAPSHOT_DIFF ? MEMORY_DIFF
									    : MEMORY_FULL};
	struct memory_chain chain;
	struct state_writer w;
	int ret = check(vm, rq, err);

	if (ret < 0)
		return ret;
	if (getrandom(link.id, sizeof(link.id), 0) != (ssize_t)sizeof(link.id))
		return error_fail(err, -EIO, "the kernel gives no random id");
	snprintf(link.name, sizeof(link.name), "%s", rq->memory_name);
	ret = chain_copy(&chain, before(vm, rq));
	if (ret == 0)
		ret = chain_add(&chain, &link);
	if (ret < 0) {
		chain_free(&chain);
		return ret;
	}
	state_writer_init(&w);
	/* The state first: it may find something to say, and KVM puts down in its account what it
	 * writes itself meanwhile. */
	ret = save_state(vm, &chain, &w, err);
	vm->written = NULL;
	if (ret == 0)
		ret = save_memory(vm, rq, &chain, err);
	if (ret == 0 && vm_memory_is_lost(vm, err))
		ret = -EIO;
	if (ret == 0) {
		ret = snapshot_write_state(&w, rq->state_fd, err);
		if (ret == 0 && rq->commit)
			ret = snapshot_commit(rq, err);
		if (ret < 0 && vm->written)
			memory_put_back(&vm->memory, vm->written);
	}
	free(vm->written);
	vm->written = NULL;
	state_writer_fini(&w);
	if (ret == 0) {
		struct memory_chain old = vm->chain;

		vm->chain = chain;
		chain = old;
	}
	chain_free(&chain);
	return ret;
}

int catnap_vm_snapshot(struct catnap_vm *vm, const struct catnap_snapshot_request *given)
{
	struct catnap_snapshot_request rq;
	struct error err = {.text = ""};
	int ret;

	if (vm_in_child(vm, "snapshot"))
		return -EPERM;
	if (vm_from_inside(vm, "snapshot"))
		return -EDEADLK;
	catnap_snapshot_request_init(&rq);
	if (sized_in(&rq, sizeof(rq), given, offsetof(struct catnap_snapshot_request, base)) < 0)
		return vm_wrong_size(vm, "snapshot");
	ret = hold(vm, &err);
	if (ret == 0) {
		ret = make(vm, &rq, &err);
		if (ret < 0)
			ret = err.text[0] ? vm_fail(vm, ret, "snapshot: %s", err.text)
					  : vm_fail(vm, ret, "snapshot: %s", strerror(-ret));
		let_go(vm);
		return ret;
	}
	return vm_fail(vm, ret, "snapshot: %s", err.text);
}
