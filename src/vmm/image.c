/* SPDX-License-Identifier: Apache-2.0 */
/* Reading images, telling what they are, and what the loaders share. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/format.h"
#include "devices/pci/bus.h"
#include "vmm/image.h"

int image_open(struct image *img, const char *what, const char *path, struct kvm_error *err)
{
	struct stat st;
	int ret = 0;

	memset(img, 0, sizeof(*img));
	img->what = what;
	img->name = path;
	/* Not blocking: opening a FIFO that nobody writes must not hang. */
	img->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (img->fd < 0) {
		ret = -errno;
		snprintf(err->text, sizeof(err->text), "%s %s: %s", what, path, strerror(-ret));
		return ret;
	}
	if (fstat(img->fd, &st) < 0)
		ret = -errno;
	else if (S_ISDIR(st.st_mode))
		ret = -EISDIR;
	if (ret < 0) {
		snprintf(err->text, sizeof(err->text), "%s %s: %s", what, path, strerror(-ret));
	} else if (!S_ISREG(st.st_mode)) {
		snprintf(err->text, sizeof(err->text), "%s %s: not a regular file", what, path);
		ret = -EINVAL;
	} else {
		img->size = (uint64_t)st.st_size;
	}
	if (ret < 0)
		image_close(img);
	return ret;
}

void image_close(struct image *img)
{
	if (img->fd >= 0)
		close(img->fd);
	img->fd = -1;
}

int image_read(const struct image *img, uint64_t offset, void *buf, uint64_t len)
{
	uint8_t *p = buf;

	if (offset > img->size || len > img->size - offset)
		return -ENODATA;
	if (img->fd < 0) {
		memcpy(buf, img->data + offset, len);
		return 0;
	}
	while (len) {
		ssize_t n = pread(img->fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA; /* it shrank */
		p += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int image_bad(const struct image *img, struct kvm_error *err, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(err->text, sizeof(err->text),
			 "%s %.120s: ", img->what ? img->what : "kernel", img->name);

	va_start(ap, fmt);
	if (n > 0 && (size_t)n < sizeof(err->text))
		vsnprintf(err->text + n, sizeof(err->text) - (size_t)n, fmt, ap);
	va_end(ap);
	return -ENOEXEC;
}

int load_map_add(struct load_map *map, uint64_t start, uint64_t len)
{
	if (!len)
		return 0;
	for (unsigned int i = 0; i < map->count; i++)
		if (start < map->extents[i].end && map->extents[i].start < start + len)
			return -EEXIST;
	if (map->count == LOAD_EXTENTS)
		return -ENOSPC;
	map->extents[map->count].start = start;
	map->extents[map->count].end = start + len;
	map->count++;
	return 0;
}

uint64_t load_map_place(const struct load_map *map, const struct memory *m, uint64_t len)
{
	struct load_map try = *map;

	len = (len + 0xfff) & ~UINT64_C(0xfff);
	/* From the top of conventional memory down; the first page is the real-mode vectors'. */
	for (uint64_t at = 0x9f000; at > len + 0x1000; at -= 0x1000)
		if (load_map_add(&try, at - len, len) == 0 && memory_at(m, at - len, len))
			return at - len;
	return 0;
}

void load_gdt(void *page, bool code64)
{
	/* null, null, code, data, TSS; see vcpu/boot.c for the selectors */
	const uint64_t gdt[5] = {0, 0, code64 ? 0x00af9b000000ffff : 0x00cf9b000000ffff,
				 0x00cf93000000ffff, 0x00008b0000000067};

	_Static_assert(sizeof(gdt) == LOAD_GDT_SIZE, "five descriptors");
	memcpy(page, gdt, sizeof(gdt));
}

unsigned int load_memory_map(const struct memory *m, struct load_range *r)
{
	unsigned int n = 0;

	r[n++] = (struct load_range){0, MEMORY_LOW_END, 1};
	r[n++] = (struct load_range){MEMORY_LOW_END, MEMORY_EXTENDED - MEMORY_LOW_END, 2};
	if (m->regions[0].size > MEMORY_EXTENDED)
		r[n++] = (struct load_range){MEMORY_EXTENDED, m->regions[0].size - MEMORY_EXTENDED,
					     1};
	/* Linux looks for this one before it has read the ACPI tables. */
	if (m->pci)
		r[n++] = (struct load_range){PCI_ECAM_BASE, PCI_ECAM_SIZE, 2};
	r[n++] = (struct load_range){MEMORY_KVM_START, MEMORY_KVM_SIZE, 2};
	if (m->count > 1)
		r[n++] = (struct load_range){m->regions[1].gpa, m->regions[1].size, 1};
	return n;
}

/* What a file is that cannot be loaded, and what to do about it. */
static int refuse(const struct image *img, const struct image_head *head, const struct format *f,
		  struct kvm_error *err)
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

/* It was asked for as something that it is not. */
static int refuse_as(const struct image *img, const char *what, const struct format *f,
		     struct kvm_error *err)
{
	return image_bad(img, err, "not %s%s%s", what, f->name ? ", but " : "",
			 f->name ? f->name : "");
}

static int read_image(const void *ctx, uint64_t offset, void *buf, uint64_t len)
{
	return image_read(ctx, offset, buf, len);
}

int image_format(const struct image *img, struct format *f)
{
	const struct format_source src = {img->size, read_image, img};

	return format_tell(&src, f);
}

static int read_head(const struct image *img, struct image_head *head, struct format *f,
		     struct kvm_error *err)
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

int image_load(const struct load_request *req, struct vcpu_entry *entry, struct kvm_error *err)
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
