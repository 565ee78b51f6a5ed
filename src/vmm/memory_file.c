/* SPDX-License-Identifier: Apache-2.0 */
/* See memory_file.h, and docs/snapshot-format.md for the bytes. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state.h"
#include "vmm/memory.h"
#include "vmm/memory_file.h"
#include "vmm/whole.h"

#define FORMAT	1
#define PAGE	((uint64_t)MEMORY_PAGE)
#define MAX_RUN (UINT64_C(1) << 20) /* of pages that are written at once */

static const char magic[8] = {'c', 'a', 't', 'n', 'a', 'p', 'M', 'M'};

/* Behind the pages, at the beginning of a page. The checksums follow, and then the bits. */
struct trailer {
	char magic[8];
	uint32_t format, kind;
	uint8_t id[MEMORY_ID], base[MEMORY_ID];
	uint64_t size, pages;
	uint32_t sums;	    /* how many */
	uint32_t sums_crc;  /* of them all */
	uint64_t bit_words; /* how many words of 64 bits */
	uint32_t bits_crc;
	uint32_t crc; /* of this before it */
};

#define TRAILER_ROOM MEMORY_PAGE

_Static_assert(sizeof(struct trailer) == 88, "as the file has it");
_Static_assert(offsetof(struct trailer, size) == 48, "as the file has it");
_Static_assert(offsetof(struct trailer, crc) == 84, "as the file has it");

void memory_file_free(struct memory_file *f)
{
	free(f->sums);
	free(f->bits);
	f->sums = NULL;
	f->bits = NULL;
}

static uint64_t chunks(uint64_t size)
{
	return (size + MEMORY_CHUNK - 1) / MEMORY_CHUNK;
}

static bool is_zero(const uint8_t *page)
{
	const uint64_t *w = (const uint64_t *)(const void *)page;

	for (size_t i = 0; i < PAGE / sizeof(*w); i += 8)
		if (w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] |
		    w[i + 7])
			return false;
	return true;
}

/* Adds the sum of a page, and of its place as well, so that pages which are not all zeroes stay
 * where they are. */
static void add_sum(uint32_t *sums, uint64_t at, const uint8_t *page)
{
	uint32_t *sum = &sums[at / MEMORY_CHUNK];

	*sum = state_crc(state_crc(*sum, &at, sizeof(at)), page, PAGE);
}

int memory_file_read(int fd, void *data, uint64_t len, uint64_t at, struct error *err)
{
	int ret = whole_read(fd, data, len, at, err);

	return ret < 0 ? error_prefix(err, ret, "the memory file ") : 0;
}

static int write_part(int fd, const void *data, uint64_t len, uint64_t at, struct error *err)
{
	int ret = whole_write(fd, data, len, at, err);

	return ret < 0 ? error_prefix(err, ret, "the memory file ") : 0;
}

/* ---- writing ---- */

/* Pages that follow each other in the file and in memory. */
struct run {
	const uint8_t *from;
	uint64_t at, len;
};

static int flush(struct run *r, int fd, struct error *err)
{
	int ret = r->len ? write_part(fd, r->from, r->len, r->at, err) : 0;

	r->len = 0;
	return ret;
}

static int write_pages(struct memory_file *f, int fd,
		       const uint8_t *(*page)(void *ctx, uint64_t at), void *ctx, struct error *err)
{
	struct run run = {.len = 0};
	int ret = 0;

	f->pages = 0;
	for (uint64_t at = 0; at < f->size && ret == 0; at += PAGE) {
		const uint8_t *from;

		if (at % MEMORY_CHUNK == 0)
			ret = flush(&run, fd, err);
		if (ret < 0 || !memory_file_has(f, at / PAGE))
			continue;
		from = page(ctx, at);
		if (!from)
			return -EIO;
		f->pages++;
		if (is_zero(from))
			continue;
		add_sum(f->sums, at, from);
		if (run.len &&
		    (run.at + run.len != at || run.from + run.len != from || run.len >= MAX_RUN))
			ret = flush(&run, fd, err);
		if (!run.len)
			run = (struct run){.from = from, .at = at};
		run.len += PAGE;
	}
	return ret < 0 ? ret : flush(&run, fd, err);
}

