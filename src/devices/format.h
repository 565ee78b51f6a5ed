/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The format of a file, by the bytes with which it begins or ends. With that a file that was given
 * as a kernel, an initramfs or a disk by mistake can be refused by its name. It lies here, and not
 * with the loaders, because disks ask as well. No state; any thread.
 */
#ifndef DEVICES_FORMAT_H
#define DEVICES_FORMAT_H

#include <stdint.h>

enum format_kind {
	FORMAT_UNKNOWN,	   /* name is NULL */
	FORMAT_EMPTY,	   /* no bytes at all */
	FORMAT_BZIMAGE,	   /* a Linux kernel with the x86 boot header */
	FORMAT_ELF,	   /* of any machine */
	FORMAT_KERNEL,	   /* a kernel for another machine or another boot loader */
	FORMAT_PROGRAM,	   /* runs under EFI, an operating system, an interpreter */
	FORMAT_CPIO,	   /* the archive of an initramfs */
	FORMAT_COMPRESSED, /* one stream; what is in it is not looked at */
	FORMAT_ARCHIVE,	   /* archives and packages */
	FORMAT_FILESYSTEM, /* without a partition table: ext4, squashfs, ISO 9660, ... */
	FORMAT_PARTITIONS, /* MBR or GPT: a whole disk, its sectors as they are */
	FORMAT_DISK_IMAGE, /* a disk's sectors within a format of its own: qcow2, VMDK, ... */
	FORMAT_DATA,	   /* something else that has a name */
	FORMAT_TEXT,
};

struct format {
	enum format_kind kind;
	const char *name; /* with its article, "a qcow2 disk image"; static */
};

/* A file, wherever it lies. */
struct format_source {
	uint64_t size;
	/* Reads exactly @len bytes at @offset, all within the size. 0 or -errno. */
	int (*read)(const void *ctx, uint64_t offset, void *buf, uint64_t len);
	const void *ctx;
};

/* Tells the format in @f. Returns 0, or -errno of a read: then @f is unknown. */
int format_tell(const struct format_source *src, struct format *f);
/* Tells the same of an open file or block device of @size bytes; not one that was opened with
 * O_DIRECT. */
int format_tell_fd(int fd, uint64_t size, struct format *f);

#endif
