/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A verifying disk load, as a function of a seed: the writer in the guest and the checker on the
 * host compute the same operations, and so need no log of them.
 *
 * A disk is cut into regions, one per worker. A worker does its operations one after the other,
 * from number 1 on. Each sector that it writes says which sector of which disk it is and which
 * operation wrote it, has a checksum, and is filled with what follows from these; so a stale, a
 * misplaced and a torn sector are told apart.
 *
 * No library is needed: the smallest guests have none. Data are in words, so aligned to 8 bytes.
 */
#ifndef DISK_STREAM_H
#define DISK_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#define SECTOR	     512u
#define SECTOR_WORDS (SECTOR / 8)
#define OP_SECTORS   64u /* the longest operation that there can be; a multiple of 8 */
#define WORKERS_MAX  16u
#define REGION_MIN   1024u /* sectors */

enum op_type { OP_WRITE, OP_READ, OP_FLUSH, OP_DISCARD, OP_ZERO };

struct stream {
	uint64_t seed;
	uint32_t worker;
	bool buffered;	  /* through the guest's page cache: operations begin and end at 4 KiB */
	uint64_t first;	  /* of the region, on the disk; a multiple of 8 */
	uint64_t sectors; /* of the region; a multiple of 8 */
	uint32_t longest; /* operation, in sectors; a multiple of 8 */
};

struct op {
	enum op_type type;
	uint64_t sector; /* on the disk */
	uint32_t count;	 /* of sectors; 0 for a flush */
};

/* On the disk, little-endian; the rest of the sector follows from it. */
struct sector_head {
	uint64_t magic;
	uint64_t seed;
	uint64_t sector;
	uint64_t seq; /* the operation that wrote it */
	uint64_t worker;
	uint64_t sum; /* of the sector, with this field 0 */
};

_Static_assert(sizeof(struct sector_head) == 48, "it is on disks");

/* The knowledge about a sector: one entry for each of a region. All zero at the beginning. */
struct known {
	uint64_t seq;	 /* the last write, 0: zeroes */
	bool maybe_zero; /* discarded since: zeroes, or still that write */
};

/* Worker @worker of @workers on a disk of @sectors, with operations of @longest sectors at most;
 * false: the disk is too small for so many, or @longest no multiple of 8 up to OP_SECTORS. */
bool stream_init(struct stream *s, uint64_t seed, uint32_t worker, uint32_t workers,
		 uint64_t sectors, uint32_t longest);

/* Operation number @seq, from 1 on. */
struct op stream_op(const struct stream *s, uint64_t seq);

/* Fills @data with what operation @seq writes to @sector. */
void stream_fill(const struct stream *s, uint64_t sector, uint64_t seq, uint64_t *data);

/* Changes the knowledge about a region once operation @seq has been done. */
void stream_apply(const struct stream *s, struct known *region, uint64_t seq);

/* A sector of the disk, held against what is known: NULL, or what is wrong with it. Writes whose
 * number is above @later may be there in the place of what is known. @seq: the write that is there,
 * 0: none. */
const char *stream_compare(const struct stream *s, const struct known *region, uint64_t sector,
			   const uint64_t *data, uint64_t later, uint64_t *seq);

#endif