static int write_trailer(const struct memory_file *f, int fd, struct error *err)
{
	const uint64_t sums = chunks(f->size) * sizeof(*f->sums);
	const uint64_t bits = f->bits ? memory_words(f->size) * sizeof(*f->bits) : 0;
	struct trailer t = {.format = FORMAT,
			    .kind = f->kind,
			    .size = f->size,
			    .pages = f->pages,
			    .sums = (uint32_t)chunks(f->size),
			    .bit_words = bits / sizeof(*f->bits)};
	int ret;

	memcpy(t.magic, magic, sizeof(magic));
	memcpy(t.id, f->id, sizeof(t.id));
	memcpy(t.base, f->base, sizeof(t.base));
	t.sums_crc = state_crc(0, f->sums, sums);
	t.bits_crc = state_crc(0, f->bits, bits);
	t.crc = state_crc(0, &t, offsetof(struct trailer, crc));
	ret = write_part(fd, f->sums, sums, f->size + TRAILER_ROOM, err);
	if (ret == 0)
		ret = write_part(fd, f->bits, bits, f->size + TRAILER_ROOM + sums, err);
	/* Last: a file that is cut off has none. */
	return ret < 0 ? ret : write_part(fd, &t, sizeof(t), f->size, err);
}

int memory_file_write(struct memory_file *f, int fd, const uint8_t *(*page)(void *ctx, uint64_t at),
		      void *ctx, struct error *err)
{
	int ret;

	free(f->sums);
	f->sums = calloc(chunks(f->size), sizeof(*f->sums));
	if (!f->sums)
		return error_fail(err, -ENOMEM, "out of memory");
	if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)f->size) < 0)
		return error_errno(err, -errno, "the memory file cannot be written");
	ret = write_pages(f, fd, page, ctx, err);
	return ret < 0 ? ret : write_trailer(f, fd, err);
}

/* ---- reading ---- */

static int check_trailer(const struct trailer *t, uint64_t size, struct error *err)
{
	if (memcmp(t->magic, magic, sizeof(magic)) != 0)
		return error_fail(err, -EINVAL, "is no memory of a snapshot with %llu bytes",
				  (unsigned long long)size);
	if (t->format != FORMAT)
		return error_fail(err, -ENOTSUP, "is of format %u, and this catnap reads format %d",
				  t->format, FORMAT);
	if (t->crc != state_crc(0, t, offsetof(struct trailer, crc)))
		return error_fail(err, -EINVAL, "is damaged: its header's checksum is wrong");
	if (t->size != size || t->kind > MEMORY_DIFF || t->sums != chunks(size) ||
	    t->pages > size / PAGE ||
	    t->bit_words != (t->kind == MEMORY_DIFF ? memory_words(size) : 0))
		return error_fail(err, -EINVAL, "is damaged: its header is wrong");
	return 0;
}

static uint64_t count(const struct memory_file *f)
{
	uint64_t n = 0;

	if (!f->bits)
		return f->size / PAGE;
	for (size_t i = 0; i < memory_words(f->size); i++)
		n += (uint64_t)__builtin_popcountll(f->bits[i]);
	return n;
}

/* Returns the bits behind the last page. */
static uint64_t beyond(const struct memory_file *f)
{
	uint64_t last = f->size / PAGE % 64;

	return last ? f->bits[memory_words(f->size) - 1] >> last : 0;
}

