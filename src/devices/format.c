/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells what a file is. Most formats have their bytes at one place, and are rows of a table, those
 * that say more before those that say less; the few others have a function each.
 */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "devices/format.h"

#define HEAD	   8192u /* bytes that are read of the beginning */
#define NOTHING	   ((struct format){FORMAT_UNKNOWN, NULL})
#define SECTOR	   512u
#define MBR_MAGIC  510u
#define PE_OFFSET  0x3cu
#define PE_HEADER  24u
#define PE_SECTION 40u

struct head {
	const struct format_source *src;
	uint8_t bytes[HEAD]; /* zero padded */
	uint32_t len;
};

struct magic {
	uint32_t offset;
	uint8_t len;
	const char *bytes;
	enum format_kind kind;
	const char *name;
};

/* Length without the NUL, so that bytes of value 0 may be among them. */
#define MAGIC(at, text) .offset = (at), .len = sizeof(text) - 1, .bytes = (text)

/* At most this long, and those behind HEAD are read for themselves. */
#define MAGIC_MAX 32u

static const struct magic magics[] = {
	/* kernels with a magic number of their own */
	{MAGIC(0, "\x7f"
		  "ELF"),
	 FORMAT_ELF, "an ELF file"},
	{MAGIC(0, "\x27\x05\x19\x56"), FORMAT_KERNEL, "a U-Boot image (uImage)"},
	{MAGIC(0, "ANDROID!"), FORMAT_KERNEL, "an Android boot image"},
	{MAGIC(0, "VNDRBOOT"), FORMAT_KERNEL, "an Android boot image"},
	/* disks in formats of their own */
	{MAGIC(0, "QFI\xfb\0\0\0\x01"), FORMAT_DISK_IMAGE, "a qcow disk image"},
	{MAGIC(0, "QFI\xfb"), FORMAT_DISK_IMAGE, "a qcow2 disk image"},
	{MAGIC(0, "QED\0"), FORMAT_DISK_IMAGE, "a QED disk image"},
	{MAGIC(0, "KDMV"), FORMAT_DISK_IMAGE, "a VMDK disk image"},
	{MAGIC(0, "COWD"), FORMAT_DISK_IMAGE, "a VMDK disk image"},
	{MAGIC(0, "# Disk DescriptorFile"), FORMAT_DISK_IMAGE,
	 "the descriptor of a VMDK disk image"},
	{MAGIC(0, "vhdxfile"), FORMAT_DISK_IMAGE, "a VHDX disk image"},
	{MAGIC(0, "conectix"), FORMAT_DISK_IMAGE, "a VHD disk image"},
	{MAGIC(64, "\x7f\x10\xda\xbe"), FORMAT_DISK_IMAGE, "a VDI disk image"},
	{MAGIC(0, "WithoutFreeSpace"), FORMAT_DISK_IMAGE, "a Parallels disk image"},
	{MAGIC(0, "WithouFreSpacExt"), FORMAT_DISK_IMAGE, "a Parallels disk image"},
	{MAGIC(0, "Bochs Virtual HD Image"), FORMAT_DISK_IMAGE, "a Bochs disk image"},
	{MAGIC(0, "EVF\x09\x0d\x0a\xff\0"), FORMAT_DISK_IMAGE, "an EnCase (E01) disk image"},
	{MAGIC(0, "\x3a\xff\x26\xed"), FORMAT_DISK_IMAGE, "an Android sparse image"},
	/* streams */
	{MAGIC(0, "\x1f\x8b"), FORMAT_COMPRESSED, "a gzip file"},
	{MAGIC(0, "\x1f\x9d"), FORMAT_COMPRESSED, "a compress (.Z) file"},
	{MAGIC(0, "\xfd"
		  "7zXZ\0"),
	 FORMAT_COMPRESSED, "an xz file"},
	{MAGIC(0, "\x28\xb5\x2f\xfd"), FORMAT_COMPRESSED, "a zstd file"},
	{MAGIC(0, "\x04\x22\x4d\x18"), FORMAT_COMPRESSED, "an lz4 file"},
	{MAGIC(0, "\x02\x21\x4c\x18"), FORMAT_COMPRESSED, "an lz4 file"},
	{MAGIC(0, "BZh"), FORMAT_COMPRESSED, "a bzip2 file"},
	{MAGIC(0, "LZIP"), FORMAT_COMPRESSED, "an lzip file"},
	{MAGIC(0, "\x89LZO\0\r\n\x1a\n"), FORMAT_COMPRESSED, "an lzop file"},
	/* archives */
	{MAGIC(0, "070701"), FORMAT_CPIO, "a cpio archive"},
	{MAGIC(0, "070702"), FORMAT_CPIO, "a cpio archive"},
	{MAGIC(0, "070707"), FORMAT_CPIO, "a cpio archive"},
	{MAGIC(0, "!<arch>\ndebian"), FORMAT_ARCHIVE, "a Debian package"},
	{MAGIC(0, "!<arch>\n"), FORMAT_ARCHIVE, "an ar archive"},
	{MAGIC(0, "!<thin>\n"), FORMAT_ARCHIVE, "an ar archive"},
	{MAGIC(0, "\xed\xab\xee\xdb"), FORMAT_ARCHIVE, "an RPM package"},
	{MAGIC(257, "ustar"), FORMAT_ARCHIVE, "a tar archive"},
	{MAGIC(0, "PK\x03\x04"), FORMAT_ARCHIVE, "a zip archive"},
	{MAGIC(0, "PK\x05\x06"), FORMAT_ARCHIVE, "a zip archive"},
	{MAGIC(0, "7z\xbc\xaf\x27\x1c"), FORMAT_ARCHIVE, "a 7-Zip archive"},
	{MAGIC(0, "Rar!\x1a\x07"), FORMAT_ARCHIVE, "a RAR archive"},
	{MAGIC(0, "xar!"), FORMAT_ARCHIVE, "a xar archive"},
	{MAGIC(0, "MSWIM\0\0\0"), FORMAT_ARCHIVE, "a Windows image (WIM)"},
	/* kernels within something else's beginning: code, or a program for EFI */
	{MAGIC(0x202, "HdrS"), FORMAT_BZIMAGE, "a Linux bzImage"},
	{MAGIC(56, "ARM\x64"), FORMAT_KERNEL, "a Linux kernel for arm64"},
	{MAGIC(56, "RSC\x05"), FORMAT_KERNEL, "a Linux kernel for RISC-V"},
	{MAGIC(48, "RISCV\0\0\0"), FORMAT_KERNEL, "a Linux kernel for RISC-V"},
	{MAGIC(56, "\xcd\x23\x82\x81"), FORMAT_KERNEL, "a Linux kernel for LoongArch"},
	{MAGIC(0x24, "\x18\x28\x6f\x01"), FORMAT_KERNEL, "a Linux zImage for 32-bit ARM"},
	{MAGIC(4, "zimg"), FORMAT_KERNEL, "a compressed Linux kernel for EFI (EFI zboot)"},
	/* file systems; some leave room for a boot sector, so these come before partitions */
	{MAGIC(0, "hsqs"), FORMAT_FILESYSTEM, "a squashfs file system"},
	{MAGIC(0, "sqsh"), FORMAT_FILESYSTEM, "a squashfs file system"},
	{MAGIC(0, "\x45\x3d\xcd\x28"), FORMAT_FILESYSTEM, "a cramfs file system"},
	{MAGIC(0, "-rom1fs-"), FORMAT_FILESYSTEM, "a romfs file system"},
	{MAGIC(0, "XFSB"), FORMAT_FILESYSTEM, "an XFS file system"},
	{MAGIC(0, "LUKS\xba\xbe"), FORMAT_FILESYSTEM, "a LUKS volume"},
	{MAGIC(1024, "\xe2\xe1\xf5\xe0"), FORMAT_FILESYSTEM, "an EROFS file system"},
	{MAGIC(1024, "\x10\x20\xf5\xf2"), FORMAT_FILESYSTEM, "an F2FS file system"},
	{MAGIC(1080, "\x53\xef"), FORMAT_FILESYSTEM, "an ext2, ext3 or ext4 file system"},
	{MAGIC(536, "LVM2 001"), FORMAT_FILESYSTEM, "an LVM physical volume"},
	{MAGIC(4086, "SWAPSPACE2"), FORMAT_FILESYSTEM, "swap space"},
	{MAGIC(32769, "CD001"), FORMAT_FILESYSTEM, "an ISO 9660 image (a CD or DVD)"},
	{MAGIC(32769, "BEA01"), FORMAT_FILESYSTEM, "a UDF image (a DVD)"},
	{MAGIC(65588, "ReIsEr"), FORMAT_FILESYSTEM, "a ReiserFS file system"},
	{MAGIC(65600, "_BHRfS_M"), FORMAT_FILESYSTEM, "a btrfs file system"},
	{MAGIC(3, "NTFS    "), FORMAT_FILESYSTEM, "an NTFS file system"},
	{MAGIC(3, "EXFAT   "), FORMAT_FILESYSTEM, "an exFAT file system"},
	{MAGIC(54, "FAT1"), FORMAT_FILESYSTEM, "a FAT file system"},
	{MAGIC(82, "FAT32"), FORMAT_FILESYSTEM, "a FAT file system"},
	{MAGIC(512, "EFI PART"), FORMAT_PARTITIONS, "a disk with a partition table (GPT)"},
	{MAGIC(4096, "EFI PART"), FORMAT_PARTITIONS, "a disk with a partition table (GPT)"},
	/* the rest */
	{MAGIC(0, "\xc7\x71"), FORMAT_CPIO, "a cpio archive"},
	{MAGIC(0, "\xca\xfe\xba\xbe"), FORMAT_PROGRAM, "a Mach-O or Java program"},
	{MAGIC(0, "\xcf\xfa\xed\xfe"), FORMAT_PROGRAM, "a Mach-O program"},
	{MAGIC(0, "\xce\xfa\xed\xfe"), FORMAT_PROGRAM, "a Mach-O program"},
	{MAGIC(0, "\0asm"), FORMAT_PROGRAM, "a WebAssembly program"},
	{MAGIC(0, "KDUMP   "), FORMAT_DATA, "a crash dump"},
	{MAGIC(0, "%PDF-"), FORMAT_DATA, "a PDF document"},
	{MAGIC(0, "\x89PNG\r\n\x1a\n"), FORMAT_DATA, "a PNG picture"},
	{MAGIC(0, "#!"), FORMAT_PROGRAM, "a script"},
};

