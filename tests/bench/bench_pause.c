/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a pause of a VM takes whose vCPUs all compute, and how long it holds up who asks for it:
 * catnap_vm_pause() waits, catnap_vm_request_pause() does not, and a descriptor tells. Runs of both
 * alternate. The guest (the probe's workload "compute") counts in user mode on each vCPU. Prints
 * the median, the 99th percentile and the greatest; neither passes nor fails.
 *
 * Usage: bench_pause PROBE [VCPUS [SAMPLES]]	16 vCPUs, 200 pauses of each kind
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <catnap/catnap.h>

#define MOST 10000
#define ECAM 0xE0000000u

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "bench_pause: %s\n", what);
	exit(1);
}

static void check(int ret)
{
	if (ret < 0)
		die(catnap_vm_last_error(NULL));
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void report(const char *what, uint64_t *ns, unsigned int n)
{
	qsort(ns, n, sizeof(*ns), compare);
	printf("%-46s %9.1f %9.1f %9.1f\n", what, (double)ns[n / 2] / 1000,
	       (double)ns[n * 99 / 100] / 1000, (double)ns[n - 1] / 1000);
}

static struct catnap_vm *start(const char *probe, uint32_t vcpus)
{
	struct catnap_vm_config cfg;
	struct catnap_disk disk;
	struct catnap_vm *vm;
	char cmdline[128];
	int image = memfd_create("disk", MFD_CLOEXEC);

	if (image < 0 || ftruncate(image, 1 << 20) < 0)
		die(strerror(errno));
	snprintf(cmdline, sizeof(cmdline),
		 "workload=compute disk=1 cpus=%u tsc_khz=2000000 ecam=%u", vcpus, ECAM);
	catnap_vm_config_init(&cfg);
	cfg.kernel_path = probe;
	cfg.cmdline = cmdline;
	cfg.vcpus = vcpus;
	cfg.memory_size = UINT64_C(64) << 20;
	check(catnap_vm_create(&cfg, &vm));
	catnap_disk_init(&disk);
	disk.fd = image;
	check(catnap_vm_add_disk(vm, &disk));
	close(image);
	check(catnap_vm_start(vm));
	return vm;
}

int main(int argc, char **argv)
{
	static uint64_t waited[MOST], asked[MOST], until[MOST];
	uint32_t vcpus = argc > 2 ? (uint32_t)atoi(argv[2]) : 16;
	unsigned int n = argc > 3 ? (unsigned int)atoi(argv[3]) : 200;
	struct pollfd p = {.events = POLLIN};
	struct catnap_vm *vm;

	if (argc < 2 || argc > 4 || vcpus < 1 || n < 1 || n > MOST)
		die("Usage: bench_pause PROBE [VCPUS [SAMPLES]]");
	vm = start(argv[1], vcpus);
	p.fd = catnap_vm_get_paused_fd(vm);
	sleep(3); /* until all compute */
	for (unsigned int i = 0; i < n; i++) {
		uint64_t begin = now_ns();

		check(catnap_vm_pause(vm));
		waited[i] = now_ns() - begin;
		check(catnap_vm_resume(vm));
		usleep(20000);
		begin = now_ns();
		check(catnap_vm_request_pause(vm));
		asked[i] = now_ns() - begin;
		if (poll(&p, 1, 10000) != 1)
			die("no pause within 10 s");
		until[i] = now_ns() - begin;
		check(catnap_vm_resume(vm));
		usleep(20000);
	}
	printf("%u vCPUs, us:%*s p50       p99       max\n", vcpus, 37, "");
	report("catnap_vm_pause(), which waits", waited, n);
	report("catnap_vm_request_pause() returns", asked, n);
	report("catnap_vm_request_pause() until it is readable", until, n);
	return catnap_vm_destroy(&vm) < 0;
}
