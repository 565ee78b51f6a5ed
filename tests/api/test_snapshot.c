/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots: whatever a guest was doing, it goes on from one as if nothing had been. The guests are
 * those of tests/guest: each ends well only if processors, timers, interrupts and devices did all
 * that they were to do, once.
 */
#include "states.h"

#include <catnap/sandbox.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MEMORY_SIZE (UINT64_C(16) << 20)

#define WELL 0x21 /* PASSED in tests/guest/lib/guest.h */

static const char *images; /* the folder of guests */
static const char *only;   /* by hand: those whose name has this */

/* -- files that have no names ------------------------------------------------------------------ */

struct files {
	int state, memory;
};

static int unnamed(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static struct files new_files(void)
{
	return (struct files){unnamed("state"), unnamed("memory")};
}

static void close_files(struct files *f)
{
	close(f->state);
	close(f->memory);
}

static int try_snapshot(struct catnap_vm *vm, const struct files *f, uint32_t kind)
{
	struct catnap_snapshot_request rq;

	catnap_snapshot_request_init(&rq);
	rq.kind = kind;
	rq.state_fd = f->state;
	rq.memory_fd = f->memory;
	return catnap_vm_snapshot(vm, &rq);
}

static struct files snapshot(struct catnap_vm *vm, uint32_t kind)
{
	struct files f = new_files();

	if (try_snapshot(vm, &f, kind) < 0)
		fail_msg("%s", catnap_vm_last_error(vm));
	return f;
}

static struct catnap_snapshot *open_state(const struct files *f)
{
	struct catnap_snapshot *s;

	if (catnap_snapshot_open(f->state, &s) < 0)
		fail_msg("%s", catnap_vm_last_error(NULL));
	return s;
}

/* -- guests ------------------------------------------------------------------------------------ */

/* The last that the guests of a test have written, several at a time, for who looks at a failure. */
static pthread_mutex_t output_lock = PTHREAD_MUTEX_INITIALIZER;
static char output[4096];
static size_t used;

static void take_output(void *ctx, const void *data, size_t len)
{
	pthread_mutex_lock(&output_lock);
	if (len > sizeof(output) - 1 - used)
		used = 0;
	if (len < sizeof(output)) {
		memcpy(output + used, data, len);
		used += len;
		output[used] = '\0';
	}
	pthread_mutex_unlock(&output_lock);
}

static void forget_output(void)
{
	pthread_mutex_lock(&output_lock);
	used = 0;
	output[0] = '\0';
	pthread_mutex_unlock(&output_lock);
}

static void wait_for_output(const char *text)
{
	bool found = false;

	for (int i = 0; i < 30000 && !found; i++) {
		pthread_mutex_lock(&output_lock);
		found = strstr(output, text);
		pthread_mutex_unlock(&output_lock);
		usleep(1000);
	}
	assert_true(found);
}

struct play {
	const char *image, *cmdline;
	uint32_t vcpus, irqchip, io, transport;
	bool disk;
	unsigned int within_us; /* the longest time from a start to the next snapshot; 0: 20 ms */
	bool pmem;
};

static void play_config(const struct play *p, char *path, size_t size, struct catnap_vm_config *cfg)
{
	snprintf(path, size, "%s/%s", images, p->image);
	catnap_vm_config_init(cfg);
	cfg->kernel_path = path;
	cfg->cmdline = p->cmdline;
	cfg->memory_size = MEMORY_SIZE;
	cfg->vcpus = p->vcpus;
	cfg->irqchip = p->irqchip;
	cfg->io = p->io;
	cfg->transport = p->transport;
	cfg->rng = !p->disk;
	cfg->debug_exit_port = 0xf4;
	cfg->serial_output = take_output;
}

static struct catnap_vm *make(const struct play *p, uint32_t track, char *disk_path)
{
	struct catnap_vm_config cfg;
	struct catnap_disk disk;
	struct catnap_vm *vm;
	char image[512];
	int fd;

	play_config(p, image, sizeof(image), &cfg);
	cfg.track_dirty = track;
	if (catnap_vm_create(&cfg, &vm) < 0)
		fail_msg("%s", catnap_vm_last_error(NULL));
	if (p->disk) {
		strcpy(disk_path, "/tmp/catnap-snapshot-XXXXXX");
		fd = mkstemp(disk_path);
		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, 1 << 20), 0);
		close(fd);
		catnap_disk_init(&disk);
		disk.path = disk_path;
		disk.id = "a-disk";
		disk.no_lock = 1; /* clones have it, too */
		assert_int_equal(catnap_vm_add_disk(vm, &disk), 0);
	}
	if (p->pmem) {
		struct catnap_pmem pmem;

		strcpy(disk_path, "/var/tmp/catnap-snapshot-XXXXXX");
		fd = mkstemp(disk_path);
		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, 2 << 20), 0);
		close(fd);
		catnap_pmem_init(&pmem);
		pmem.path = disk_path;
		assert_int_equal(catnap_vm_add_pmem(vm, &pmem), 0);
	}
	return vm;
}

