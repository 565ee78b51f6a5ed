/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's devices as calls use them: found by a number, and there until they are given back. The last
 * to give back one that was taken off the bus (hotplug.c) begins its end: tasks of its own may be
 * posted that have not run, so a task of ours is run by each of the VM's threads in turn, behind
 * those. The last of them destroys it, and tells.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "container_of.h"
#include "vmm/vm.h"

/* -- its end ---------------------------------------------------------------------------------- */

void vm_detach_limits(struct virtio_device *dev)
{
	for (unsigned int i = 0; i < VIRTIO_THROTTLES; i++)
		if (dev->throttles[i])
			throttle_detach(dev->throttles[i]);
}

void vm_free_virtio(struct vm_virtio *v)
{
	free(v->made.place);
	free(v);
}

void vm_destroy_virtio(struct vm_virtio *v)
{
	vm_calls_end(v->calls);
	pci_release(v);
	v->destroy(v->dev);
	vm_free_virtio(v);
}

static void destroy(struct vm_virtio *v)
{
	struct catnap_event e = history_event(CATNAP_EVENT_DEVICE_REMOVED);
	struct catnap_vm *vm = v->vm;

	e.device = v->number;
	e.value = v->nth;
	e.code = v->dev->id;
	snprintf(e.text, sizeof(e.text), "%s: the guest has let go of it", v->dev->name);
	pthread_mutex_lock(&vm->lock);
	vm->virtio[v->number] = NULL;
	while (vm->virtio_count && !vm->virtio[vm->virtio_count - 1])
		vm->virtio_count--;
	pthread_mutex_unlock(&vm->lock);
	vm_destroy_virtio(v);
	/* Not before: whoever hears of it may use what it was on. */
	history_add(&vm->history, &e);
}

/* Returns the @n-th thread's halter; NULL: there are not so many. */
static struct catnap_halter *halter_of(struct catnap_vm *vm, uint32_t n)
{
	if (n < vm->vcpu_count)
		return &vm->vcpus[n]->halter;
	return n == vm->vcpu_count && vm->io ? &vm->io->halter : NULL;
}

static void say_farewell(struct halter_task *task)
{
	struct vm_virtio *v = container_of(task, struct vm_virtio, farewell);
	struct catnap_halter *next = halter_of(v->vm, v->farewells++);

	if (next)
		halter_post(next, task);
	else
		destroy(v);
}

/* -- whom calls find -------------------------------------------------------------------------- */

/* Takes it for a call. Under the lock. */
static struct vm_virtio *take(struct vm_virtio *v)
{
	if (!v || v->off)
		return NULL;
	v->users++;
	return v;
}

struct vm_virtio *vm_get(struct catnap_vm *vm, uint16_t id, uint32_t n)
{
	struct vm_virtio *found = NULL;

	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < vm->virtio_count && !found; i++) {
		struct vm_virtio *v = vm->virtio[i];

		if (v && v->dev->id == id && !v->dev->external && v->nth == n)
			found = take(v);
	}
	pthread_mutex_unlock(&vm->lock);
	return found;
}

struct vm_virtio *vm_get_device(struct catnap_vm *vm, uint32_t number)
{
	struct vm_virtio *found = NULL;

	pthread_mutex_lock(&vm->lock);
	if (number < vm->virtio_count)
		found = take(vm->virtio[number]);
	pthread_mutex_unlock(&vm->lock);
	return found;
}

void vm_put(struct vm_virtio *v)
{
	struct catnap_vm *vm = v->vm;
	bool last;

	pthread_mutex_lock(&vm->lock);
	last = --v->users == 0;
	pthread_mutex_unlock(&vm->lock);
	if (!last)
		return;
	v->farewell.run = say_farewell;
	halter_post(halter_of(vm, v->farewells++), &v->farewell);
}

struct vm_virtio *vm_standing(struct catnap_vm *vm, unsigned int i)
{
	struct vm_virtio *v;

	pthread_mutex_lock(&vm->lock);
	v = i < vm->virtio_count ? vm->virtio[i] : NULL;
	if (v && v->off)
		v = NULL;
	pthread_mutex_unlock(&vm->lock);
	return v;
}

int vm_added(struct catnap_vm *vm, const char *what, int ret, const struct error *err)
{
	if (ret == 0)
		return 0;
	return err->text[0] ? vm_fail(vm, ret, "%s", err->text)
			    : vm_fail(vm, ret, "%s: %s", what, strerror(-ret));
}
