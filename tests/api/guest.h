/* SPDX-License-Identifier: Apache-2.0 */
/* The parts that the tests of the public API share: a VM with the probe guest in it. */
#ifndef TESTS_API_GUEST_H
#define TESTS_API_GUEST_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <catnap/catnap.h>

#include "../lib/usage.h"
#include "probe.h"
#include "probe_image.h"
#include "uring.h"

#define EXIT_PORT 0xf4
#define SKIP	  77

struct guest {
	struct catnap_vm *vm;
	volatile struct probe_shared *shared;
	char cmdline[256];
	char output[65536]; /* of the serial port; complete once the VM has ended */
	size_t used;
};

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline void guest_output(void *ctx, const void *data, size_t len)
{
	struct guest *g = ctx;

	if (len > sizeof(g->output) - 1 - g->used)
		len = sizeof(g->output) - 1 - g->used;
	memcpy(g->output + g->used, data, len);
	g->used += len;
}

/* A configuration for the probe with @workload on its command line; @g must outlive the VM. */
static inline void guest_config(struct guest *g, struct catnap_vm_config *cfg, const char *workload)
{
	memset(g, 0, sizeof(*g));
	snprintf(g->cmdline, sizeof(g->cmdline), "tsc_khz=%u exit=%d workload=%s",
		 catnap_host_tsc_khz(), EXIT_PORT, workload);
	catnap_vm_config_init(cfg);
	cfg->memory_size = UINT64_C(8) << 20;
	cfg->kernel_data = probe_image;
	cfg->kernel_size = probe_image_size;
	cfg->cmdline = g->cmdline;
	cfg->debug_exit_port = EXIT_PORT;
	cfg->serial_output = guest_output;
	cfg->serial_ctx = g;
}

/* 0 or what the library said. */
static inline int guest_create(struct guest *g, const struct catnap_vm_config *cfg)
{
	void *p = NULL;
	int ret = catnap_vm_create(cfg, &g->vm);

	if (ret < 0) {
		fprintf(stderr, "create: %s\n", catnap_vm_last_error(NULL));
		return ret;
	}
	ret = catnap_vm_guest_memory(g->vm, PROBE_SHARED_GPA, sizeof(*g->shared), &p);
	g->shared = p;
	return ret;
}

/* Waits until @word is at least @value; false after ten seconds. */
static inline bool guest_reaches(volatile uint32_t *word, uint32_t value)
{
	uint64_t begin = now_ns();

	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) < value) {
		if (now_ns() - begin > UINT64_C(10000000000))
			return false;
		usleep(50);
	}
	return true;
}

static inline int guest_event(struct guest *g)
{
	return catnap_vm_signal_msi(g->vm, 0xfee00000, PROBE_VECTOR_EVENT);
}

/* Asks an event or idle workload to end. */
static inline int guest_stop(struct guest *g)
{
	__atomic_store_n(&g->shared->stop, 1, __ATOMIC_RELEASE);
	return guest_event(g);
}

#endif