static uint32_t le(const uint8_t *p, unsigned int bytes)
{
	uint32_t value = 0;

	while (bytes--)
		value = value << 8 | p[bytes];
	return value;
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool has(const struct head *h, uint64_t offset, const char *bytes, uint32_t len)
{
	uint8_t far[MAGIC_MAX];

	if (offset + len <= h->len)
		return memcmp(h->bytes + offset, bytes, len) == 0;
	/* In the file, but not in its beginning; what cannot be read is nothing that is known. */
	return offset + len <= h->src->size && len <= sizeof(far) &&
	       h->src->read(h->src->ctx, offset, far, len) == 0 && memcmp(far, bytes, len) == 0;
}

/* Returns whether it is old-style lzma, which has no magic number: its properties, a dictionary's
 * size, and a length. */
static bool is_lzma(const struct head *h)
{
	uint32_t dictionary = le(h->bytes + 1, 4);
	bool unknown = le(h->bytes + 5, 4) == UINT32_MAX && le(h->bytes + 9, 4) == UINT32_MAX;

	return h->len > 13 && h->bytes[0] == 0x5d && dictionary >= 4096 &&
	       !(dictionary & (dictionary - 1)) && (unknown || !h->bytes[12]);
}

/* Returns whether it begins with a frame that is skipped, in front of frames of data. */
static bool is_skippable(const struct head *h)
{
	return h->len > 8 && (le(h->bytes, 4) & 0xfffffff0u) == 0x184d2a50u;
}

/* Returns whether @word is OMAGIC, NMAGIC, ZMAGIC or QMAGIC, for no machine in particular or for an
 * x86. */
static bool aout_word(uint32_t word)
{
	uint32_t magic = word & 0xffff, machine = word >> 16 & 0x3ff;

	return (machine == 0 || machine == 100 || machine == 134) &&
	       (magic == 0407 || magic == 0410 || magic == 0413 || magic == 0314);
}

/* Returns whether it is a.out. NetBSD's begins in network order. A size of the text follows, in the
 * machine's. */
static bool is_aout(const struct head *h)
{
	uint32_t text = le(h->bytes + 4, 4);

	return h->len >= 32 && (aout_word(le(h->bytes, 4)) || aout_word(be32(h->bytes))) && text &&
	       text <= h->src->size;
}

static const char *program_name(const struct head *h)
{
	uint32_t pe = le(h->bytes + PE_OFFSET, 4), sections, at;

	if (h->len < 64 || pe > HEAD - PE_HEADER || memcmp(h->bytes + pe, "PE\0", 4) != 0)
		return "an MS-DOS program";
	sections = le(h->bytes + pe + 6, 2);
	at = pe + PE_HEADER + le(h->bytes + pe + 20, 2);
	for (; sections && at <= HEAD - PE_SECTION; sections--, at += PE_SECTION)
		if (memcmp(h->bytes + at, ".linux\0", 8) == 0)
			return "a unified kernel image (an EFI program; the kernel is its section "
			       ".linux)";
	return "an EFI or Windows program";
}

/* Returns whether it is an MBR. Partition tables and boot sectors end alike. */
static bool is_mbr(const struct head *h)
{
	return h->len >= SECTOR && h->bytes[MBR_MAGIC] == 0x55 && h->bytes[MBR_MAGIC + 1] == 0xaa;
}

static bool is_text(const struct head *h)
{
	for (uint32_t i = 0; i < h->len; i++) {
		uint8_t c = h->bytes[i];

		if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t' && c != '\f') || c == 0x7f)
			return false;
		/* UTF-8, roughly: what follows a first byte is not ASCII. */
		if (c >= 0xc0 &&
		    (i + 1 < h->len ? (h->bytes[i + 1] & 0xc0) != 0x80 : h->len == h->src->size))
			return false;
		if (c >= 0x80 && c < 0xc0 && (!i || h->bytes[i - 1] < 0x80))
			return false;
	}
	return true;
}

/* Returns the name of a device tree. A FIT is one in which kernels lie. */
static const char *tree_name(const struct head *h)
{
	return memmem(h->bytes, h->len, "\0images", 8) ? "a U-Boot FIT image" : "a device tree";
}

static bool in_table(const struct head *h, struct format *f)
{
	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
		const struct magic *m = &magics[i];

		if (has(h, m->offset, m->bytes, m->len)) {
			*f = (struct format){m->kind, m->name};
			return true;
		}
	}
	return false;
}

