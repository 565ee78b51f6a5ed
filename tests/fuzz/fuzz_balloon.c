/* SPDX-License-Identifier: Apache-2.0 */
/* The balloon. Every range that it releases is whole pages of guest memory. */
#include "devices/virtio/balloon.h"
#include "fuzz_vdev.h"

static void release(void *ctx, void *host, uint64_t len)
{
	const struct guest *g = ctx;
	uint8_t *at = host;

	check(len && len % BALLOON_PAGE == 0 && (uintptr_t)at % BALLOON_PAGE == 0);
	check(at >= g->mem && len <= g->size && at - g->mem <= (ptrdiff_t)(g->size - len));
}

static void from_host(struct fuzz *f, void *ctx)
{
	struct balloon_state s;
	uint8_t what = fuzz_u8(f);

	if (what & 1)
		check(balloon_set_target(ctx, what * (uint64_t)BALLOON_PAGE) == 0);
	else
		balloon_get_state(ctx, &s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct balloon_config cfg = {.release = release, .deflate_on_oom = true};
	struct balloon *b;
	struct fuzz f = {.data = data,
			 .size = size,
			 .v = fuzz_vdev(),
			 .features = 0x2e,
			 .queues = 5,
			 .host = from_host};

	cfg.dma = &f.v->g.dma;
	cfg.release_ctx = &f.v->g;
	check(balloon_create(&cfg, &b) == 0);
	f.ctx = b;
	vdev_use(f.v, balloon_device(b));
	balloon_attach(b, &f.v->home);
	fuzz_run(&f);
	vdev_again(f.v);
	balloon_destroy(&b);
	return 0;
}
