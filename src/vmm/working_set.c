/* SPDX-License-Identifier: Apache-2.0 */
/* See working_set.h. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "state.h"
#include "vmm/whole.h"
#include "vmm/working_set.h"

#define FORMAT	   1
#define PAGE	   ((uint64_t)MEMORY_PAGE)
#define RANGES_MAX (UINT64_C(1) << 22)

/* Linux 5.14; libcs may not have it. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

static const char magic[8] = {'c', 'a', 't', 'n', 'a', 'p', 'W', 'S'};

/* The beginning of the file. The ranges follow. */
struct header {
	char magic[8];
	uint32_t format;
	uint32_t ranges_crc;
	uint8_t id[MEMORY_ID];
	uint64_t size;	/* bytes of memory */
	uint64_t pages; /* of all ranges */
	uint64_t ranges;
	uint32_t zero;
	uint32_t crc; /* of this before it */
};

_Static_assert(sizeof(struct header) == 64, "as the file has it");
_Static_assert(offsetof(struct header, crc) == 60, "as the file has it");
_Static_assert(sizeof(struct ahead_range) == 16, "as the file has it");

void working_set_free(struct working_set *ws)
{
	free(ws->ranges);
	*ws = (struct working_set){.count = 0};
}

/* -- reading ---------------------------------------------------------------------------------- */

static int check_header(const struct header *h, uint64_t len, const uint8_t id[MEMORY_ID],
			uint64_t size, struct error *err)
{
	if (memcmp(h->magic, magic, sizeof(magic)) != 0)
		return error_fail(err, -EINVAL, "is no working set of a snapshot");
	if (h->format != FORMAT)
		return error_fail(err, -ENOTSUP, "is of format %u, and this catnap reads format %d",
				  h->format, FORMAT);
	if (h->crc != state_crc(0, h, offsetof(struct header, crc)))
		return error_fail(err, -EINVAL, "is damaged: its header's checksum is wrong");
	if (h->zero || h->ranges > RANGES_MAX ||
	    len != sizeof(*h) + h->ranges * sizeof(struct ahead_range))
		return error_fail(err, -EINVAL, "is damaged: its header is wrong");
	if (memcmp(h->id, id, MEMORY_ID) != 0 || h->size != size)
		return error_fail(err, -ESTALE, "is of another snapshot");
	return 0;
}

/* Compares the ranges with what the header and working_set.h say of them. */
static int check_ranges(const struct working_set *ws, const struct header *h, struct error *err)
{
	uint64_t pages = 0, end = 0;

	if (h->ranges_crc != state_crc(0, ws->ranges, h->ranges * sizeof(*ws->ranges)))
		return error_fail(err, -EINVAL, "is damaged: the checksum of its pages is wrong");
	for (uint64_t i = 0; i < ws->count; i++) {
		const struct ahead_range *r = &ws->ranges[i];

		if (r->at % PAGE || r->len % PAGE || !r->len || (i && r->at <= end) ||
		    r->at >= h->size || r->len > h->size - r->at)
			return error_fail(err, -EINVAL, "is damaged: its range %llu is wrong",
					  (unsigned long long)i);
		end = r->at + r->len;
		pages += r->len / PAGE;
	}
	if (pages != h->pages)
		return error_fail(err, -EINVAL, "is damaged: its pages are not as many as it says");
	return 0;
}

int working_set_read(struct working_set *ws, int fd, const uint8_t id[MEMORY_ID], uint64_t size,
		     struct error *err)
{
	struct header h;
	off_t len = lseek(fd, 0, SEEK_END);
	int ret;

	*ws = (struct working_set){.count = 0};
	if (len < 0)
		return error_errno(err, -errno, "cannot be looked at");
	ret = whole_read(fd, &h, sizeof(h), 0, err);
	if (ret == 0)
		ret = check_header(&h, (uint64_t)len, id, size, err);
	if (ret < 0)
		return ret;
	ws->count = h.ranges;
	ws->pages = h.pages;
	ws->ranges = malloc(h.ranges * sizeof(*ws->ranges) + 1);
	if (!ws->ranges)
		return error_fail(err, -ENOMEM, "out of memory");
	ret = whole_read(fd, ws->ranges, h.ranges * sizeof(*ws->ranges), sizeof(h), err);
	return ret < 0 ? ret : check_ranges(ws, &h, err);
}