static struct format others(const struct head *h)
{
	uint64_t end = h->src->size;

	if (memcmp(h->bytes, "MZ", 2) == 0)
		return (struct format){FORMAT_PROGRAM, program_name(h)};
	if (be32(h->bytes) == 0xd00dfeedu)
		return (struct format){FORMAT_KERNEL, tree_name(h)};
	if (end >= SECTOR && has(h, end - SECTOR, "conectix", 8))
		return (struct format){FORMAT_DISK_IMAGE, "a VHD disk image of fixed size"};
	if (end >= SECTOR && has(h, end - SECTOR, "koly", 4))
		return (struct format){FORMAT_DISK_IMAGE, "an Apple disk image (DMG)"};
	if (is_mbr(h))
		return (struct format){FORMAT_PARTITIONS,
				       "a disk with a partition table, or a boot sector (MBR)"};
	if (is_lzma(h))
		return (struct format){FORMAT_COMPRESSED, "an lzma file"};
	if (is_skippable(h))
		return (struct format){FORMAT_COMPRESSED, "a zstd or lz4 file"};
	if (is_aout(h))
		return (struct format){FORMAT_KERNEL, "an a.out file"};
	if (is_text(h))
		return (struct format){FORMAT_TEXT, "a text file"};
	return NOTHING;
}

int format_tell(const struct format_source *src, struct format *f)
{
	struct head h = {.src = src, .len = src->size < HEAD ? (uint32_t)src->size : HEAD};
	int ret;

	*f = NOTHING;
	if (!h.len) {
		*f = (struct format){FORMAT_EMPTY, "an empty file"};
		return 0;
	}
	ret = src->read(src->ctx, 0, h.bytes, h.len);
	if (ret == 0 && !in_table(&h, f))
		*f = others(&h);
	return ret;
}

static int read_fd(const void *ctx, uint64_t offset, void *buf, uint64_t len)
{
	uint8_t *p = buf;

	while (len) {
		ssize_t n = pread(*(const int *)ctx, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		p += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int format_tell_fd(int fd, uint64_t size, struct format *f)
{
	const struct format_source src = {size, read_fd, &fd};

	return format_tell(&src, f);
}
