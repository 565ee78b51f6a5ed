/* SPDX-License-Identifier: Apache-2.0 */
/* Parses and checks requests to a disk (virtio 1.2, section 5.2.6). A request with nothing to do is
 * refused or answered. */
#include "devices/virtio/blk_impl.h"
#include "relaxed.h"

/* Returns whether the range is within the image, and whole blocks of it: 5.2.4 has the driver keep
 * to blk_size. */
static bool in_image(const struct blk *blk, uint64_t sector, uint64_t sectors)
{
	uint64_t end = relaxed_load(&blk->image.sectors);
	uint32_t block = blk->image.logical / BLK_SECTOR;

	return sector <= end && sectors <= end - sector && (sector | sectors) % block == 0;
}

/* The functions that follow return true if there is something to do; else they have set the
 * result. */

static bool parse_transfer(struct blk_request *r, uint64_t sector, uint64_t len)
{
	if (len % BLK_SECTOR || !in_image(r->blk, sector, len / BLK_SECTOR) ||
	    (r->type == BLK_T_OUT && r->blk->readonly)) {
		r->result = BLK_S_IOERR;
		return false;
	}
	r->offset = sector * BLK_SECTOR;
	r->left = len;
	virtio_count(r->type == BLK_T_OUT ? &r->blk->dev.counters.written_bytes
					  : &r->blk->dev.counters.read_bytes,
		     len);
	return len != 0;
}

/* Checks a range. 5.2.6.2: which flags make it unsupported. */
static uint8_t check_range(const struct blk_request *r, const struct blk_range *range)
{
	uint32_t flags = r->type == BLK_T_WRITE_ZEROES ? BLK_SEGMENT_UNMAP : 0;
	uint32_t most = r->type == BLK_T_WRITE_ZEROES ? BLK_WRITE_ZEROES_MAX : BLK_DISCARD_MAX;

	if (range->flags & ~flags)
		return BLK_S_UNSUPP;
	return range->sectors > most || !in_image(r->blk, range->sector, range->sectors)
		       ? BLK_S_IOERR
		       : BLK_S_OK;
}

static bool parse_ranges(struct blk_request *r, uint64_t len)
{
	struct blk *blk = r->blk;

	r->result = BLK_S_UNSUPP;
	if (r->type == BLK_T_DISCARD && !(blk->dev.offered >> BLK_F_DISCARD & 1))
		return false;
	r->result = BLK_S_IOERR;
	if (blk->readonly || !len || len % sizeof(struct blk_range) || len > sizeof(r->ranges))
		return false;
	if (r->type == BLK_T_WRITE_ZEROES && len > sizeof(struct blk_range))
		return false;
	iov_read(r->iov, r->count, 0, r->ranges, len);
	r->ranges_count = (uint8_t)(len / sizeof(struct blk_range));
	r->range = 0;
	for (unsigned int i = 0; i < r->ranges_count; i++) {
		r->result = check_range(r, &r->ranges[i]);
		if (r->result != BLK_S_OK)
			return false;
	}
	return blk_request_next_range(r);
}

static void parse_flush(struct blk_request *r)
{
	struct blk_dirty *d = &r->blk->dirty;

	r->writes_out =
		!r->blk->image.in_memory && blk_dirty_begin(d, blk_flight_piece(&r->blk->flight));
}

bool blk_parse(struct blk_request *r, const struct vq_chain *c)
{
	uint32_t in_data = c->in_len - 1, out_data = c->out_len - sizeof(struct blk_header);
	struct blk_header h;

	iov_read(r->iov, c->out, 0, &h, sizeof(h));
	r->type = h.type;
	r->count = c->out;
	r->count = iov_skip(&r->iov, r->count, sizeof(h));
	if (h.type == BLK_T_IN || h.type == BLK_T_GET_ID) {
		r->iov = r->buffers + c->out;
		r->count = c->in;
		if (!--r->iov[c->in - 1].iov_len)
			r->count--; /* the status had a buffer of its own */
	}
	switch (h.type) {
	case BLK_T_IN:
		return parse_transfer(r, h.sector, in_data);
	case BLK_T_OUT:
		return parse_transfer(r, h.sector, out_data);
	case BLK_T_FLUSH:
		parse_flush(r);
		return true;
	case BLK_T_GET_ID:
		/* With no NUL behind it if it is as long as there is room. */
		iov_write(r->iov, r->count, 0, r->blk->id,
			  in_data < BLK_ID_MAX ? in_data : BLK_ID_MAX);
		return false;
	case BLK_T_DISCARD:
	case BLK_T_WRITE_ZEROES:
		return parse_ranges(r, out_data);
	default:
		r->result = BLK_S_UNSUPP;
		return false;
	}
}
