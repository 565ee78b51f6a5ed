/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is a list of what a guest does to a small disk: requests whose every field it chooses,
 * writes anywhere in its memory, kicks, resets, configuration. Without a ring each request is done
 * within its kick, or, with a rate limit, within one that comes when there is something to be had.
 * Beside what the sanitizers see: nothing stays in flight, a status is one of the
 * three, the image keeps its size, a read-only one its contents, and nothing but whole blocks is
 * read or written.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "fuzz_limits.h"
#include "../unit/home.h"
#include "../unit/virtio_fixture.h"
#include "devices/virtio/blk.h"

#define MEMORY 0x8000
#define QUEUE  16
#define IMAGE  32768
#define HEADER (GUEST_BASE + 0x1000)
#define STATUS (GUEST_BASE + 0x1100)
#define DATA   (GUEST_BASE + 0x2000)

struct state {
	struct guest g;
	struct driver d;
	struct virtio_device *dev;
	struct fake_transport t;
	const uint8_t *data;
	size_t size;
	int fd;
	bool readonly, limited;
	uint32_t block;		    /* bytes */
	struct catnap_halter *home; /* of the rate limit alone: its timer */
};

static uint8_t byte(struct state *s)
{
	return (uint8_t)fuzz_take(&s->data, &s->size, 1);
}

static uint32_t word(struct state *s)
{
	return (uint32_t)fuzz_take(&s->data, &s->size, 2);
}

static void start(struct state *s)
{
	uint64_t features = s->dev->offered & (FEATURE(32) | FEATURE(28) | FEATURE(29) | 0x7e64u);

	if (byte(s) & 1)
		features = FEATURE(32);
	check(driver_negotiate(s->dev, features));
	driver_init(&s->d, &s->g, GUEST_BASE, QUEUE);
	driver_enable(s->dev, 0, &s->d);
	driver_ok(s->dev);
	check(virtio_status(s->dev) == 15);
}

/* One that may be right, or nearly. */
static void request(struct state *s)
{
	static const uint32_t types[] = {0, 1, 4, 8, 11, 13};
	uint8_t kind = byte(s);
	uint32_t type = kind & 0x80 ? word(s) : types[kind % 6], n = byte(s) % 5;
	uint64_t sector = kind & 0x40 ? ~(uint64_t)word(s) : byte(s);
	bool broken = virtio_status(s->dev) & VIRTIO_STATUS_NEEDS_RESET,
	     in = type == 0 || type == 8;
	uint8_t *h = guest_ptr(&s->g, HEADER), *status = guest_ptr(&s->g, STATUS);
	uint32_t id, len;
	uint16_t i;

	memcpy(h, &type, 4);
	memcpy(h + 8, &sector, 8);
	*status = 0xee;
	driver_desc(&s->d, 0, HEADER, 16, F_NEXT, 1);
	for (i = 1; i <= n; i++)
		driver_desc(&s->d, i, DATA + word(s) % 0x3000, 1 + word(s) % 0x1000,
			    (uint16_t)(F_NEXT | (in ? F_WRITE : 0)), (uint16_t)(i + 1));
	driver_desc(&s->d, i, STATUS, 1, F_WRITE, 0);
	driver_offer(&s->d, 0);
	virtio_kick(s->dev, 0);
	check(atomic_load(&s->dev->inflight) == 0);
	if (!broken && !(virtio_status(s->dev) & VIRTIO_STATUS_NEEDS_RESET)) {
		check(*status <= 2 || (s->limited && *status == 0xee));
		/* With a limit it may be another one's that had to wait. */
		if (*status == 0 && type <= 1 && !s->limited)
			check(sector % (s->block / 512) == 0);
		while (driver_used(&s->d, &id, &len))
			check(id < QUEUE);
	}
}

static void scribble(struct state *s)
{
	uint64_t at = word(s) % MEMORY;
	uint8_t len = byte(s) & 63;

	for (unsigned int i = 0; i < len && at + i < MEMORY; i++)
		s->g.mem[at + i] = byte(s);
}

static void check_image(struct state *s)
{
	static uint8_t all[IMAGE];
	struct stat st;

	check(fstat(s->fd, &st) == 0 && st.st_size == IMAGE);
	if (!s->readonly)
		return;
	check(pread(s->fd, all, IMAGE, 0) == IMAGE);
	for (unsigned int i = 0; i < IMAGE; i++)
		check(all[i] == (uint8_t)(i * 13));
}

/* Made once, as for all fuzzers. */
static struct catnap_halter *make_home(void)
{
	static struct catnap_halter home;
	static bool made;

	if (!made)
		home_init(&home);
	made = true;
	return &home;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t pattern[IMAGE];
	struct blk_config cfg = {.queues = 1, .id = "fuzz"};
	char path[40];
	struct error err;
	struct state s;
	uint8_t first;

	memset(&s, 0, sizeof(s));
	s.data = data;
	s.size = size;
	s.fd = memfd_create("fuzz", MFD_CLOEXEC);
	for (unsigned int i = 0; i < IMAGE; i++)
		pattern[i] = (uint8_t)(i * 13);
	check(s.fd >= 0 && pwrite(s.fd, pattern, IMAGE, 0) == IMAGE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", s.fd);
	cfg.path = path;
	first = byte(&s);
	cfg.readonly = s.readonly = first & 1;
	cfg.block_size = first & 2 ? 4096 : 0;
	s.block = first & 2 ? 4096 : 512;
	cfg.limits = fuzz_limits(byte(&s));
	s.limited = rate_limits_any(&cfg.limits);
	s.home = make_home();
	guest_init(&s.g, MEMORY);
	check(blk_create(&cfg, &s.g.dma, &s.dev, &err) == 0);
	s.dev->transport_ops = &fake_transport_ops;
	s.dev->transport = &s.t;
	check(throttle_attach(s.dev->throttles[0], s.home) == 0);
	start(&s);
	while (s.size) {
		uint8_t b[8] = {0};

		switch (byte(&s) & 7) {
		case 0:
			start(&s);
			break;
		case 1:
			scribble(&s);
			break;
		case 2:
			driver_offer(&s.d, word(&s) & 31);
			break;
		case 3:
			virtio_kick(s.dev, byte(&s) & 3);
			break;
		case 4:
			b[0] = byte(&s);
			virtio_config_write(s.dev, byte(&s) & 63, b, 1u << (byte(&s) & 3));
			virtio_config_read(s.dev, byte(&s), b, 8);
			break;
		default:
			request(&s);
			break;
		}
		if (s.limited)
			home_turn(s.home); /* the timer may have fired, and a kick come of it */
		check(atomic_load(&s.dev->inflight) == 0);
	}
	check_image(&s);
	virtio_set_status(s.dev, 0);
	throttle_detach(s.dev->throttles[0]);
	for (int i = 0; i < 3; i++) /* what is still posted, and a timer that has gone */
		home_turn(s.home);
	blk_destroy(s.dev);
	guest_fini(&s.g);
	close(s.fd);
	return 0;
}
