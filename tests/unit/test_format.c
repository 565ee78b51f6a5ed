/* SPDX-License-Identifier: Apache-2.0 */
/* Tests what a file is taken for: each format by the bytes that its description gives, alone in a
 * file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/format.h"

#define SIZE 70000u

struct bytes {
	uint8_t *data;
	uint64_t size;
};

static int read_bytes(const void *ctx, uint64_t offset, void *buf, uint64_t len)
{
	const struct bytes *b = ctx;

	if (offset > b->size || len > b->size - offset)
		fail_msg("read of %llu bytes at %llu of %llu", (unsigned long long)len,
			 (unsigned long long)offset, (unsigned long long)b->size);
	memcpy(buf, b->data + offset, len);
	return 0;
}

/* In memory of just this size, so that the sanitizers see what is read beside it. */
static struct format tell(const void *data, uint64_t size)
{
	struct bytes b = {malloc(size ? size : 1), size};
	const struct format_source src = {size, read_bytes, &b};
	struct format f;

	assert_non_null(b.data);
	memcpy(b.data, data, size);
	assert_int_equal(format_tell(&src, &f), 0);
	assert_int_equal(f.kind == FORMAT_UNKNOWN, f.name == NULL);
	free(b.data);
	return f;
}

static void is(const void *data, uint64_t size, enum format_kind kind, const char *word)
{
	struct format f = tell(data, size);

	if (f.kind != kind || (word && !strstr(f.name, word)))
		fail_msg("kind %u \"%s\", expected %u \"%s\"", f.kind, f.name ? f.name : "", kind,
			 word ? word : "");
}

