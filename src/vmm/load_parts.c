/* SPDX-License-Identifier: Apache-2.0 */
/* Loads the parts that go along with an image, whatever its format: command line, initramfs, and
 * what firmware leaves. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/format.h"
#include "vmm/acpi.h"
#include "vmm/cmdline.h"
#include "vmm/load.h"
#include "vmm/mptable.h"

#define PAGE	     UINT64_C(4096)
#define RESET_VECTOR UINT64_C(0xffff0)

char *load_linux_cmdline(const struct load_request *req)
{
	return cmdline_add(req->cmdline, req->linux_cmdline ? req->linux_cmdline : "");
}

int load_check_initramfs(const struct load_request *req, struct error *err)
{
	const struct image *img = req->initramfs;
	struct format f;
	int ret = img && img->size ? image_format(img, &f) : 0;

	if (ret < 0) {
		image_bad(img, err, "%s", strerror(-ret));
		return ret;
	}
	if (!img || !img->size)
		return 0; /* for load_initramfs() */
	switch (f.kind) {
	case FORMAT_UNKNOWN:
	case FORMAT_EMPTY:
	case FORMAT_CPIO:
	case FORMAT_COMPRESSED:
	case FORMAT_FILESYSTEM:
		return 0;
	case FORMAT_BZIMAGE:
	case FORMAT_ELF:
	case FORMAT_KERNEL:
		return image_bad(img, err,
				 "this is %s, not an initramfs: are kernel and initramfs "
				 "exchanged?",
				 f.name);
	case FORMAT_PROGRAM:
	case FORMAT_ARCHIVE:
	case FORMAT_PARTITIONS:
	case FORMAT_DISK_IMAGE:
	case FORMAT_DATA:
	case FORMAT_TEXT:
		break;
	}
	return image_bad(img, err,
			 "this is %s, not an initramfs: expected a cpio archive, or a compressed "
			 "one",
			 f.name);
}

/* Returns the highest place of @len bytes, page-aligned, that ends at or below @end and is free; 0:
 * none. */
static uint64_t highest(const struct load_map *map, uint64_t end, uint64_t len)
{
	uint64_t at;

again:
	if (end < len + MEMORY_EXTENDED)
		return 0;
	at = (end - len) & ~(PAGE - 1);
	if (at < MEMORY_EXTENDED)
		return 0;
	for (unsigned int i = 0; i < map->count; i++)
		if (at < map->extents[i].end && map->extents[i].start < at + len) {
			end = map->extents[i].start;
			goto again;
		}
	return at;
}

int load_initramfs(const struct load_request *req, struct load_map *map, uint64_t limit,
		   struct load_range *where, struct error *err)
{
	const struct image *img = req->initramfs;
	uint64_t end = req->memory->regions[0].size, at;
	int ret;

	*where = (struct load_range){0};
	if (!img)
		return 0;
	if (!img->size)
		return image_bad(img, err, "the file is empty");
	if (end > limit)
		end = limit;
	at = img->size <= end ? highest(map, end, img->size) : 0;
	if (!at || !memory_at(req->memory, at, img->size))
		return image_bad(img, err,
				 "%llu KiB find no room beside the kernel in %llu MiB of memory",
				 (unsigned long long)(img->size >> 10),
				 (unsigned long long)(req->memory->size >> 20));
	ret = load_map_add(map, at, img->size);
	if (ret == 0)
		ret = image_read(img, 0, memory_at(req->memory, at, img->size), img->size);
	if (ret < 0) {
		image_bad(img, err, "%s", strerror(-ret));
		return ret;
	}
	where->start = at;
	where->len = img->size;
	return 0;
}

/*
 * Where a processor begins after reset, and where Linux jumps to when it knows no other way to
 * restart: on a hardware-reduced machine it believes in EFI's runtime services, and next in the
 * BIOS.
 */
static const uint8_t reset_code[] = {
	0xb0, 0xfe, /* mov $0xfe, %al */
	0xe6, 0x64, /* out %al, $0x64: pulse the reset line */
	0xf4,	    /* hlt */
	0xeb, 0xfd, /* jmp to the hlt */
};

uint64_t load_firmware(const struct load_request *req, struct load_map *map)
{
	uint8_t *area = memory_at(req->memory, ACPI_BASE, ACPI_SIZE);

	if (!area || load_map_add(map, ACPI_BASE, ACPI_SIZE) < 0)
		return 0;
	if (req->places)
		req->places->firmware = true;
	memcpy(area + (RESET_VECTOR - ACPI_BASE), reset_code, sizeof(reset_code));
	if (req->mptable)
		memcpy(area + (MPTABLE_BASE - ACPI_BASE), req->mptable, req->mptable_len);
	if (!req->acpi)
		return 0;
	memcpy(area, req->acpi->bytes, req->acpi->len);
	if (req->places)
		req->places->acpi = true;
	return req->acpi->rsdp;
}
