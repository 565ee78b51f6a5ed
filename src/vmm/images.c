/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel image and the initramfs of a VM: loaded when it is made, and kept for resets. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/mptable.h"
#include "vmm/vm.h"

/* Room in the device tree for devices that are added after the image was loaded. */
#define DTB_MORE (VM_VIRTIO_MAX * 256)
/* And on the command line. */
#define CMDLINE_MORE (VM_VIRTIO_MAX * 48)

/* Opens one of the two images that the VM is loaded from: a file, or bytes of the caller's. */
static int open_image(struct image *img, const char *what, const char *path, const void *data,
		      size_t size, struct error *err)
{
	*img = (struct image){
		.what = what, .name = "(memory)", .fd = -1, .data = data, .size = size};
	return path ? image_open(img, what, path, err) : 0;
}

int vm_open_images(struct catnap_vm *vm, struct error *err)
{
	const struct catnap_vm_config *c = &vm->cfg;
	int ret = 0;

	/* One that is restored has it for resets only. */
	if (c->kernel_path || c->kernel_data)
		ret = open_image(&vm->kernel, "kernel", c->kernel_path, c->kernel_data,
				 c->kernel_size, err);

	if (ret == 0 && (c->initramfs_path || c->initramfs_data))
		ret = open_image(&vm->initramfs, "initramfs", c->initramfs_path, c->initramfs_data,
				 c->initramfs_size, err);
	return ret;
}

void vm_close_images(struct catnap_vm *vm)
{
	image_close(&vm->kernel);
	image_close(&vm->initramfs);
	free(vm->kernel_copy);
	free(vm->initramfs_copy);
	vm->kernel_copy = vm->initramfs_copy = NULL;
}

/* Copies the caller's bytes and names, which are the caller's again. */
static int keep_image(struct image *img, void **copy)
{
	if (!img->what)
		return 0;
	img->name = img->what;
	if (img->fd >= 0)
		return 0;
	*copy = malloc(img->size ? img->size : 1);
	if (!*copy)
		return -ENOMEM;
	memcpy(*copy, img->data, img->size);
	img->data = *copy;
	return 0;
}

/* Keeps the images for a reset, or closes them, once they were loaded. */
int vm_keep_images(struct catnap_vm *vm)
{
	int ret;

	if (vm->cfg.on_reset == CATNAP_ON_RESET_END) {
		vm_close_images(vm);
		return 0;
	}
	vm->sandbox_features |= SANDBOX_BIT(SANDBOX_RESET);
	ret = keep_image(&vm->kernel, &vm->kernel_copy);
	return ret < 0 ? ret : keep_image(&vm->initramfs, &vm->initramfs_copy);
}

void vm_write_genid(struct catnap_vm *vm)
{
	void *area = vm->places.firmware ? dma_at(&vm->dma, GENID_AREA, GENID_AREA_SIZE) : NULL;

	if (!area)
		return;
	genid_write(&vm->genid, area);
	dma_wrote(&vm->dma, GENID_AREA, GENID_AREA_SIZE);
}

int vm_load(struct catnap_vm *vm, struct error *err)
{
	struct load_request req = {.memory = &vm->memory,
				   .image = &vm->kernel,
				   .initramfs = vm->initramfs.what ? &vm->initramfs : NULL,
				   .cmdline = vm->cmdline,
				   .linux_cmdline = vm->linux_args,
				   .places = &vm->places,
				   .kind = (enum catnap_image_kind)vm->cfg.image_kind};
	uint8_t mptable[MPTABLE_SIZE];
	struct vcpu_entry entry;
	int ret;

	switch (vm->cfg.hw) {
	case CATNAP_HW_ACPI:
		req.acpi = &vm->acpi;
		break;
	case CATNAP_HW_FDT:
		req.dtb = vm->dtb;
		req.dtb_len = vm->dtb_len;
		req.dtb_more = DTB_MORE;
		break;
	case CATNAP_HW_MPTABLE:
		req.mptable_len = mptable_build(vm->cfg.vcpus, vm->pci_made, mptable);
		req.mptable = mptable;
		req.cmdline_more = CMDLINE_MORE;
		break;
	}
	ret = load_image(&req, &entry, err);
	if (ret == 0)
		vm_write_genid(vm);
	return ret < 0 ? ret : vcpu_set_entry(vm->vcpus[0], &entry, err);
}
