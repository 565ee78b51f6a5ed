/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image without a format, treated as a PC treats a boot sector, of any length: loaded at 0x7c00
 * and started there in real mode, with CS, DS, ES and SS 0 and the stack below it.
 */
#include <errno.h>
#include <string.h>

#include "vmm/load.h"

#define FLAT_ADDRESS UINT64_C(0x7c00)

int load_flat(const struct load_request *req, struct vcpu_entry *entry, struct error *err)
{
	void *to = memory_at(req->memory, FLAT_ADDRESS, req->image->size);
	struct load_map map = {.count = 0};
	int ret;

	if (req->initramfs)
		return image_bad(req->initramfs, err, "a flat image takes none");
	if (!to)
		return image_bad(
			req->image, err,
			"a flat image of %llu bytes at 0x7c00 does not fit in %llu MiB of memory",
			(unsigned long long)req->image->size,
			(unsigned long long)(req->memory->size >> 20));
	ret = image_read(req->image, 0, to, req->image->size);
	if (ret < 0)
		return image_bad(req->image, err, "%s", strerror(-ret));
	load_map_add(&map, FLAT_ADDRESS, req->image->size);
	load_firmware(req, &map);
	*entry = (struct vcpu_entry){
		.mode = VCPU_ENTRY_REAL, .rip = FLAT_ADDRESS, .rsp = FLAT_ADDRESS};
	return 0;
}