/* The host's part of a configuration. */
static struct catnap_vm *restore(const struct play *p, const struct files *f, uint32_t mode,
				 uint32_t paused)
{
	struct catnap_snapshot *s = open_state(f);
	const int32_t memory[] = {f->memory};
	struct catnap_restore how;
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	catnap_vm_config_init(&cfg);
	cfg.io = p->io;
	cfg.serial_output = take_output;
	catnap_restore_init(&how);
	how.memory_mode = mode;
	how.memory_fds = memory;
	how.memory_count = 1;
	how.paused = paused;
	if (catnap_vm_restore(&cfg, s, &how, &vm) < 0)
		fail_msg("%s: %s", p->image, catnap_vm_last_error(NULL));
	catnap_snapshot_close(&s);
	return vm;
}

static void ends_well(const struct play *p, struct catnap_vm *vm, unsigned int cycles)
{
	struct catnap_exit e = {.size = sizeof(e)};

	if (catnap_vm_wait(vm, 2 * LIMIT, &e) < 0)
		fail_msg("%s %s: irqchip %u, io %u, after %u: %s", p->image, p->cmdline, p->irqchip,
			 p->io, cycles, catnap_vm_last_error(vm));
	if (e.reason != CATNAP_EXIT_DEBUG || e.code != WELL)
		fail_msg("%s %s: irqchip %u, io %u, after %u: ended with %u, %d: %s%s", p->image,
			 p->cmdline, p->irqchip, p->io, cycles, e.reason, e.code, e.report, output);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
}

/* Again and again it is put down and taken up in the midst of things; then it does its work. */
static void play(const struct play *p, unsigned int *seed)
{
	char disk[64] = "";
	struct catnap_vm *vm = make(p, 0, disk);
	unsigned int cycles = 0, within_us = p->within_us ? p->within_us : 20000;

	assert_int_equal(catnap_vm_start(vm), 0);
	for (; cycles < 12; cycles++) {
		struct files f;

		usleep((useconds_t)((unsigned int)rand_r(seed) % within_us));
		if (catnap_vm_pause(vm) < 0)
			break;
		f = snapshot(vm, CATNAP_SNAPSHOT_FULL);
		assert_int_equal(catnap_vm_destroy(&vm), 0);
		vm = restore(p, &f, cycles % 2, 0);
		close_files(&f);
		assert_int_equal(catnap_vm_start(vm), 0);
	}
	ends_well(p, vm, cycles);
	if (p->disk || p->pmem)
		unlink(disk);
}

#define MMIO CATNAP_TRANSPORT_MMIO
#define PCI  CATNAP_TRANSPORT_PCI

static void every_machine_goes_on(void **state)
{
	/* Not timer.elf with KVM's local APIC, whose one-shot timer may expire once more. */
	static const struct play plays[] = {
		{"timer.elf", "apic=x2apic", 1, 0, 0, PCI, false},
		{"timer.elf", "apic=xapic", 1, 0, 0, PCI, false},
		{"smp.elf", "cpus=3", 3, 0, 0, PCI, false},
		{"smp.elf", "cpus=3", 3, 1, 0, PCI, false},
		{"pveoi.elf", "", 1, 0, 0, PCI, false},
		{"nmi.elf", "cpus=2", 2, 0, 0, PCI, false},
		{"foreign.elf", "how=mmio irqchip=user", 1, 0, 0, MMIO, false},
		{"foreign.elf", "how=mmio irqchip=kernel", 1, 1, 1, MMIO, false},
		{"foreign.elf", "how=pci irqchip=user", 1, 0, 1, PCI, false},
		{"foreign.elf", "how=pci irqchip=kernel", 1, 1, 0, PCI, false},
		{"foreign.elf", "how=window irqchip=user", 1, 0, 0, PCI, false},
		{"blk.elf", "cpus=2 how=hlt only_transfer=1", 2, 0, 0, MMIO, true},
		{"blk.elf", "cpus=2 how=spin only_transfer=1", 2, 0, 1, MMIO, true},
		{"blk.elf", "cpus=2 how=hlt only_transfer=1", 2, 1, 0, MMIO, true},
		{"blk.elf", "cpus=2 how=hlt only_transfer=1", 2, 1, 1, MMIO, true},
		{"hostile_pci.elf", "cpus=2 seed=2 rounds=40", 2, 0, 0, PCI, false},
		{"pmem.elf", "rounds=200", 1, 0, 0, MMIO, false, 0, true},
		{"pmem.elf", "rounds=200", 1, 1, 1, MMIO, false, 0, true},
		{"hostile.elf", "cpus=1 seed=4 rounds=9", 1, 0, 0, MMIO, false},
	};
	unsigned int seed = 1;

	for (size_t i = 0; i < sizeof(plays) / sizeof(plays[0]); i++)
		if (!only || strstr(plays[i].image, only))
			play(&plays[i], &seed);
}

