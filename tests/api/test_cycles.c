/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thousand VMs, made and destroyed at every stage of their lives, leave nothing behind: no file
 * descriptor, no thread, no memory. The first rounds are not counted: libraries keep what they have
 * once allocated.
 */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdlib.h>

#include "guest.h"

#define CYCLES	   1000
#define WARM_UP	   60
#define HEAP_SLACK (32 << 10) /* bytes in use: stdio, thread caches */
#define RSS_SLACK  (2048) /* KiB: the heap's fragments, stacks that are kept for the next thread */

struct usage {
	unsigned int fds, threads, maps;
	size_t heap; /* bytes in use */
	long rss_kb;
};

static struct usage measure(void)
{
	struct usage u = {.fds = descriptors(), .threads = entries("/proc/self/task")};
	char line[512];
	FILE *f;

	u.heap = mallinfo2().uordblks + mallinfo2().hblkhd;
	f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "VmRSS: %ld", &u.rss_kb);
	if (f)
		fclose(f);
	f = fopen("/proc/self/maps", "r");
	while (f && fgets(line, sizeof(line), f))
		u.maps++;
	if (f)
		fclose(f);
	return u;
}

/* -- the stages ------------------------------------------------------------------------------- */

static int created_only(struct guest *g, struct catnap_vm_config *cfg)
{
	return guest_create(g, cfg);
}

static int ended_by_itself(struct guest *g, struct catnap_vm_config *cfg)
{
	struct catnap_exit e = {.size = sizeof(e)};

	if (guest_create(g, cfg) < 0 || catnap_vm_start(g->vm) < 0 ||
	    catnap_vm_wait(g->vm, UINT64_C(10000000000), &e) < 0)
		return -1;
	return e.reason == CATNAP_EXIT_DEBUG && e.code == PROBE_EXIT_OK ? 0 : -1;
}

static int just_started(struct guest *g, struct catnap_vm_config *cfg)
{
	return guest_create(g, cfg) < 0 || catnap_vm_start(g->vm) < 0 ? -1 : 0;
}

static int halted(struct guest *g, struct catnap_vm_config *cfg)
{
	snprintf(g->cmdline, sizeof(g->cmdline), "workload=event");
	if (just_started(g, cfg) < 0 || !guest_reaches(&g->shared->halting, 1))
		return -1;
	return 0;
}

static int stopped(struct guest *g, struct catnap_vm_config *cfg)
{
	return halted(g, cfg) < 0 || catnap_vm_stop(g->vm) < 0 ? -1 : 0;
}

static int while_paused(struct guest *g, struct catnap_vm_config *cfg)
{
	return halted(g, cfg) < 0 || catnap_vm_pause(g->vm) < 0 ? -1 : 0;
}

static int several_vcpus(struct guest *g, struct catnap_vm_config *cfg)
{
	size_t used = strlen(g->cmdline);

	snprintf(g->cmdline + used, sizeof(g->cmdline) - used, " samples=3 gap_ns=0 workload=ipi");
	cfg->vcpus = 2;
	return ended_by_itself(g, cfg);
}

static int kernel_irqchip(struct guest *g, struct catnap_vm_config *cfg)
{
	cfg->irqchip = CATNAP_IRQCHIP_KERNEL;
	return ended_by_itself(g, cfg);
}

/* Each fails at another step of the creation; none may leave a VM. */
static int refused(struct guest *g, struct catnap_vm_config *cfg)
{
	static unsigned int turn;

	switch (turn++ % 7) {
	case 0:
		cfg->vcpus = 0;
		break;
	case 1:
		cfg->memory_size = UINT64_C(1) << 45; /* after KVM was opened */
		break;
	case 2:
		cfg->debug_exit_port = 0x3f8; /* after memory */
		break;
	case 3:
		cfg->kernel_size = 200; /* after the vCPUs */
		break;
	case 4:
		cfg->kernel_data = NULL;
		cfg->kernel_path = "/nonexistent";
		break;
	case 5:
		cfg->kernel_data = NULL;
		cfg->kernel_path = "/proc/self/exe"; /* opened and read, and not an image for us */
		cfg->vcpus = 3;
		break;
	case 6:
		cfg->kernel_data = NULL;
		cfg->kernel_path = "/";
		cfg->irqchip = CATNAP_IRQCHIP_KERNEL;
		break;
	}
	return catnap_vm_create(cfg, &g->vm) < 0 && !g->vm ? 0 : -1;
}

static const struct {
	const char *name;
	int (*run)(struct guest *g, struct catnap_vm_config *cfg);
} stages[] = {
	{"created", created_only},	{"ended by itself", ended_by_itself},
	{"just started", just_started}, {"halted", halted},
	{"stopped", stopped},		{"paused", while_paused},
	{"two vCPUs", several_vcpus},	{"irqchip kernel", kernel_irqchip},
	{"refused", refused},		{"ended by itself", ended_by_itself},
};

#define STAGES (sizeof(stages) / sizeof(stages[0]))

static int cycle(struct guest *g, unsigned int i)
{
	struct catnap_vm_config cfg;
	int ret;

	guest_config(g, &cfg, "start");
	ret = stages[i % STAGES].run(g, &cfg);
	if (ret < 0)
		fprintf(stderr, "test_cycles: cycle %u (%s) went wrong: %s %s%s\n", i,
			stages[i % STAGES].name, catnap_vm_last_error(g->vm), g->output,
			strerror(errno));
	catnap_vm_destroy(&g->vm);
	return ret;
}

int main(int argc, char **argv)
{
	unsigned int cycles = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : CYCLES;
	struct usage before, after;
	uint64_t begin = now_ns();
	struct guest *g;
	bool sanitized = false;
	int bad = 0;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	sanitized = true; /* shadow memory and quarantines grow by design */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
	sanitized = true;
#endif
#endif
	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		fprintf(stderr, "/dev/kvm: %s: skipped\n", strerror(errno));
		return SKIP;
	}
	g = malloc(sizeof(*g));
	if (!g)
		return 1;
	for (unsigned int i = 0; i < WARM_UP; i++)
		if (cycle(g, i) < 0)
			return 1;
	before = measure();
	for (unsigned int i = 0; i < cycles; i++)
		if (cycle(g, i) < 0)
			return 1;
	after = measure();
	printf("%u VMs in %.1f s: fds %u -> %u, threads %u -> %u, mappings %u -> %u, heap %zu -> "
	       "%zu "
	       "bytes, RSS %ld -> %ld KiB\n",
	       cycles, (double)(now_ns() - begin) / 1e9, before.fds, after.fds, before.threads,
	       after.threads, before.maps, after.maps, before.heap, after.heap, before.rss_kb,
	       after.rss_kb);
	bad += after.fds > before.fds || after.threads > before.threads;
	if (!sanitized)
		bad += after.maps > before.maps + 8 || after.heap > before.heap + HEAP_SLACK ||
		       after.rss_kb > before.rss_kb + RSS_SLACK;
	free(g);
	if (bad)
		fprintf(stderr, "test_cycles: something was left behind\n");
	return bad ? 1 : 0;
}
