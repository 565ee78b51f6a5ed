/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio devices as parts of the VM: a window and a pin for each that is on virtio-mmio, and who
 * runs it. Devices are added between create and start.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmm/vm.h"

/* Nobody else drives these; first those that are no ISA interrupts. */
static const uint8_t pins[VM_VIRTIO_MAX] = {16, 17, 18, 19, 20, 21, 22, 23,
					    5,	6,  7,	10, 11, 12, 14, 15};

static void set_pin(void *ctx, bool level)
{
	struct vm_virtio *v = ctx;

	vm_set_pin(v->vm, v->place.pin, level);
}

static void *dma_memory(void *ctx, uint64_t gpa, uint64_t len)
{
	struct catnap_vm *vm = ctx;

	return memory_at(&vm->memory, gpa, len);
}

static void log_message(void *ctx, const char *message)
{
	struct catnap_vm *vm = ctx;

	vm->host.log(vm, CATNAP_LOG_WARN, message);
}

void vm_init_virtio(struct catnap_vm *vm)
{
	vm->dma = (struct dma){dma_memory, vm};
}

int vm_add_virtio(struct catnap_vm *vm, struct virtio_device *dev,
		  void (*destroy)(struct virtio_device *dev), struct kvm_error *err)
{
	unsigned int n = vm->virtio_count;
	struct vm_virtio *v;
	int ret;

	if (n == VM_VIRTIO_MAX) {
		snprintf(err->text, sizeof(err->text),
			 "%s: there are %u devices, which is the most", dev->name, n);
		return -ENOSPC;
	}
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->vm = vm;
	v->dev = dev;
	v->place.base = VM_VIRTIO_MMIO_BASE + n * VIRTIO_MMIO_SIZE;
	v->place.pin = pins[n];
	dev->io = vm->io ? &vm->io->halter : NULL;
	dev->home = vm->io ? &vm->io->halter : &vm->vcpus[0]->halter;
	dev->log = log_message;
	dev->log_ctx = vm;
	virtio_mmio_init(&v->mmio, dev, set_pin, v);
	ret = bus_add(&vm->mmio, v->place.base, VIRTIO_MMIO_SIZE, &virtio_mmio_ops, &v->mmio);
	if (ret < 0) {
		free(v);
		return ret;
	}
	vm->virtio[vm->virtio_count++] = v;
	ret = hardware_describe(vm, err);
	if (ret < 0) {
		vm->virtio_count--;
		vm->mmio.count--; /* it was added last */
		free(v);
		return ret;
	}
	v->destroy = destroy;
	return 0;
}

void vm_fini_virtio(struct catnap_vm *vm)
{
	for (unsigned int i = 0; i < vm->virtio_count; i++) {
		vm->virtio[i]->destroy(vm->virtio[i]->dev);
		free(vm->virtio[i]);
	}
	vm->virtio_count = 0;
}
