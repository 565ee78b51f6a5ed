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

#include "cli/bench/guest.h"
#include "cli/bench/io.h"
#include "cli/bench/workload.h"
#include "probe_image.h"

#define MSI_ADDRESS UINT64_C(0xfee00000)
#define NAP_NS	    50000

/* The cell's @what: what completes. */
enum {
	COMPLETES_EVENT, /* an eventfd that another thread writes, with a read in flight as well */
	COMPLETES_READ,	 /* a read of a file on disk, past the page cache: from the doorbell */
};

struct computing {
	struct bench_guest guest;
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
	ret = bench_learner_start(&c->guest.learner, vm);
	if (ret < 0)
		return bench_fail(run, "the thread that learns: %s", strerror(-ret));
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
		 c->guest.vcpus, run->tsc_khz, (unsigned long long)BENCH_ECAM, EXIT_PORT);
	bench_probe_config(run, &cfg, cmdline);
	cfg.vcpus = c->guest.vcpus;
	cfg.io = run->cell->mode->io;
	cfg.transport = CATNAP_TRANSPORT_PCI;
	if (run->cfg->pin == BENCH_PIN_ON && bench_processors(affinity, cfg.vcpus, &sender))
		cfg.vcpu_affinity = affinity;
	if (catnap_vm_create(&cfg, &c->guest.vm) < 0)
		return bench_fail(run, "%s", catnap_vm_last_error(NULL));
	if (fill(run, c, disk) == 0)
		return 0;
	catnap_vm_destroy(&c->guest.vm);
	return -1;
}

/* Sends an event, and notes when it was sent, and when it was seen to have been handled. */
static int send_event(struct bench_run *run, struct computing *c, uint32_t n, bool spin,
		      uint64_t *sent)
{
	const uint32_t *handled = &c->guest.shared->handled;
	uint64_t deadline = now_ns() + PATIENCE_NS;
	int64_t least;

	*sent = bench_ticks();
	if (write(c->fd, &(uint64_t){1}, sizeof(uint64_t)) != sizeof(uint64_t))
		return bench_fail(run, "the eventfd cannot be written");
	while (bench_load(handled) < n) {
		if (now_ns() > deadline)
			return bench_fail(run, "the guest does not handle an event");
		if (!spin)
			nap(NAP_NS);
	}
	least = (int64_t)(c->events[n - 1] - bench_ticks());
	if (n == 1 || least > c->offset)
		c->offset = least;
	return 0;
}

/* Checks that there are enough reads. An event that comes while a read is under way begins none:
 * where the disk is slow, reads are fewer than events. */
static bool enough_reads(const struct bench_run *run, const struct computing *c, uint32_t samples)
{
	return run->cell->what != COMPLETES_READ ||
	       load64(&c->reads[2 * (WARMUP + samples - 1) + 1]);
}

/* Sends the events. *samples: how many there are after that; fewer if it is stopped. */
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
		bench_sleep(run, bench_to_ns(run, bench_gap_ticks(run, &random)));
		ret = send_event(run, c, n, n <= WARMUP, &sent[n - 1]);
	}
	return ret;
}

static int event_samples(struct bench_run *run, const struct computing *c, const uint64_t *sent,
			 uint32_t samples, struct bench_series *round)
{
	for (uint32_t i = WARMUP; i < WARMUP + samples; i++) {
		int64_t took = (int64_t)(c->events[i] - sent[i]) - c->offset;

		if (took < 0)
			return bench_fail(run, "the guest's TSC does not run with the host's");
		if (bench_series_add(round, bench_to_ns(run, (uint64_t)took)) < 0)
			return bench_fail(run, "out of memory");
	}
	return 0;
}

/* Takes the samples of the reads that have ended. */
static int read_samples(struct bench_run *run, const struct computing *c, uint32_t samples,
			struct bench_series *round)
{
	for (uint32_t i = WARMUP; i < WARMUP + samples; i++) {
		const uint64_t *read = c->reads + 2 * i;

		if (!load64(&read[1]))
			break;
		if (bench_series_add(round, bench_to_ns(run, read[1] - read[0])) < 0)
			return bench_fail(run, "out of memory");
	}
	return round->n ? 0 : bench_fail(run, "the guest's reads do not end");
}