static const struct {
	uint32_t offset;
	const char *bytes;
	uint32_t len;
	enum format_kind kind;
	const char *word;
} known[] = {
#define B(text) text, sizeof(text) - 1
	{0x202, B("HdrS"), FORMAT_BZIMAGE, "bzImage"},
	{0, B("\177ELF\2\1\1"), FORMAT_ELF, "ELF"},
	{56, B("ARM\144"), FORMAT_KERNEL, "arm64"},
	{56, B("RSC\5"), FORMAT_KERNEL, "RISC-V"},
	{48, B("RISCV\0\0\0"), FORMAT_KERNEL, "RISC-V"},
	{56, B("\315\43\202\201"), FORMAT_KERNEL, "LoongArch"},
	{36, B("\30\50\157\1"), FORMAT_KERNEL, "ARM"},
	{0, B("MZ\0\0zimg"), FORMAT_KERNEL, "zboot"},
	{0, B("\47\5\31\126"), FORMAT_KERNEL, "uImage"},
	{0, B("ANDROID!"), FORMAT_KERNEL, "Android"},
	{0, B("\320\15\376\355"), FORMAT_KERNEL, "device tree"},
	{0, B("\320\15\376\355\0\0\0\1\0images\0"), FORMAT_KERNEL, "FIT"},
	{0, B("\13\1\144\0\0\20\0\0"), FORMAT_KERNEL, "a.out"},
	{0, B("\0\206\1\13\0\20\0\0"), FORMAT_KERNEL, "a.out"},
	{0, B("QFI\373\0\0\0\3"), FORMAT_DISK_IMAGE, "qcow2"},
	{0, B("QFI\373\0\0\0\1"), FORMAT_DISK_IMAGE, "qcow "},
	{0, B("QED\0"), FORMAT_DISK_IMAGE, "QED"},
	{0, B("KDMV\1\0\0\0"), FORMAT_DISK_IMAGE, "VMDK"},
	{0, B("COWD\1\0\0\0"), FORMAT_DISK_IMAGE, "VMDK"},
	{0, B("# Disk DescriptorFile\nversion=1\n"), FORMAT_DISK_IMAGE, "VMDK"},
	{0, B("vhdxfile"), FORMAT_DISK_IMAGE, "VHDX"},
	{0, B("conectix"), FORMAT_DISK_IMAGE, "VHD"},
	{SIZE - 512, B("conectix"), FORMAT_DISK_IMAGE, "VHD"},
	{64, B("\177\20\332\276"), FORMAT_DISK_IMAGE, "VDI"},
	{0, B("WithoutFreeSpace"), FORMAT_DISK_IMAGE, "Parallels"},
	{SIZE - 512, B("koly"), FORMAT_DISK_IMAGE, "DMG"},
	{0, B("\37\213\10"), FORMAT_COMPRESSED, "gzip"},
	{0, B("\3757zXZ\0"), FORMAT_COMPRESSED, "xz"},
	{0, B("\50\265\57\375"), FORMAT_COMPRESSED, "zstd"},
	{0, B("\120\52\115\30\4\0\0\0abcd"), FORMAT_COMPRESSED, "zstd"},
	{0, B("\4\42\115\30"), FORMAT_COMPRESSED, "lz4"},
	{0, B("\2\41\114\30"), FORMAT_COMPRESSED, "lz4"},
	{0, B("BZh91AY&SY"), FORMAT_COMPRESSED, "bzip2"},
	{0, B("\135\0\0\200\0\377\377\377\377\377\377\377\377"), FORMAT_COMPRESSED, "lzma"},
	{0, B("\135\0\0\4\0\0\0\1"), FORMAT_COMPRESSED, "lzma"},
	{0, B("LZIP\1"), FORMAT_COMPRESSED, "lzip"},
	{0, B("\211LZO\0\r\n\32\n"), FORMAT_COMPRESSED, "lzop"},
	{0, B("070701"), FORMAT_CPIO, "cpio"},
	{0, B("070702"), FORMAT_CPIO, "cpio"},
	{0, B("070707"), FORMAT_CPIO, "cpio"},
	{0, B("\307\161"), FORMAT_CPIO, "cpio"},
	{0, B("!<arch>\ndebian-binary   "), FORMAT_ARCHIVE, "Debian package"},
	{0, B("!<arch>\n"), FORMAT_ARCHIVE, "ar archive"},
	{0, B("\355\253\356\333"), FORMAT_ARCHIVE, "RPM"},
	{257, B("ustar"), FORMAT_ARCHIVE, "tar"},
	{0, B("PK\3\4"), FORMAT_ARCHIVE, "zip"},
	{0, B("7z\274\257\47\34"), FORMAT_ARCHIVE, "7-Zip"},
	{0, B("hsqs"), FORMAT_FILESYSTEM, "squashfs"},
	{0, B("\105\75\315\50"), FORMAT_FILESYSTEM, "cramfs"},
	{0, B("XFSB"), FORMAT_FILESYSTEM, "XFS"},
	{0, B("LUKS\272\276"), FORMAT_FILESYSTEM, "LUKS"},
	{1024, B("\342\341\365\340"), FORMAT_FILESYSTEM, "EROFS"},
	{1024, B("\20\40\365\362"), FORMAT_FILESYSTEM, "F2FS"},
	{1080, B("\123\357"), FORMAT_FILESYSTEM, "ext4"},
	{32769, B("CD001"), FORMAT_FILESYSTEM, "ISO 9660"},
	{32769, B("BEA01"), FORMAT_FILESYSTEM, "UDF"},
	{65600, B("_BHRfS_M"), FORMAT_FILESYSTEM, "btrfs"},
	{3, B("NTFS    "), FORMAT_FILESYSTEM, "NTFS"},
	{54, B("FAT16   "), FORMAT_FILESYSTEM, "FAT"},
	{82, B("FAT32   "), FORMAT_FILESYSTEM, "FAT"},
	{512, B("EFI PART"), FORMAT_PARTITIONS, "GPT"},
	{4096, B("EFI PART"), FORMAT_PARTITIONS, "GPT"},
	{510, B("\125\252"), FORMAT_PARTITIONS, "MBR"},
	{0, B("MZ\220"), FORMAT_PROGRAM, "MS-DOS"},
	{0, B("#!/bin/sh\n"), FORMAT_PROGRAM, "script"},
#undef B
};

static void test_known(void **state)
{
	static uint8_t file[SIZE];

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		memset(file, 0, sizeof(file));
		memcpy(file + known[i].offset, known[i].bytes, known[i].len);
		is(file, sizeof(file), known[i].kind, known[i].word);
	}
}

