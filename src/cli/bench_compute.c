/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload compute: how long a completion waits for the interrupt's handler in a guest that
 * computes in user mode on all its vCPUs, so that nothing but the completion itself ends KVM_RUN.
 * Events come from this thread; each begins a read of the disk.
 *
 * event: an eventfd is the interrupt's, and what completes is a write to it. Its writer takes the
 * time just before, the guest's handler in its first instruction, each by its own TSC; so the
 * difference of the two clocks has to be known. The handler then stores a word: whoever has seen
 * that knows that the guest's time was earlier than his own is. The least that the difference can
 * be by all that was seen is taken for it, which makes all delays rather too long.
 *
 * read: from the doorbell to the handler. When the disk was done only the kernel knows, so the
 * disk's own time is in it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench.h"
#include "cli/bench_guest.h"
#include "probe_image.h"

#define ECAM	    UINT64_C(0xe0000000)
#define MSI_ADDRESS UINT64_C(0xfee00000)
#define NAP_NS	    50000

struct computing {
	struct guest guest;
	const uint64_t *events, *reads; /* the guest's */
	const uint64_t *progress;
	int fd;
	int64_t offset; /* guest's TSC less the host's, at least */
};

static void nap(uint64_t ns)
{
	struct timespec ts = {.tv_nsec = (long)ns};

	nanosleep(&ts, NULL);
}