/* A processor that an INIT or SIPI is on its way to starts where that says, not at its reset. */
static void processors_that_start_go_on(void **state)
{
	static const struct play plays[] = {
		{"smp.elf", "cpus=3", 3, 0, 0, PCI, false, 700},
		{"smp.elf", "cpus=3", 3, 1, 0, PCI, false, 700},
	};

	for (unsigned int seed = 1; seed <= 8; seed++) {
		unsigned int s = seed;

		play(&plays[seed % 2], &s);
	}
}

/* The one that it was made of goes on as well, and so do any number of copies. */
static void many_go_on_from_one(void **state)
{
	/* Not timer.elf: five at a time have no processor to hold a clock against another by. */
	const struct play p = {"smp.elf", "cpus=3", 3, 0, 0, PCI, false};
	struct catnap_vm *vm = make(&p, 0, NULL), *clones[4];
	struct files f;

	assert_int_equal(catnap_vm_start(vm), 0);
	usleep(5000);
	assert_int_equal(catnap_vm_pause(vm), 0);
	f = snapshot(vm, CATNAP_SNAPSHOT_FULL);
	assert_int_equal(catnap_vm_resume(vm), 0);
	for (int i = 0; i < 4; i++) {
		clones[i] = restore(&p, &f, CATNAP_MEMORY_MAP, 0);
		assert_int_equal(catnap_vm_start(clones[i]), 0);
	}
	ends_well(&p, vm, 0);
	for (int i = 0; i < 4; i++)
		ends_well(&p, clones[i], 1);
	close_files(&f);
}

/* Nothing of the guest runs before it is resumed, and it can be put down again at once. */
static void one_may_stand_at_first(void **state)
{
	const struct play p = {"timer.elf", "apic=x2apic", 1, 0, 0, PCI, false};
	struct catnap_vm *vm = make(&p, 0, NULL);

	assert_int_equal(catnap_vm_start(vm), 0);
	usleep(5000);
	assert_int_equal(catnap_vm_pause(vm), 0);
	for (int i = 0; i < 3; i++) {
		struct files f = snapshot(vm, CATNAP_SNAPSHOT_FULL);

		assert_int_equal(catnap_vm_destroy(&vm), 0);
		vm = restore(&p, &f, CATNAP_MEMORY_MAP, 1);
		close_files(&f);
		assert_int_equal(catnap_vm_get_state(vm), CATNAP_VM_MADE);
		assert_int_equal(catnap_vm_start(vm), 0);
		assert_int_equal(catnap_vm_get_state(vm), CATNAP_VM_PAUSED);
		assert_int_equal(catnap_vm_pause(vm), 0); /* all stand */
	}
	assert_int_equal(catnap_vm_resume(vm), 0);
	ends_well(&p, vm, 3);
}

static const void *table(struct catnap_vm *vm, const char *name, size_t *len)
{
	const void *data;
	const char *found;

	for (uint32_t i = 0; catnap_vm_get_acpi_table(vm, i, &found, &data, len) == 0; i++)
		if (strcmp(found, name) == 0)
			return data;
	return NULL;
}

/* What the guest was told of its nodes is told again after a reset, so the snapshot has it. */
static void nodes_are_kept(void **state)
{
	static const char *const names[] = {"SRAT", "SLIT"};
	static const struct catnap_node nodes[] = {
		{.vcpus = 5, .memory_size = 4 << 20, .distances = {10, 33}},
		{.vcpus = 2, .memory_size = 12 << 20, .distances = {44, 10}}};
	const struct play p = {"smp.elf", "cpus=3", 3, 0, 0, PCI, false};
	struct catnap_vm *vm, *again;
	struct catnap_vm_config cfg;
	char image[512];
	struct files f;

	play_config(&p, image, sizeof(image), &cfg);
	cfg.nodes = nodes;
	cfg.node_count = 2;
	if (catnap_vm_create(&cfg, &vm) < 0)
		fail_msg("%s", catnap_vm_last_error(NULL));
	assert_int_equal(catnap_vm_start(vm), 0);
	assert_int_equal(catnap_vm_pause(vm), 0);
	f = snapshot(vm, CATNAP_SNAPSHOT_FULL);
	again = restore(&p, &f, CATNAP_MEMORY_MAP, 1);
	close_files(&f);
	for (int i = 0; i < 2; i++) {
		size_t len, other;
		const void *was = table(vm, names[i], &len), *is = table(again, names[i], &other);

		assert_non_null(was);
		assert_non_null(is);
		assert_int_equal(len, other);
		assert_memory_equal(was, is, len);
	}
	assert_int_equal(catnap_vm_get_config(again, &cfg), 0);
	assert_int_equal(cfg.node_count, 2);
	assert_int_equal(cfg.nodes[0].vcpus, 5);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
	assert_int_equal(catnap_vm_start(again), 0);
	assert_int_equal(catnap_vm_resume(again), 0);
	ends_well(&p, again, 1);
}

