/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a device reaches guest memory: through this one call, which checks. What it returns is shared
 * with a guest that writes to it at any moment: a value is copied out once, then checked, then
 * used.
 */
#ifndef DEVICES_DMA_H
#define DEVICES_DMA_H

#include <stdint.h>

struct dma {
	/* A host pointer to [gpa, gpa + len); NULL unless all of it is memory, or if len is 0. */
	void *(*at)(void *ctx, uint64_t gpa, uint64_t len);
	void *ctx;
};

static inline void *dma_at(const struct dma *dma, uint64_t gpa, uint64_t len)
{
	return dma->at(dma->ctx, gpa, len);
}

#endif