static uint64_t load64(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static int fill(struct bench_run *run, struct computing *c, const char *disk)
{
	struct catnap_vm *vm = c->guest.vm;
	struct catnap_disk d;
	void *p[4];
	int ret;

	catnap_disk_init(&d);
	d.path = disk;
	d.direct = d.readonly = true;
	d.queues = 1;
	ret = catnap_vm_add_disk(vm, &d);
	if (ret == 0)
		ret = catnap_vm_add_interrupt_event(vm, c->fd, MSI_ADDRESS, PROBE_VECTOR_EVENT);
	if (ret == 0)
		ret = catnap_vm_guest_memory(vm, PROBE_SHARED_GPA, sizeof(*c->guest.shared), &p[0]);
	if (ret == 0)
		ret = catnap_vm_guest_memory(vm, PROBE_SAMPLES_GPA,
					     PROBE_EVENTS_MAX * sizeof(uint64_t), &p[1]);
	if (ret == 0)
		ret = catnap_vm_guest_memory(vm, PROBE_READS_GPA,
					     PROBE_READS_MAX * 2 * sizeof(uint64_t), &p[2]);
	if (ret == 0)
		ret = catnap_vm_guest_memory(vm, PROBE_PROGRESS_GPA,
					     c->guest.vcpus * sizeof(uint64_t), &p[3]);
	if (ret == 0)
		ret = catnap_vm_start(vm);
	if (ret)
		return bench_fail(run, "%s", catnap_vm_last_error(vm));
	c->guest.shared = p[0];
	c->events = p[1];
	c->reads = p[2];
	c->progress = p[3];
	return 0;
}

static int start(struct bench_run *run, struct computing *c, const char *disk)
{
	int32_t affinity[CATNAP_MAX_VCPUS], sender;
	struct catnap_vm_config cfg;
	char cmdline[256];

	c->guest.vcpus = run->cell->vcpus;
	snprintf(cmdline, sizeof(cmdline),
		 "workload=compute disk=1 cpus=%u tsc_khz=%u ecam=%llu pv_eoi=1 exit=%d",
		 c->guest.vcpus, run->tsc_khz, (unsigned long long)ECAM, EXIT_PORT);
	probe_config(run, &cfg, cmdline);
	cfg.vcpus = c->guest.vcpus;
	cfg.io = run->cell->mode->io;
	cfg.transport = CATNAP_TRANSPORT_PCI;
	if (run->cfg->pin == PIN_ON && bench_processors(affinity, cfg.vcpus, &sender))
		cfg.vcpu_affinity = affinity;
	if (catnap_vm_create(&cfg, &c->guest.vm) < 0)
		return bench_fail(run, "%s", catnap_vm_last_error(NULL));
	if (fill(run, c, disk) == 0)
		return 0;
	catnap_vm_destroy(&c->guest.vm);
	return -1;
}

/* Of each event: when it was sent, and when it was seen to have been handled. */
static int send_event(struct bench_run *run, struct computing *c, uint32_t n, bool spin,
		      uint64_t *sent)
{
	const uint32_t *handled = &c->guest.shared->handled;
	uint64_t deadline = now_ns() + PATIENCE_NS;
	int64_t least;

	*sent = ticks();
	if (write(c->fd, &(uint64_t){1}, sizeof(uint64_t)) != sizeof(uint64_t))
		return bench_fail(run, "the eventfd cannot be written");
	while (load(handled) < n) {
		if (now_ns() > deadline)
			return bench_fail(run, "the guest does not handle an event");
		if (!spin)
			nap(NAP_NS);
	}
	least = (int64_t)(c->events[n - 1] - ticks());
	if (n == 1 || least > c->offset)
		c->offset = least;
	return 0;
}

/* An event that comes while a read is under way begins none: where the disk is slow, reads are
 * fewer than events. */
static bool enough_reads(const struct bench_run *run, const struct computing *c, uint32_t samples)
{
	return run->cell->completes != COMPLETES_READ ||
	       load64(&c->reads[2 * (WARMUP + samples - 1) + 1]);
}

/* *samples: how many there are after that; fewer if it is stopped. */
static int send_events(struct bench_run *run, struct computing *c, uint32_t *samples,
		       uint64_t *sent)
{
	uint64_t random = (UINT64_C(0x9e3779b97f4a7c15) ^ run->seed) | 1;
	int ret = 0;

	for (uint32_t n = 1; ret == 0 && n <= PROBE_EVENTS_MAX; n++) {
		if (n > WARMUP + *samples && enough_reads(run, c, *samples))
			break;
		if (bench_stopped(run) && n > WARMUP + 1) {
			*samples = n - 1 - WARMUP < *samples ? n - 1 - WARMUP : *samples;
			break;
		}
		if (bench_stopped(run))
			return bench_nothing(run);
		bench_sleep(run, bench_to_ns(run, gap_ticks(run, &random)));
		ret = send_event(run, c, n, n <= WARMUP, &sent[n - 1]);
	}
	return ret;
}

static int event_samples(struct bench_run *run, const struct computing *c, const uint64_t *sent,
			 uint32_t samples, struct series *round)
{
	for (uint32_t i = WARMUP; i < WARMUP + samples; i++) {
		int64_t took = (int64_t)(c->events[i] - sent[i]) - c->offset;

		if (took < 0)
			return bench_fail(run, "the guest's TSC does not run with the host's");
		if (series_add(round, bench_to_ns(run, (uint64_t)took)) < 0)
			return bench_fail(run, "out of memory");
	}
	return 0;
}

/* Of those that have ended. */
static int read_samples(struct bench_run *run, const struct computing *c, uint32_t samples,
			struct series *round)
{
	for (uint32_t i = WARMUP; i < WARMUP + samples; i++) {
		const uint64_t *read = c->reads + 2 * i;

		if (!load64(&read[1]))
			break;
		if (series_add(round, bench_to_ns(run, read[1] - read[0])) < 0)
			return bench_fail(run, "out of memory");
	}
	return round->n ? 0 : bench_fail(run, "the guest's reads do not end");
}

static int samples(struct bench_run *run, struct computing *c, struct series *round)
{
	static const uint32_t most = PROBE_EVENTS_MAX - WARMUP - 1;
	uint32_t n = run->cfg->samples < most ? run->cfg->samples : most;
	uint64_t *sent = calloc(PROBE_EVENTS_MAX, sizeof(*sent));
	int ret;

	if (!sent)
		return bench_fail(run, "out of memory");
	ret = send_events(run, c, &n, sent);
	if (ret == 0 && run->cell->completes == COMPLETES_EVENT)
		ret = event_samples(run, c, sent, n, round);
	else if (ret == 0)
		ret = read_samples(run, c, n, round);
	free(sent);
	return ret;
}

/* With every vCPU computing from before the first sample until after the last. */
static int measure(struct bench_run *run, struct computing *c, struct series *round)
{
	uint64_t before[BENCH_VCPUS] = {0};
	int ret;

	for (uint32_t i = 0; i < c->guest.vcpus; i++) {
		uint64_t deadline = now_ns() + PATIENCE_NS;

		while (!(before[i] = load64(&c->progress[i]))) {
			if (bench_stopped(run))
				return bench_nothing(run);
			if (now_ns() > deadline || catnap_vm_wait(c->guest.vm, 0, NULL) == 0)
				return bench_fail(run, "vCPU %u does not begin to compute", i);
			nap(1000000);
		}
	}
	ret = samples(run, c, round);
	for (uint32_t i = 0; i < c->guest.vcpus && ret == 0; i++)
		if (load64(&c->progress[i]) == before[i])
			ret = bench_fail(run, "vCPU %u does not compute", i);
	return ret;
}

int bench_compute(struct bench_run *run)
{
	struct computing c = {.fd = eventfd(0, EFD_CLOEXEC)};
	char path[BENCH_DISK_PATH];
	struct pinned pinned = {0};
	struct series round = {0};
	int32_t unused[1], sender;
	int disk, ret;

	if (c.fd < 0)
		return bench_fail(run, "eventfd");
	disk = bench_make_disk(run, "/var/tmp", true, path);
	if (disk < 0) {
		close(c.fd);
		return -1;
	}
	ret = start(run, &c, path);
	if (ret == 0) {
		if (run->cfg->pin == PIN_ON && bench_processors(unused, 1, &sender))
			pin(&pinned, sender);
		ret = measure(run, &c, &round);
		unpin(&pinned);
		if (guest_end(run, &c.guest) < 0)
			ret = -1;
	}
	close(disk);
	close(c.fd);
	if (ret == 0)
		return bench_keep(run, &round);
	series_free(&round);
	return -1;
}