/* -- diffs ------------------------------------------------------------------------------------- */

#ifdef LEAVE_OUT
/* This build leaves out of the account what devices write. Then the test has to find that. */
#include "vmm/memory.h"

#define COMPLETE false
#define READS	 "1000000" /* it need not end */

static void say_nothing(void *ctx, uint64_t gpa, uint64_t len)
{
}

struct dma __real_memory_dma(struct memory *m);
struct dma __wrap_memory_dma(struct memory *m);

struct dma __wrap_memory_dma(struct memory *m)
{
	struct dma dma = __real_memory_dma(m);

	dma.wrote = say_nothing;
	return dma;
}
#else
#define COMPLETE true
#define READS	 "12"
#endif

/* Returns how many pages differ, and says which is the first. */
static uint64_t differing(int a, int b, uint64_t size)
{
	uint64_t n = 0;

	const uint8_t *x = mmap(NULL, size, PROT_READ, MAP_SHARED, a, 0);
	const uint8_t *y = mmap(NULL, size, PROT_READ, MAP_SHARED, b, 0);

	assert_true(x != MAP_FAILED && y != MAP_FAILED);
	for (uint64_t at = 0; at < size; at += 4096)
		if (memcmp(x + at, y + at, 4096) != 0 && n++ == 0)
			print_message("the page at 0x%llx differs\n", (unsigned long long)at);
	munmap((void *)(uintptr_t)x, size);
	munmap((void *)(uintptr_t)y, size);
	return n;
}

static int failing(void *ctx)
{
	return *(int *)ctx;
}

/* Makes a base and five diffs of a guest at work, merges them, and returns how many pages differ from
 * those of a full one that was made in the pause of the last. */
static uint64_t merge_differs(const struct play *play)
{
	struct files f[6], merged = new_files(), full;
	struct catnap_snapshot_request rq;
	struct catnap_snapshot *s;
	struct catnap_vm *vm;
	int32_t memories[6];
	char disk[64] = "";
	int eio = -EIO;
	uint64_t differ;
	uint32_t n = 0;

	vm = make(play, 1, disk);
	forget_output();
	assert_int_equal(catnap_vm_start(vm), 0);
	if (play->disk)
		wait_for_output("reading");
	for (; n < 6; n++) {
		usleep(play->disk ? 30000 : 3000);
		if (catnap_vm_pause(vm) < 0)
			fail_msg("%s ended too early", play->image);
		if (n) { /* one that fails takes nothing from the next */
			struct files lost = new_files();

			catnap_snapshot_request_init(&rq);
			rq.kind = CATNAP_SNAPSHOT_DIFF;
			rq.state_fd = lost.state;
			rq.memory_fd = lost.memory;
			rq.commit = failing;
			rq.commit_ctx = &eio;
			assert_int_equal(catnap_vm_snapshot(vm, &rq), -EIO);
			close_files(&lost);
		}
		f[n] = snapshot(vm, n ? CATNAP_SNAPSHOT_DIFF : CATNAP_SNAPSHOT_FULL);
		memories[n] = f[n].memory;
		if (n < 5)
			assert_int_equal(catnap_vm_resume(vm), 0);
	}
	full = snapshot(vm, CATNAP_SNAPSHOT_FULL);
	s = open_state(&f[5]);
	for (uint32_t k = 0; k < 6; k++)
		assert_int_equal(catnap_snapshot_verify_memory(s, k, memories[k]), 0);
	catnap_snapshot_request_init(&rq);
	rq.state_fd = merged.state;
	rq.memory_fd = merged.memory;
	if (catnap_snapshot_merge(s, memories, 6, &rq) < 0)
		fail_msg("%s", catnap_vm_last_error(NULL));
	catnap_snapshot_close(&s);
	differ = differing(merged.memory, full.memory, MEMORY_SIZE);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
	if (COMPLETE) {
		vm = restore(play, &merged, CATNAP_MEMORY_MAP, 0);
		assert_int_equal(catnap_vm_start(vm), 0);
		ends_well(play, vm, n);
	}
	for (uint32_t k = 0; k < 6; k++)
		close_files(&f[k]);
	close_files(&merged);
	close_files(&full);
	if (play->disk)
		unlink(disk);
	return differ;
}