static int samples(struct bench_run *run, struct computing *c, struct bench_series *round)
{
	static const uint32_t most = PROBE_EVENTS_MAX - WARMUP - 1;
	uint32_t n = run->cfg->samples < most ? run->cfg->samples : most;
	uint64_t *sent = calloc(PROBE_EVENTS_MAX, sizeof(*sent));
	int ret;

	if (!sent)
		return bench_fail(run, "out of memory");
	ret = send_events(run, c, &n, sent);
	if (ret == 0 && run->cell->what == COMPLETES_EVENT)
		ret = event_samples(run, c, sent, n, round);
	else if (ret == 0)
		ret = read_samples(run, c, n, round);
	free(sent);
	return ret;
}

/* Measures with every vCPU computing from before the first sample until after the last. */
static int measure(struct bench_run *run, struct computing *c, struct bench_series *round)
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

static int run_compute(struct bench_run *run)
{
	struct computing c = {.fd = eventfd(0, EFD_CLOEXEC)};
	char path[BENCH_DISK_PATH];
	struct bench_pinned pinned = {0};
	struct bench_series round = {0};
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
		if (run->cfg->pin == BENCH_PIN_ON && bench_processors(unused, 1, &sender))
			bench_pin(&pinned, sender);
		ret = measure(run, &c, &round);
		bench_unpin(&pinned);
		if (bench_guest_end(run, &c.guest) < 0)
			ret = -1;
	}
	close(disk);
	close(c.fd);
	if (ret == 0)
		return bench_keep(run, &round);
	bench_series_free(&round);
	return -1;
}

static int plan_computing(struct bench_plan *p, const struct bench_workload *w)
{
	int ret = 0;

	for (uint32_t vcpus = 1; vcpus <= BENCH_VCPUS; vcpus++) {
		struct bench_cell c = {.workload = w,
				       .vcpus = vcpus,
				       .gap_ns = p->cfg->n_gaps ? p->cfg->gaps[0] : w->gaps[0],
				       .random = p->cfg->arrivals != BENCH_ARRIVALS_CONSTANT,
				       .what = COMPLETES_EVENT};

		if (!bench_plan_vcpus(p, w, vcpus) || ret < 0)
			continue;
		ret = bench_plan_add(p, &c);
		c.what = COMPLETES_READ;
		if (ret == 0)
			ret = bench_plan_add(p, &c);
	}
	return ret;
}

static void condition(char *buf, size_t size, const struct bench_cell *c)
{
	snprintf(buf, size, "%s, %u vCPU%s",
		 c->what == COMPLETES_EVENT ? "an eventfd"
					    : "4 KiB reads of a file on disk, from the doorbell",
		 c->vcpus, c->vcpus == 1 ? "" : "s");
}

static const char *completes(const struct bench_cell *c)
{
	return c->what == COMPLETES_EVENT ? "event" : "read";
}

static const struct bench_column columns[] = {
	BENCH_LATENCY_COLUMNS("us", BENCH_NS),
	{.head = NULL},
};

static const struct bench_member condition_members[] = {
	{"vcpus", .whole = bench_value_vcpus},
	{"completes", .text = completes},
	{.name = NULL},
};

static const struct bench_member members[] = {
	BENCH_LATENCY_MEMBERS,
	{.name = NULL},
};

static const char *const modes[] = {"user:adaptive", "user:adaptive/thread", "kernel:200us/vcpu",
				    "kernel:200us", NULL};

static const uint64_t gaps[] = {1000000, 0};

const struct bench_workload bench_workload_compute = {
	.name = "compute",
	.title = "completion to the handler, in a guest that computes",
	.help = "completion to interrupt in a guest that computes on all its vCPUs",
	.about = "The guest computes in user mode on all its virtual CPUs. From the write of an "
		 "eventfd to its interrupt’s handler; and from a read’s doorbell to its "
		 "interrupt’s handler, the disk’s own time included.",
	.options = BENCH_OPT_GAP | BENCH_OPT_ONE_GAP | BENCH_OPT_ARRIVALS | BENCH_OPT_SAMPLES |
		   BENCH_OPT_VCPUS | BENCH_OPT_DEVICES | BENCH_OPT_PIN,
	.modes = modes,
	.gaps = gaps,
	.gaps_help = "1ms",
	/* More than there are processors would measure how those are shared. */
	.vcpus = 1 << 1 | 1 << 2,
	.vcpus_help = "how many the guest has",
	.plan = plan_computing,
	.condition = condition,
	.run = run_compute,
	.columns = columns,
	.condition_members = condition_members,
	.members = members,
};
