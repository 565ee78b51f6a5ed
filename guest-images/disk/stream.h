/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a verifying disk load does, as a function of a seed: the writer in the guest and the checker
 * on the host compute the same operations, and so need no log of them.
 *
 * A disk is cut into regions, one per worker. A worker does its operations one after the other,
 * from number 1 on. Each sector that it writes says which sector of which disk it is and which
 * operation wrote it, has a checksum, and is filled with what follows from these; so a stale, a
 * misplaced and a torn sector are told apart.
 */
#ifndef DISK_STREAM_H
#define DISK_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#define SECTOR	    512u
#define OP_SECTORS  64u /* the longest operation */
#define WORKERS_MAX 16u
#define REGION_MIN  1024u /* sectors */

enum op_type { OP_WRITE, OP_READ, OP_FLUSH, OP_DISCARD, OP_ZERO };

struct stream {
	uint64_t seed;
	uint32_t worker;
	bool buffered;	  /* through the guest's page cache: operations begin and end at 4 KiB */
	uint64_t first;	  /* of the region, on the disk; a multiple of 8 */
	uint64_t sectors; /* of the region; a multiple of 8 */
};

struct op {
	enum op_type type;
	uint64_t sector; /* on the disk */
	uint32_t count;	 /* of sectors */
};

/* On the disk, little-endian; the rest of the sector follows from it. */
struct sector_head {
	uint64_t magic;
	uint64_t seed;
	uint64_t sector;
	uint64_t seq; /* the operation that wrote it */
	uint32_t worker;
	uint32_t crc; /* of the sector, with this field 0 */
};

_Static_assert(sizeof(struct sector_head) == 40, "it is on disks");

/* Worker @worker of @workers on a disk of @sectors; false: the disk is too small for so many. */
bool stream_init(struct stream *s, uint64_t seed, uint32_t worker, uint32_t workers,
		 uint64_t sectors);

/* Operation number @seq, from 1 on. */
struct op stream_op(const struct stream *s, uint64_t seq);

/* What operation @seq writes to @sector. */
void stream_fill(const struct stream *s, uint64_t sector, uint64_t seq, void *data);

enum sector_kind { SECTOR_ZERO, SECTOR_WRITTEN, SECTOR_FOREIGN };

/* What a sector of the disk is; @seq: the operation that wrote it, if it is SECTOR_WRITTEN, and
 * then that operation does write this sector, and every byte is as it should be. */
enum sector_kind stream_look(const struct stream *s, uint64_t sector, const void *data,
			     uint64_t *seq);

#endif
