/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is plugged. What is given back is whole blocks of the region, and what is plugged is
 * never more than the region. */
#include "devices/virtio/mem.h"
#include "fuzz_vdev.h"

#define BLOCKS 90u

static void release(void *ctx, uint64_t offset, uint64_t len)
{
	const uint64_t size = BLOCKS * MEM_BLOCK_LEAST;

	check(len && (offset | len) % MEM_BLOCK_LEAST == 0);
	check(len <= size && offset <= size - len);
}

/* A request that may be right, in the guest's memory, and an answer beside it. */
static void offer(struct fuzz *f)
{
	const uint64_t at = GUEST_BASE + FUZZ_MEMORY - 64;
	uint8_t kind = fuzz_u8(f);
	uint64_t addr = fuzz_u8(f) % (BLOCKS + 2) * MEM_BLOCK_LEAST + (kind & 0x40);
	uint16_t type = kind % 5, blocks = fuzz_u8(f) % 32;
	uint8_t *request = guest_ptr(&f->v->g, at);

	if (!f->v->q[0].size || f->reset)
		return;
	memcpy(request, &type, 2);
	memcpy(request + 8, &addr, 8);
	memcpy(request + 16, &blocks, 2);
	vdev_offer(f->v, 0, (uint64_t[]){at, at + 32}, (uint32_t[]){24, 10}, 2, 1);
	virtio_kick(f->v->dev, 0);
}

static void from_host(struct fuzz *f, void *ctx)
{
	struct mem_state s;
	uint8_t what = fuzz_u8(f);

	if (what & 1)
		check(mem_request(f->v->dev, what % (BLOCKS + 1) * MEM_BLOCK_LEAST) == 0);
	else
		offer(f);
	mem_get_state(f->v->dev, &s);
	check(s.plugged <= s.size && s.plugged % s.block == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {.data = data,
			 .size = size,
			 .v = fuzz_vdev(),
			 .features = 2,
			 .queues = 1,
			 .host = from_host};
	const struct mem_config cfg = {.size = BLOCKS * MEM_BLOCK_LEAST,
				       .block = MEM_BLOCK_LEAST,
				       .requested = 40 * MEM_BLOCK_LEAST,
				       .release = release,
				       .dma = &f.v->g.dma};
	struct virtio_device *dev;

	check(mem_create(&cfg, &dev) == 0);
	dev->home = &f.v->home;
	vdev_use(f.v, dev);
	fuzz_run(&f);
	vdev_again(f.v);
	mem_restart(dev);
	mem_destroy(dev);
	return 0;
}
