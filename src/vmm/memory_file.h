/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory file of a snapshot: the guest's memory as it lies, without the hole below 4 GiB, and
 * behind it a header, checksums and, of a diff, which pages are in it. docs/snapshot-format.md has
 * the bytes.
 *
 * Files are taken for ones that an enemy wrote. Their pages are a guest's and may be anything.
 */
#ifndef VMM_MEMORY_FILE_H
#define VMM_MEMORY_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "errors.h"

#define MEMORY_ID    16			 /* bytes of a snapshot's id */
#define MEMORY_CHUNK (UINT64_C(1) << 20) /* of which there is a checksum */

enum memory_kind { MEMORY_FULL, MEMORY_DIFF };

/* The part behind the pages, in memory. */
struct memory_file {
	uint32_t kind;				/* enum memory_kind */
	uint8_t id[MEMORY_ID], base[MEMORY_ID]; /* of a diff: of the snapshot that it builds on */
	uint64_t size;				/* of the guest's memory, in bytes */
	uint64_t pages;				/* how many are in the file */
	uint32_t *
		sums; /* owned; a checksum for each chunk, of its pages that are in the file and not all zeroes */
	uint64_t *bits; /* owned; of a diff: which pages are in the file; NULL: all */
};

/* Frees what @f has. */
void memory_file_free(struct memory_file *f);
/*
 * Writes @f, of which kind, id, base, size and bits are set, to @fd, which is emptied. Pages that are
 * all zeroes become holes. @page returns where the page at @at of memory is, and stays until it is asked
 * for one of the next MEMORY_CHUNK bytes; or NULL, after a sentence. pages and sums are set. Returns
 * 0, or with a sentence -ENOMEM, -EIO (there is no page), and those of ftruncate(2) and pwrite(2).
 */
int memory_file_write(struct memory_file *f, int fd, const uint8_t *(*page)(void *ctx, uint64_t at),
		      void *ctx, struct error *err);
/*
 * Reads what is behind the pages of @fd into @f, for memory of @size bytes. @f is to be freed in any
 * case. Returns 0, or with a sentence: -EINVAL (it is no such file, or damaged, or of other memory),
 * -ENOTSUP (another format), -ENOMEM, and those of pread(2).
 */
int memory_file_open(struct memory_file *f, int fd, uint64_t size, struct error *err);
/* Reads all pages of @fd, and compares the checksums. 0, or -EINVAL with a sentence, or those of
 * pread(2). */
int memory_file_verify(const struct memory_file *f, int fd, struct error *err);
/* Returns whether page number @page is in the file. */
static inline bool memory_file_has(const struct memory_file *f, uint64_t page)
{
	return !f->bits || f->bits[page / 64] >> page % 64 & 1;
}
/* Reads @len bytes at @at of the memory in @fd. 0, or with a sentence -EINVAL (it is cut off) and those
 * of pread(2). */
int memory_file_read(int fd, void *data, uint64_t len, uint64_t at, struct error *err);
/* Reads page after page of @fd that is in @f, and gives it to @take. 0, what that returns, or those of
 * pread(2). */
int memory_file_each(const struct memory_file *f, int fd,
		     int (*take)(void *ctx, uint64_t at, const uint8_t *page), void *ctx,
		     struct error *err);

#endif