/* A base and diffs, merged, are what a full one has. */
static void diffs_make_a_whole(void **state)
{
	static const struct play plays[] = {
		{"blk.elf", "cpus=2 how=hlt only_transfer=1 reads=" READS, 2, 0, 0, MMIO, true},
		{"blk.elf", "cpus=2 how=spin only_transfer=1 reads=" READS, 2, 1, 1, MMIO, true},
		/* It would be done before the last diff if it was not slow. */
		{"smp.elf", "cpus=3 stopped=1000000000", 3, 0, 0, PCI, false},
	};

	for (size_t i = 0; i < sizeof(plays) / sizeof(plays[0]); i++) {
		uint64_t differ = merge_differs(&plays[i]);

		if (COMPLETE || !plays[i].disk) {
			assert_int_equal(differ, 0);
			continue;
		}
		/* What was read last may be what had been read when the base was made. */
		for (int tries = 0; !differ && tries < 20; tries++)
			differ = merge_differs(&plays[i]);
		assert_int_not_equal(differ, 0);
	}
}

/* -- what is refused --------------------------------------------------------------------------- */

static void says(const struct catnap_vm *vm, const char *text)
{
	if (!strstr(catnap_vm_last_error(vm), text))
		fail_msg("\"%s\" does not have \"%s\"", catnap_vm_last_error(vm), text);
}

static void requests_that_cannot_be(void **state)
{
	struct catnap_snapshot_request rq;
	struct catnap_vm_config cfg;
	struct files f = new_files();
	struct catnap_vm *vm;
	int ok = 1;

	tiny_config(&cfg);
	vm = tiny_vm(&cfg, MADE);
	assert_int_equal(try_snapshot(vm, &f, 0), -EINVAL);
	says(vm, "snapshot: expected the VM to stand in a pause");
	assert_int_equal(catnap_vm_start(vm), 0);
	assert_int_equal(try_snapshot(vm, &f, 0), -EINVAL);
	assert_int_equal(catnap_vm_pause(vm), 0);
	assert_int_equal(catnap_vm_snapshot(vm, NULL), -EINVAL);
	assert_int_equal(try_snapshot(vm, &f, 2), -EINVAL);
	says(vm, "kind: 2 is none");
	assert_int_equal(try_snapshot(vm, &f, CATNAP_SNAPSHOT_DIFF), -ENOTSUP);
	says(vm, "track_dirty");
	catnap_snapshot_request_init(&rq);
	rq.state_fd = f.state;
	rq.memory_fd = f.memory;
	rq.memory_name = "a/b";
	assert_int_equal(catnap_vm_snapshot(vm, &rq), -EINVAL);
	says(vm, "memory_name");
	rq.memory_name = "memory";
	rq.memory_fd = -1;
	assert_int_equal(catnap_vm_snapshot(vm, &rq), -EBADF);
	rq.memory_fd = f.memory;
	rq.commit = failing;
	rq.commit_ctx = &ok;
	assert_int_equal(catnap_vm_snapshot(vm, &rq), -EINVAL);
	says(vm, "it returned 1");
	assert_int_equal(try_snapshot(vm, &f, 0), 0);
	assert_int_equal(catnap_vm_stop(vm), 0);
	assert_int_equal(try_snapshot(vm, &f, 0), -EINVAL);
	assert_int_equal(catnap_vm_destroy(&vm), 0);

	cfg.track_dirty = 1;
	vm = tiny_vm(&cfg, PAUSED);
	assert_int_equal(try_snapshot(vm, &f, CATNAP_SNAPSHOT_DIFF), -ENOENT);
	says(vm, "expected a full one first");
	assert_int_equal(catnap_vm_destroy(&vm), 0);
	close_files(&f);
}

/* Returns what merging @f, a diff of @full, gives. */
static struct files merged(const struct files *full, const struct files *f)
{
	int32_t memories[] = {full->memory, f->memory};
	struct files to = new_files();
	struct catnap_snapshot_request rq;
	struct catnap_snapshot *s = open_state(f);

	catnap_snapshot_request_init(&rq);
	rq.state_fd = to.state;
	rq.memory_fd = to.memory;
	rq.memory_name = "merged";
	if (catnap_snapshot_merge(s, memories, 2, &rq) < 0)
		fail_msg("%s", catnap_vm_last_error(NULL));
	catnap_snapshot_close(&s);
	return to;
}

