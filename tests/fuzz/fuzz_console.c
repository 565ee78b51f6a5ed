/* SPDX-License-Identifier: Apache-2.0 */
/* The console device. Its output is read, so that the sanitizer sees where it lies. */
#include "devices/virtio/console.h"
#include "fuzz_vdev.h"

static void output(void *ctx, const void *data, size_t len)
{
	volatile uint8_t sum = 0;

	check(len > 0);
	for (size_t i = 0; i < len; i += i + 64 < len ? 64 : 1)
		sum = (uint8_t)(sum + ((const uint8_t *)data)[i]);
}

static void from_host(struct fuzz *f, void *ctx)
{
	static const uint8_t typed[5000];
	uint8_t what = fuzz_u8(f);

	if (what & 1)
		console_resize(ctx, what, fuzz_u8(f));
	else
		check(console_input(ctx, typed, what * 20u) <= CONSOLE_INPUT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct console_config cfg = {.output = output, .cols = 80, .rows = 25};
	struct console *c;
	struct fuzz f = {.data = data,
			 .size = size,
			 .v = fuzz_vdev(),
			 .features = 5,
			 .queues = 2,
			 .host = from_host};

	cfg.dma = &f.v->g.dma;
	check(console_create(&cfg, &c) == 0);
	f.ctx = c;
	vdev_use(f.v, console_device(c));
	console_attach(c, &f.v->home);
	fuzz_run(&f);
	vdev_again(f.v);
	console_destroy(&c);
	return 0;
}
