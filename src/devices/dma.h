/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device's way to guest memory: this one call, which checks. The memory is shared with a guest
 * that writes to it at any moment. So a value is copied out once, then checked, then used. What is
 * written by this way, or will be before the device stands still, is told by dma_wrote().
 */
#ifndef DEVICES_DMA_H
#define DEVICES_DMA_H

#include <stdbool.h>
#include <stdint.h>

struct dma {
	/* A host pointer to [gpa, gpa + len); NULL unless all of it is memory, or if len is 0. */
	void *(*at)(void *ctx, uint64_t gpa, uint64_t len);
	void *ctx;
	/* [gpa, gpa + len), which at() has found, is another than before. NULL: nobody keeps account
	 * of that. Any thread. */
	void (*wrote)(void *ctx, uint64_t gpa, uint64_t len);
	/* Returns whether some of memory is all zeroes since it could not be had, so that it is not
	 * to be written to a disk. NULL: it never is. Any thread. */
	bool (*lost)(void *ctx);
};

static inline void *dma_at(const struct dma *dma, uint64_t gpa, uint64_t len)
{
	return dma->at(dma->ctx, gpa, len);
}

static inline void dma_wrote(const struct dma *dma, uint64_t gpa, uint64_t len)
{
	if (dma->wrote)
		dma->wrote(dma->ctx, gpa, len);
}

static inline bool dma_lost(const struct dma *dma)
{
	return dma->lost && dma->lost(dma->ctx);
}

#endif