/* A diff is laid behind the VM's last snapshot as it is now, and behind no other. */
static void diffs_behind_what_is_there(void **state)
{
	struct files full, first, both, last = new_files();
	struct catnap_snapshot_memory m = {.size = sizeof(m)};
	struct catnap_snapshot_request rq;
	struct catnap_vm_config cfg;
	struct catnap_snapshot *s;
	struct catnap_vm *vm;

	tiny_config(&cfg);
	cfg.track_dirty = 1;
	vm = tiny_vm(&cfg, PAUSED);
	full = snapshot(vm, CATNAP_SNAPSHOT_FULL);
	first = snapshot(vm, CATNAP_SNAPSHOT_DIFF);
	both = merged(&full, &first);

	catnap_snapshot_request_init(&rq);
	rq.kind = CATNAP_SNAPSHOT_DIFF;
	rq.state_fd = last.state;
	rq.memory_fd = last.memory;
	rq.memory_name = "last";
	rq.base = s = open_state(&full);
	assert_int_equal(catnap_vm_snapshot(vm, &rq), -ESTALE);
	says(vm, "is not this VM's last one");
	/* A full one is behind nothing, and callers of before know nothing of it. */
	rq.kind = CATNAP_SNAPSHOT_FULL;
	rq.commit = failing;
	rq.commit_ctx = &(int){-EIO};
	assert_int_equal(catnap_vm_snapshot(vm, &rq), -EIO);
	rq.commit = NULL;
	rq.kind = CATNAP_SNAPSHOT_DIFF;
	rq.size = offsetof(struct catnap_snapshot_request, base);
	assert_int_equal(catnap_vm_snapshot(vm, &rq), 0);
	catnap_snapshot_close(&s);

	/* The one that was made of it since is its last now. */
	rq.size = sizeof(rq);
	rq.base = s = open_state(&both);
	assert_int_equal(catnap_vm_snapshot(vm, &rq), -ESTALE);
	catnap_snapshot_close(&s);
	close_files(&both);
	close_files(&full);
	close_files(&first);

	full = snapshot(vm, CATNAP_SNAPSHOT_FULL);
	first = snapshot(vm, CATNAP_SNAPSHOT_DIFF);
	both = merged(&full, &first);
	for (uint32_t n = 1; n < 3; n++) {
		rq.base = s = open_state(n == 1 ? &both : &last);
		if (catnap_vm_snapshot(vm, &rq) < 0)
			fail_msg("%s", catnap_vm_last_error(vm));
		catnap_snapshot_close(&s);
		s = open_state(&last);
		assert_int_equal(catnap_snapshot_get_memory(s, 0, &m), 0);
		assert_string_equal(m.name, "merged");
		assert_int_equal(catnap_snapshot_get_memory(s, n, &m), 0);
		assert_string_equal(m.name, "last");
		assert_int_equal(catnap_snapshot_get_memory(s, n + 1, &m), -ENOENT);
		assert_int_equal(catnap_snapshot_verify_memory(s, 0, both.memory), 0);
		assert_int_equal(catnap_snapshot_verify_memory(s, n, last.memory), 0);
		catnap_snapshot_close(&s);
	}
	assert_int_equal(catnap_vm_destroy(&vm), 0);
	close_files(&both);
	close_files(&full);
	close_files(&first);
	close_files(&last);
}

/* A copy of @fd of @len bytes. */
static int copy_of(int fd, size_t len)
{
	int to = unnamed("copy");
	char *bytes = malloc(len + 1);

	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, len, 0), len);
	assert_int_equal(pwrite(to, bytes, len, 0), len);
	free(bytes);
	return to;
}