/* -- writing ---------------------------------------------------------------------------------- */

int working_set_write(const struct working_set *ws, int fd, const uint8_t id[MEMORY_ID],
		      uint64_t size, struct error *err)
{
	const uint64_t bytes = ws->count * sizeof(*ws->ranges);
	struct header h = {.format = FORMAT, .size = size, .pages = ws->pages, .ranges = ws->count};
	int ret;

	memcpy(h.magic, magic, sizeof(magic));
	memcpy(h.id, id, sizeof(h.id));
	h.ranges_crc = state_crc(0, ws->ranges, bytes);
	h.crc = state_crc(0, &h, offsetof(struct header, crc));
	if (ftruncate(fd, 0) < 0)
		return error_errno(err, -errno, "writing the working set");
	ret = whole_write(fd, ws->ranges, bytes, sizeof(h), err);
	/* Last: a file that is cut off has none. */
	if (ret == 0)
		ret = whole_write(fd, &h, sizeof(h), 0, err);
	return ret < 0 ? error_prefix(err, ret, "the working set ") : 0;
}

/* -- taking ----------------------------------------------------------------------------------- */

#define PRESENT (UINT64_C(3) << 62) /* a page is in memory, or in swap space: see proc(5) */
#define ENTRIES 4096u		    /* of pagemap that are read at once */

/* Adds a page to @ws. @room: how many ranges there is room for. */
static int add_page(struct working_set *ws, uint64_t *room, uint64_t at, struct error *err)
{
	struct ahead_range *last = ws->count ? &ws->ranges[ws->count - 1] : NULL;

	if (last && last->at + last->len == at) {
		last->len += PAGE;
		ws->pages++;
		return 0;
	}
	/* A file with more ranges would not be read. */
	if (ws->count == RANGES_MAX)
		return 0;
	if (ws->count == *room) {
		uint64_t more = *room ? 2 * *room : 64;
		struct ahead_range *ranges = realloc(ws->ranges, more * sizeof(*ranges));

		if (!ranges)
			return error_fail(err, -ENOMEM, "out of memory");
		ws->ranges = ranges;
		*room = more;
	}
	ws->ranges[ws->count++] = (struct ahead_range){.at = at, .len = PAGE};
	ws->pages++;
	return 0;
}

static int take_region(struct working_set *ws, uint64_t *room, const struct memory_region *r,
		       int pagemap, struct error *err)
{
	uint64_t entries[ENTRIES] = {0}, first = (uintptr_t)r->host / PAGE;
	int ret = 0;

	for (uint64_t done = 0, n; done < r->size / PAGE && ret == 0; done += n) {
		n = r->size / PAGE - done < ENTRIES ? r->size / PAGE - done : ENTRIES;
		ret = whole_read(pagemap, entries, n * sizeof(*entries),
				 (first + done) * sizeof(*entries), err);
		if (ret < 0)
			return error_prefix(err, ret, "/proc/self/pagemap ");
		for (uint64_t i = 0; i < n && ret == 0; i++)
			if (entries[i] & PRESENT)
				ret = add_page(ws, room, r->at + (done + i) * PAGE, err);
	}
	return ret;
}

int working_set_take(struct working_set *ws, const struct memory *m, int pagemap, struct error *err)
{
	uint64_t room = 0;
	int ret = 0;

	*ws = (struct working_set){.count = 0};
	for (unsigned int i = 0; i < m->count && ret == 0; i++)
		ret = take_region(ws, &room, &m->regions[i], pagemap, err);
	return ret < 0 ? error_prefix(err, ret, "/proc/self/pagemap ") : 0;
}

/* -- mapping ---------------------------------------------------------------------------------- */

/* Maps what of @range is in region @r. */
static void map_part(const struct ahead_range *range, const struct memory_region *r)
{
	uint64_t from = range->at > r->at ? range->at : r->at;
	uint64_t to = range->at + range->len;

	if (to > r->at + r->size)
		to = r->at + r->size;
	if (from < to)
		(void)madvise(r->host + (from - r->at), to - from, MADV_POPULATE_READ);
}

void working_set_map(const struct working_set *ws, const struct memory *m)
{
	for (uint64_t i = 0; i < ws->count; i++)
		for (unsigned int k = 0; k < m->count; k++)
			map_part(&ws->ranges[i], &m->regions[k]);
}
