/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures what a disk's token buckets let through, beside what was asked for: bytes with a
 * one-time burst, operations with a one-time burst, and each after a change while the guest runs.
 * The guest (tests/guest/blk.c) reads and writes blocks of 4 KiB, four at a time, as fast as it
 * can. A bucket lets through its one-time burst, and from then on, over a time t, its size and t *
 * size / refill time. Prints what came, what was to come, and how far apart they are; neither
 * passes nor fails. Where the guest cannot do as much as is asked for, divide the rates.
 *
 * Usage: bench_limit GUEST [SECONDS [DIVISOR]]     10 s, rates as they are
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <catnap/catnap.h>

#define MIB UINT64_C(1048576)
#define MS  UINT64_C(1000000)

static double seconds = 10;
static uint64_t divisor = 1;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void die(const char *what, struct catnap_vm *vm)
{
	fprintf(stderr, "bench_limit: %s: %s\n", what, catnap_vm_last_error(vm));
	exit(1);
}

static uint64_t done(struct catnap_vm *vm, int ops)
{
	struct catnap_device_stats s = {.size = sizeof(s)};

	if (catnap_vm_get_device_stats(vm, 0, &s) < 0)
		die("statistics", vm);
	return ops ? s.requests : s.read_bytes + s.written_bytes;
}

/* From @from, when it was @begin, on. */
static void measure(struct catnap_vm *vm, const char *what, const struct catnap_rate_limit *l,
		    int ops, uint64_t from, double begin)
{
	const struct catnap_bucket *b = ops ? &l->ops : &l->bw;
	double t, came, due, filling;

	/* While there is something of the one-time burst, the bucket is full. */
	while (done(vm, ops) - from < b->one_time_burst && now() < begin + seconds)
		usleep(500);
	filling = now();
	while (now() < begin + seconds)
		usleep(1000);
	came = (double)(done(vm, ops) - from);
	t = now() - begin;
	due = (double)b->one_time_burst + (double)b->size +
	      (now() - filling) * 1e9 * (double)b->size / (double)b->refill_ns;
	printf("%-28s %8.2f s %14.0f %14.0f %+8.2f %%\n", what, t, came, due,
	       100 * (came / due - 1));
	fflush(stdout);
}

static struct catnap_bucket bucket(uint64_t a_second, uint64_t refill_ns, uint64_t once)
{
	return (struct catnap_bucket){.refill_ns = refill_ns,
				      .size = a_second / divisor * refill_ns / 1000000000,
				      .one_time_burst = once / divisor};
}

static void run(const char *guest, const char *image, int ops)
{
	struct catnap_rate_limit first = {.bw = {.size = 0}}, second = first;
	struct catnap_vm_config cfg;
	struct catnap_disk disk;
	struct catnap_vm *vm;
	uint64_t from;
	double begin;

	if (ops) {
		first.ops = bucket(4000, 100 * MS, 8000);
		second.ops = bucket(1000, 50 * MS, 2000);
	} else {
		first.bw = bucket(16 * MIB, 100 * MS, 32 * MIB);
		second.bw = bucket(24 * MIB, 200 * MS, 16 * MIB);
	}
	catnap_vm_config_init(&cfg);
	cfg.memory_size = 16 * MIB;
	cfg.kernel_path = guest;
	cfg.cmdline = "how=hlt rounds=1000000000";
	cfg.transport = CATNAP_TRANSPORT_MMIO;
	cfg.debug_exit_port = 0xf4;
	if (catnap_vm_create(&cfg, &vm) < 0)
		die("create", NULL);
	catnap_disk_init(&disk);
	disk.path = image;
	disk.limit = first;
	if (catnap_vm_add_disk(vm, &disk) < 0)
		die("disk", vm);
	if (catnap_vm_start(vm) < 0)
		die("start", vm);
	while (!done(vm, ops))
		usleep(500);
	begin = now();
	measure(vm, ops ? "operations" : "bytes", &first, ops, 0, begin);
	/* The new bucket is full, whatever the old one has left. */
	from = done(vm, ops);
	begin = now();
	if (catnap_vm_set_disk_limit(vm, 0, &second) < 0)
		die("limit", vm);
	measure(vm, ops ? "operations, changed" : "bytes, changed", &second, ops, from, begin);
	catnap_vm_destroy(&vm);
}

int main(int argc, char **argv)
{
	char image[] = "/tmp/bench_limit.XXXXXX";
	int fd;

	if (argc > 2)
		seconds = atof(argv[2]);
	if (argc > 3)
		divisor = strtoull(argv[3], NULL, 10);
	if (argc < 2 || argc > 4 || !(seconds > 0) || !divisor || divisor > 100) {
		fprintf(stderr, "Usage: bench_limit GUEST [SECONDS [DIVISOR]]\n");
		return 2;
	}
	fd = mkstemp(image);
	if (fd < 0 || ftruncate(fd, (off_t)MIB) < 0) {
		perror("bench_limit");
		return 1;
	}
	printf("%-28s %10s %14s %14s %10s\n", "limit", "time", "came", "was to come", "apart");
	run(argv[1], image, 0);
	run(argv[1], image, 1);
	close(fd);
	unlink(image);
	return 0;
}
