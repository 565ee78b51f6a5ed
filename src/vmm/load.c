/* SPDX-License-Identifier: Apache-2.0 */
/* Finds out what an image is, and gives it to its loader. */
#include <elf.h>
#include <string.h>

#include "devices/format.h"
#include "vmm/load.h"

/* Says what a file is that cannot be loaded, and what to do about it. */
static int refuse(const struct image *img, const struct image_head *head, const struct format *f,
		  struct error *err)
{
	const char *advice = "";

	if (f->kind == FORMAT_COMPRESSED)
		advice = ": if there is a kernel in it, unpack it first";
	else if (f->kind == FORMAT_CPIO)
		advice = ": it may be the initramfs";
	else if (f->kind == FORMAT_DISK_IMAGE || f->kind == FORMAT_PARTITIONS ||
		 f->kind == FORMAT_FILESYSTEM)
		advice = ": the kernel has to be taken out of it";
	else if (memcmp(head->bytes, "MZ", 2) == 0 && f->kind == FORMAT_PROGRAM)
		advice = ", without Linux's boot header";
	if (f->name)
		return image_bad(img, err, "this is %s, not a kernel image%s", f->name, advice);
	return image_bad(img, err,
			 "not a bzImage, an ELF file or a Multiboot image: what is to be started "
			 "at 0x7c00 in real mode needs --kernel-format flat");
}

/* Refuses a file that was asked for as something that it is not. */
static int refuse_as(const struct image *img, const char *what, const struct format *f,
		     struct error *err)
{
	return image_bad(img, err, "not %s%s%s", what, f->name ? ", but " : "",
			 f->name ? f->name : "");
}

static int read_head(const struct image *img, struct image_head *head, struct format *f,
		     struct error *err)
{
	int ret;

	if (!img->size)
		return image_bad(img, err, "the file is empty");
	memset(head, 0, sizeof(*head));
	head->len = img->size < sizeof(head->bytes) ? img->size : sizeof(head->bytes);
	ret = image_read(img, 0, head->bytes, head->len);
	if (ret == 0)
		ret = image_format(img, f);
	if (ret < 0)
		image_bad(img, err, "%s", strerror(-ret));
	return ret;
}

int load_image(const struct load_request *req, struct vcpu_entry *entry, struct error *err)
{
	const struct multiboot_header *mb;
	struct image_head head = {0};
	struct format format = {0};
	uint32_t offset;
	int ret = read_head(req->image, &head, &format, err);

	if (ret < 0)
		return ret;
	if (req->kind == CATNAP_IMAGE_FLAT)
		return load_flat(req, entry, err);
	if (req->kind == CATNAP_IMAGE_BZIMAGE && !bzimage_is(&head))
		return refuse_as(req->image, "a bzImage", &format, err);
	if (req->kind == CATNAP_IMAGE_BZIMAGE ||
	    (req->kind == CATNAP_IMAGE_AUTO && bzimage_is(&head)))
		return load_bzimage(req, &head, entry, err);
	mb = multiboot_find(&head, &offset);
	if (mb && (mb->flags & MULTIBOOT_HAS_ADDRESSES) && req->kind == CATNAP_IMAGE_MULTIBOOT)
		return load_multiboot_kludge(req, &head, entry, err);
	/* One that is cut off within its magic number, too. */
	if (memcmp(head.bytes, ELFMAG, head.len < SELFMAG ? head.len : SELFMAG) == 0)
		return load_elf(req, &head, entry, err);
	if (mb && (mb->flags & MULTIBOOT_HAS_ADDRESSES))
		return load_multiboot_kludge(req, &head, entry, err);
	if (req->kind != CATNAP_IMAGE_AUTO)
		return refuse_as(req->image, "an ELF file", &format, err);
	if (format.kind == FORMAT_UNKNOWN && multiboot2_is(&head))
		format.name = "a Multiboot 2 image";
	return refuse(req->image, &head, &format, err);
}