/* None is told, or read, behind the end of a file that is cut off at any place. */
static void test_cut(void **state)
{
	static uint8_t file[SIZE];

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		uint32_t end = known[i].offset + known[i].len;

		memset(file, 0, sizeof(file));
		memcpy(file + known[i].offset, known[i].bytes, known[i].len);
		for (uint32_t size = known[i].offset; size < end; size++)
			tell(file, size);
	}
}

/* EFI programs: the kernel within one is a section. */
static void test_efi(void **state)
{
	uint8_t file[1024] = "MZ";

	file[0x3c] = 0x80;
	memcpy(file + 0x80, "PE\0\0", 4);
	file[0x86] = 2;	   /* sections */
	file[0x94] = 0xf0; /* of the optional header */
	memcpy(file + 0x188, ".text\0\0\0", 8);
	memcpy(file + 0x1b0, ".data\0\0\0", 8);
	is(file, sizeof(file), FORMAT_PROGRAM, "EFI");
	memcpy(file + 0x1b0, ".linux\0\0", 8);
	is(file, sizeof(file), FORMAT_PROGRAM, "unified kernel image");
	/* arm64's kernel with an EFI stub is a kernel before it is a program */
	memcpy(file + 56, "ARM\144", 4);
	is(file, sizeof(file), FORMAT_KERNEL, "arm64");
	/* headers and sections that lie anywhere */
	memset(file + 56, 0, 4);
	memset(file + 0x86, 0xff, 2);
	memset(file + 0x94, 0xff, 2);
	is(file, sizeof(file), FORMAT_PROGRAM, NULL);
	memset(file + 0x3c, 0xff, 4);
	is(file, sizeof(file), FORMAT_PROGRAM, "MS-DOS");
	is(file, 3, FORMAT_PROGRAM, "MS-DOS");
}

static void test_text(void **state)
{
	static const char page[] = "<!DOCTYPE html>\n<title>404</title>\n";
	static const char utf8[] = "Schlafm\xc3\xbctze\n";
	static const char latin1[] = "Schlafm\xfctze\n";

	is(page, sizeof(page) - 1, FORMAT_TEXT, "text");
	is(utf8, sizeof(utf8) - 1, FORMAT_TEXT, "text");
	is(latin1, sizeof(latin1) - 1, FORMAT_UNKNOWN, NULL);
	is("", 0, FORMAT_EMPTY, "empty");
}

static void test_unknown(void **state)
{
	static uint8_t file[SIZE];
	uint32_t x = 1;

	is(file, sizeof(file), FORMAT_UNKNOWN, NULL);
	for (uint32_t i = 0; i < sizeof(file); i++) {
		x = x * 1664525 + 1013904223;
		file[i] = (uint8_t)(x >> 24);
	}
	is(file, sizeof(file), FORMAT_UNKNOWN, NULL);
	is("\xf4", 1, FORMAT_UNKNOWN, NULL);
}

static int fails(const void *ctx, uint64_t offset, void *buf, uint64_t len)
{
	return -EIO;
}

static void test_read(void **state)
{
	const struct format_source src = {SIZE, fails, NULL};
	char name[] = "/tmp/catnap-format-XXXXXX";
	int fd = mkstemp(name);
	struct format f;

	assert_int_equal(format_tell(&src, &f), -EIO);
	assert_int_equal(f.kind, FORMAT_UNKNOWN);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "CD001", 5, 32769), 5);
	assert_int_equal(format_tell_fd(fd, 32774, &f), 0);
	assert_int_equal(f.kind, FORMAT_FILESYSTEM);
	/* It shrank since its size was asked for. */
	assert_int_equal(ftruncate(fd, 100), 0);
	assert_int_equal(format_tell_fd(fd, 32774, &f), -ENODATA);
	close(fd);
	unlink(name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),	cmocka_unit_test(test_cut),
		cmocka_unit_test(test_efi),	cmocka_unit_test(test_text),
		cmocka_unit_test(test_unknown), cmocka_unit_test(test_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