static void files_that_are_damaged(void **state)
{
	struct catnap_vm_config cfg;
	struct files f, other;
	struct catnap_vm *vm, *made;
	struct catnap_snapshot *s;
	struct catnap_restore how;
	struct stat st;
	int32_t memory;
	uint8_t byte;

	tiny_config(&cfg);
	vm = tiny_vm(&cfg, PAUSED);
	f = snapshot(vm, 0);
	other = snapshot(vm, 0);
	assert_int_equal(catnap_vm_destroy(&vm), 0);

	/* the state: any bit, any length */
	assert_int_equal(fstat(f.state, &st), 0);
	for (off_t at = 0; at < st.st_size; at += 7) {
		int fd = copy_of(f.state, (size_t)st.st_size);

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= (uint8_t)(1 << at % 8);
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_true(catnap_snapshot_open(fd, &s) < 0);
		assert_null(s);
		says(NULL, "the state file ");
		assert_int_equal(ftruncate(fd, at), 0);
		assert_true(catnap_snapshot_open(fd, &s) < 0);
		close(fd);
	}

	/* the memory */
	s = open_state(&f);
	catnap_restore_init(&how);
	how.memory_fds = &memory;
	how.memory_count = 1;
	memory = other.memory;
	assert_int_equal(catnap_vm_restore(&cfg, s, &how, &made), -EINVAL);
	assert_null(made);
	says(NULL, "restore: memory: is the memory of another snapshot");
	assert_int_equal(fstat(f.memory, &st), 0);
	for (off_t len = 0; len < st.st_size; len += 65536 + 17) {
		memory = copy_of(f.memory, (size_t)st.st_size);
		assert_int_equal(ftruncate(memory, len), 0);
		assert_int_equal(catnap_vm_restore(&cfg, s, &how, &made), -EINVAL);
		says(NULL, "restore: memory: ");
		close(memory);
	}
	for (off_t at = UINT64_C(2) << 20; at < st.st_size; at += 3) {
		if (at == (UINT64_C(2) << 20) + 90)
			at = (UINT64_C(2) << 20) + 4096; /* what is between is nothing */
		memory = copy_of(f.memory, (size_t)st.st_size);
		assert_int_equal(pread(memory, &byte, 1, at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(memory, &byte, 1, at), 1);
		assert_true(catnap_vm_restore(&cfg, s, &how, &made) < 0);
		close(memory);
	}
	/* A page that has changed is found by who looks. */
	memory = copy_of(f.memory, (size_t)st.st_size);
	assert_int_equal(catnap_snapshot_verify_memory(s, 0, memory), 0);
	assert_int_equal(pwrite(memory, "x", 1, 0x7c01), 1);
	assert_int_equal(catnap_snapshot_verify_memory(s, 0, memory), -EINVAL);
	says(NULL, "memory: is damaged: the checksum of the pages from 0x0 on is wrong");
	close(memory);
	catnap_snapshot_close(&s);
	close_files(&f);
	close_files(&other);
}

/* What one has touched is written, and another brings it in; it goes on in either case. */
static void what_is_touched_is_recorded(void **state)
{
	const struct play p = {"smp.elf", "cpus=3", 3, 0, 0, PCI, false};
	struct catnap_vm *vm = make(&p, 0, NULL);
	struct catnap_restore how;
	struct catnap_snapshot *s;
	struct catnap_vm_config cfg;
	struct files f;
	int32_t memory;
	int set = unnamed("working-set");

	assert_int_equal(catnap_vm_start(vm), 0);
	usleep(5000);
	assert_int_equal(catnap_vm_pause(vm), 0);
	f = snapshot(vm, CATNAP_SNAPSHOT_FULL);
	assert_int_equal(catnap_vm_write_working_set(vm, set), -ENOTSUP);
	assert_int_equal(catnap_vm_destroy(&vm), 0);

	memory = f.memory;
	s = open_state(&f);
	assert_int_equal(catnap_snapshot_verify_working_set(s, set), -EINVAL);
	says(NULL, "the working set is cut off");
	vm = restore(&p, &f, CATNAP_MEMORY_WORKING_SET, 0);
	assert_int_equal(catnap_vm_start(vm), 0);
	usleep(20000);
	assert_int_equal(catnap_vm_write_working_set(vm, -1), -EBADF);
	if (catnap_vm_write_working_set(vm, set) < 0)
		fail_msg("%s", catnap_vm_last_error(vm));
	ends_well(&p, vm, 1);
	assert_int_equal(catnap_snapshot_verify_working_set(s, set), 0);

	catnap_vm_config_init(&cfg);
	cfg.serial_output = take_output;
	catnap_restore_init(&how);
	assert_int_equal(how.working_set_fd, -1);
	how.memory_fds = &memory;
	how.memory_count = 1;
	how.working_set_fd = set;
	assert_int_equal(catnap_vm_restore(&cfg, s, &how, &vm), -EINVAL);
	says(NULL, "working_set_fd: expected none but with memory_mode WORKING_SET");
	how.memory_mode = CATNAP_MEMORY_WORKING_SET;
	if (catnap_vm_restore(&cfg, s, &how, &vm) < 0)
		fail_msg("%s", catnap_vm_last_error(NULL));
	assert_int_equal(catnap_vm_write_working_set(vm, set), -ENOTSUP);
	assert_int_equal(catnap_vm_start(vm), 0);
	ends_well(&p, vm, 1);

	/* One that was damaged, and one of another snapshot. */
	assert_int_equal(pwrite(set, "x", 1, 70), 1);
	assert_int_equal(catnap_vm_restore(&cfg, s, &how, &vm), -EINVAL);
	assert_null(vm);
	says(NULL, "restore: the working set is damaged");
	catnap_snapshot_close(&s);
	close(set);
	close_files(&f);
}

/* Returns whether the mapping at @p has all of @flags, as proc(5) names them. */
static bool mapping_has(const void *p, const char *const *flags)
{
	unsigned long from, to, at = (unsigned long)(uintptr_t)p;
	FILE *f = fopen("/proc/self/smaps", "re");
	bool here = false, all = false;
	char line[512];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = at >= from && at < to;
		if (!here || strncmp(line, "VmFlags:", 8) != 0)
			continue;
		all = true;
		for (; *flags; flags++)
			all &= strstr(line, *flags) != NULL;
		break;
	}
	fclose(f);
	return all;
}

/* Returns whether the mapping at @at comes from node 0 of the host alone; true where nothing tells. */
static bool from_node_0(const void *at)
{
	char line[1024], *rest;
	bool found = false;
	FILE *f = fopen("/proc/self/numa_maps", "re");

	if (!f)
		return true;
	while (!found && fgets(line, sizeof(line), f))
		found = strtoull(line, &rest, 16) == (uintptr_t)at &&
			strncmp(rest, " bind:0 ", 8) == 0;
	fclose(f);
	return found;
}

/* A reset gives it other memory, which no child of fork(2) has, and no core dump, and which comes from
 * the same node of the host, as before. */