static int read_lists(struct memory_file *f, int fd, const struct trailer *t, struct error *err)
{
	const uint64_t sums = t->sums * sizeof(*f->sums), bits = t->bit_words * sizeof(*f->bits);
	int ret;

	f->sums = malloc(sums);
	if (bits)
		f->bits = calloc(1, bits);
	if (!f->sums || (bits && !f->bits))
		return error_fail(err, -ENOMEM, "out of memory");
	ret = memory_file_read(fd, f->sums, sums, f->size + TRAILER_ROOM, err);
	if (ret == 0 && bits)
		ret = memory_file_read(fd, f->bits, bits, f->size + TRAILER_ROOM + sums, err);
	if (ret < 0)
		return ret;
	if (state_crc(0, f->sums, sums) != t->sums_crc ||
	    state_crc(0, f->bits, bits) != t->bits_crc)
		return error_fail(err, -EINVAL, "is damaged: a checksum behind its pages is wrong");
	if ((bits && beyond(f)) || count(f) != f->pages)
		return error_fail(err, -EINVAL, "is damaged: its pages are not as many as it says");
	return 0;
}

int memory_file_open(struct memory_file *f, int fd, uint64_t size, struct error *err)
{
	uint64_t wanted = size + TRAILER_ROOM + chunks(size) * sizeof(*f->sums);
	struct trailer t = {.size = 0};
	struct stat st;
	int ret;

	*f = (struct memory_file){.size = size};
	if (fstat(fd, &st) < 0)
		return error_errno(err, -errno, "cannot be looked at");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < size + sizeof(t))
		return error_fail(err, -EINVAL,
				  "is no memory of a snapshot with %llu bytes, or is cut off",
				  (unsigned long long)size);
	ret = memory_file_read(fd, &t, sizeof(t), size, err);
	if (ret == 0)
		ret = check_trailer(&t, size, err);
	if (ret < 0)
		return ret;
	wanted += t.bit_words * sizeof(*f->bits);
	if ((uint64_t)st.st_size != wanted)
		return error_fail(err, -EINVAL, "has %llu bytes: expected %llu",
				  (unsigned long long)st.st_size, (unsigned long long)wanted);
	f->kind = t.kind;
	f->pages = t.pages;
	memcpy(f->id, t.id, sizeof(f->id));
	memcpy(f->base, t.base, sizeof(f->base));
	return read_lists(f, fd, &t, err);
}

int memory_file_each(const struct memory_file *f, int fd,
		     int (*take)(void *ctx, uint64_t at, const uint8_t *page), void *ctx,
		     struct error *err)
{
	uint8_t *buffer = malloc(MAX_RUN);
	int ret = 0;

	if (!buffer)
		return error_fail(err, -ENOMEM, "out of memory");
	for (uint64_t at = 0; at < f->size && ret == 0;) {
		uint64_t len = 0;

		if (!memory_file_has(f, at / PAGE)) {
			at += PAGE;
			continue;
		}
		while (at + len < f->size && len < MAX_RUN && memory_file_has(f, (at + len) / PAGE))
			len += PAGE;
		ret = memory_file_read(fd, buffer, len, at, err);
		for (uint64_t i = 0; i < len && ret == 0; i += PAGE)
			ret = take(ctx, at + i, buffer + i);
		at += len;
	}
	free(buffer);
	return ret;
}

static int sum_page(void *ctx, uint64_t at, const uint8_t *page)
{
	if (!is_zero(page))
		add_sum(ctx, at, page);
	return 0;
}

int memory_file_verify(const struct memory_file *f, int fd, struct error *err)
{
	uint32_t *sums = calloc(chunks(f->size), sizeof(*sums));
	int ret;

	if (!sums)
		return error_fail(err, -ENOMEM, "out of memory");
	ret = memory_file_each(f, fd, sum_page, sums, err);
	for (uint64_t i = 0; i < chunks(f->size) && ret == 0; i++)
		if (sums[i] != f->sums[i])
			ret = error_fail(err, -EINVAL,
					 "is damaged: the checksum of the pages from 0x%llx on is "
					 "wrong",
					 (unsigned long long)i * MEMORY_CHUNK);
	free(sums);
	return ret;
}
