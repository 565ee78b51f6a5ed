/* SPDX-License-Identifier: Apache-2.0 */
/* Persistent memory, with a limit and without. What is offered to it never reaches its file. */
#include <sys/mman.h>
#include <unistd.h>

#include "devices/virtio/pmem.h"
#include "fuzz_vdev.h"

#define BYTES (2 << 20)

static void from_host(struct fuzz *f, void *ctx)
{
	const struct rate_limits limits = fuzz_limits(fuzz_u8(f));

	check(pmem_set_limits(f->v->dev, &limits) == 0);
}

/* Made once, of a file system where a flush takes its time. */
static int file(void)
{
	static int fd = -1;
	char path[] = "/var/tmp/fuzz-pmem-XXXXXX";

	if (fd >= 0)
		return fd;
	fd = mkstemp(path);
	check(fd >= 0 && unlink(path) == 0 && ftruncate(fd, BYTES) == 0);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {
		.data = data, .size = size, .v = fuzz_vdev(), .queues = 1, .host = from_host};
	struct pmem_config cfg = {.path = "a descriptor", .given = true, .fd = file()};
	struct virtio_device *dev;
	struct error err;
	uint64_t bytes;

	cfg.readonly = fuzz_u8(&f) & 1;
	check(pmem_create(&cfg, &f.v->g.dma, &dev, &err) == 0);
	pmem_place(dev, UINT64_C(1) << 32, BYTES);
	dev->home = &f.v->home;
	vdev_use(f.v, dev);
	check(throttle_attach(dev->throttles[0], &f.v->home) == 0);
	fuzz_run(&f);
	check(pmem_file(dev, &bytes) >= 0 && bytes == BYTES);
	throttle_detach(dev->throttles[0]);
	vdev_again(f.v);
	pmem_destroy(dev);
	return 0;
}