static void a_reset_keeps_memory_to_itself(void **state)
{
	static const char *const flags[] = {" dc", " dd", NULL};
	const struct play p = {"end.elf", "how=spin", 1, 0, 0, PCI, false};
	struct catnap_vm *vm = make(&p, 0, NULL);
	struct files f;
	char path[512];
	struct catnap_vm_config cfg;
	struct catnap_restore how;
	struct catnap_snapshot *s;
	int32_t memory;
	void *guest;

	assert_int_equal(catnap_vm_start(vm), 0);
	assert_int_equal(catnap_vm_pause(vm), 0);
	f = snapshot(vm, CATNAP_SNAPSHOT_FULL);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
	play_config(&p, path, sizeof(path), &cfg);
	cfg.on_reset = CATNAP_ON_RESET_RESTART;
	if (access("/proc/self/numa_maps", R_OK) == 0)
		cfg.memory_host_nodes = 1;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	/* It has to know the calls by which that is done. */
	if (catnap_sandbox_available() & CATNAP_SANDBOX_HAS_SECCOMP)
		cfg.sandbox = CATNAP_SANDBOX_ON;
#endif
	catnap_restore_init(&how);
	memory = f.memory;
	how.memory_fds = &memory;
	how.memory_count = 1;
	s = open_state(&f);
	if (catnap_vm_restore(&cfg, s, &how, &vm) < 0)
		fail_msg("%s", catnap_vm_last_error(NULL));
	catnap_snapshot_close(&s);
	assert_int_equal(catnap_vm_guest_memory(vm, 0, 4096, &guest), 0);
	assert_true(mapping_has(guest, flags));
	assert_true(from_node_0(guest));
	assert_int_equal(catnap_vm_start(vm), 0);
	assert_int_equal(catnap_vm_reset(vm), 0);
	assert_true(mapping_has(guest, flags));
	assert_true(from_node_0(guest));
	assert_int_equal(catnap_vm_destroy(&vm), 0);
	close_files(&f);
}

/* What a state file says of itself. */
static void tells_what_it_is(void **state)
{
	struct catnap_snapshot_info info = {.size = sizeof(info)};
	struct catnap_snapshot_memory m = {.size = sizeof(m)};
	struct catnap_snapshot_device d = {.size = sizeof(d)};
	const struct play p = {"blk.elf", "cpus=2 how=hlt only_transfer=1", 2, 0, 0, MMIO, true};
	struct catnap_snapshot *s;
	struct catnap_vm *vm;
	char disk[64];
	struct files f;

	vm = make(&p, 0, disk);
	assert_int_equal(catnap_vm_start(vm), 0);
	assert_int_equal(catnap_vm_pause(vm), 0);
	f = snapshot(vm, 0);
	assert_int_equal(catnap_vm_destroy(&vm), 0);
	s = open_state(&f);
	assert_int_equal(catnap_snapshot_get_info(s, &info), 0);
	assert_int_equal(info.vcpus, 2);
	assert_int_equal(info.memory_size, MEMORY_SIZE);
	assert_int_equal(info.irqchip, CATNAP_IRQCHIP_USER);
	assert_int_equal(info.transport, CATNAP_TRANSPORT_MMIO);
	assert_int_equal(info.memories, 1);
	assert_int_equal(info.devices, 1);
	assert_int_equal(info.debug_exit_port, 0xf4);
	assert_string_equal(info.version, catnap_version());
	assert_int_equal(catnap_snapshot_get_memory(s, 0, &m), 0);
	assert_string_equal(m.name, "memory");
	assert_int_equal(m.kind, CATNAP_SNAPSHOT_FULL);
	assert_int_equal(catnap_snapshot_get_memory(s, 1, &m), -ENOENT);
	assert_int_equal(catnap_snapshot_get_device(s, 0, &d), 0);
	assert_int_equal(d.type, 2);
	assert_string_equal(d.place, disk);
	assert_int_equal(catnap_snapshot_get_device(s, 1, &d), -ENOENT);
	info.size = 2;
	assert_int_equal(catnap_snapshot_get_info(s, &info), -EINVAL);
	catnap_snapshot_close(&s);
	close_files(&f);
	unlink(disk);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_that_cannot_be),
		cmocka_unit_test(diffs_behind_what_is_there),
		cmocka_unit_test(files_that_are_damaged),
		cmocka_unit_test(tells_what_it_is),
		cmocka_unit_test(many_go_on_from_one),
		cmocka_unit_test(nodes_are_kept),
		cmocka_unit_test(what_is_touched_is_recorded),
		cmocka_unit_test(a_reset_keeps_memory_to_itself),
		cmocka_unit_test(one_may_stand_at_first),
		cmocka_unit_test(every_machine_goes_on),
		cmocka_unit_test(processors_that_start_go_on),
		cmocka_unit_test(diffs_make_a_whole),
	};

	if (argc < 2 || argc > 4)
		return 2;
	images = argv[1];
	only = argc == 4 ? argv[3] : NULL;
	if (argc >= 3)
		cmocka_set_test_filter(argv[2]);
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return SKIP;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
