/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workloads with devices: blk and echo. The same probe guest runs in a VM of this process or in
 * QEMU; in both its memory is looked at from here, so nothing is printed while measuring, and
 * processor time is that of the whole process but for this thread, the sender.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench.h"
#include "cli/bench_net.h"
#include "probe.h"
#include "probe_image.h"

#define SEEN_MEMORY (UINT64_C(4) << 20) /* all that the probe uses */
#define PATIENCE_NS UINT64_C(10000000000)
#define WARMUP	    100
#define ECAM	    UINT64_C(0xe0000000) /* QEMU's microvm, too */

/* -- the guest, wherever it runs -------------------------------------------------------------- */

struct io_guest {
	struct catnap_vm *vm;	  /* here, or else */
	struct bench_child child; /* there */
	bool there;
	clockid_t clock; /* processor time of its process */
	uint8_t *memory; /* SEEN_MEMORY of it */
	volatile struct probe_shared *shared;
};

/* What the guest is given. */
struct io_devices {
	const char *disk, *tap;
	bool direct;
};

static int start_here(struct bench_run *run, struct io_guest *g, const struct io_devices *dev,
		      const char *cmdline)
{
	struct catnap_vm_config cfg;
	int ret;

	probe_config(run, &cfg, cmdline);
	cfg.io = run->cell->mode->io;
	cfg.transport = CATNAP_TRANSPORT_PCI;
	if (catnap_vm_create(&cfg, &g->vm) < 0)
		return bench_fail(run, "%s", catnap_vm_last_error(NULL));
	ret = 0;
	if (dev->disk) {
		struct catnap_disk disk;

		catnap_disk_init(&disk);
		disk.path = dev->disk;
		disk.direct = dev->direct;
		disk.readonly = true;
		ret = catnap_vm_add_disk(g->vm, &disk);
	}
	if (dev->tap && ret == 0) {
		struct catnap_net net;

		catnap_net_init(&net);
		net.tap = dev->tap;
		ret = catnap_vm_add_net(g->vm, &net);
	}
	if (ret == 0) {
		void *memory = NULL;

		ret = catnap_vm_guest_memory(g->vm, 0, SEEN_MEMORY, &memory);
		g->memory = memory;
	}
	if (ret == 0)
		ret = catnap_vm_start(g->vm);
	if (ret < 0) {
		bench_fail(run, "%s", catnap_vm_last_error(g->vm));
		catnap_vm_destroy(&g->vm);
		return -1;
	}
	g->clock = CLOCK_PROCESS_CPUTIME_ID;
	return 0;
}

/* The peer's best: an I/O thread for the disk, KVM's irqchip, the kernel's halt polling. */
static int start_there(struct bench_run *run, struct io_guest *g, const struct io_devices *dev,
		       const char *cmdline)
{
	char memory[128], image[32], drive[512], *argv[48] = {NULL};
	int image_fd = bench_image_file(), memory_fd = memfd_create("guest", 0), ret = -1;
	unsigned int n = bench_peer_args(argv, 0);
	void *p = MAP_FAILED;

	if (image_fd < 0 || memory_fd < 0 || ftruncate(memory_fd, (off_t)GUEST_MEMORY) < 0) {
		bench_fail(run, "memfd_create: %s", strerror(errno));
		goto out;
	}
	snprintf(image, sizeof(image), "/dev/fd/%d", image_fd);
	snprintf(memory, sizeof(memory),
		 "memory-backend-file,id=ram,size=%lluM,share=on,mem-path=/dev/fd/%d",
		 (unsigned long long)GUEST_MEMORY >> 20, memory_fd);
#define ARG(s) (argv[n++] = (char *)(s))
	ARG("-object");
	ARG(memory);
	ARG("-M");
	ARG("microvm,accel=kvm,pcie=on,memory-backend=ram");
	ARG("-m");
	ARG("16M");
	if (dev->disk) {
		snprintf(drive, sizeof(drive), "if=none,id=disk,format=raw,readonly=on,file=%s,%s",
			 dev->disk,
			 dev->direct ? "cache=none,aio=io_uring" : "cache=writeback,aio=threads");
		ARG("-object");
		ARG("iothread,id=io");
		ARG("-drive");
		ARG(drive);
		ARG("-device");
		ARG("virtio-blk-pci,drive=disk,iothread=io");
	}
	if (dev->tap) {
		snprintf(drive, sizeof(drive), "tap,id=net,ifname=%s,script=no,downscript=no",
			 dev->tap);
		ARG("-netdev");
		ARG(drive);
		ARG("-device");
		ARG("virtio-net-pci,netdev=net,romfile=");
	}
	ARG("-kernel");
	ARG(image);
	ARG("-append");
	ARG(cmdline);
#undef ARG
	p = mmap(NULL, SEEN_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
	if (p == MAP_FAILED) {
		bench_fail(run, "mmap: %s", strerror(errno));
		goto out;
	}
	ret = bench_spawn(run, &g->child, argv);
	if (ret == 0 && clock_getcpuclockid(g->child.pid, &g->clock) != 0) {
		bench_reap(&g->child, true);
		ret = bench_fail(run, "%s ended at once", argv[0]);
	}
	if (ret == 0)
		g->memory = p;
	else
		munmap(p, SEEN_MEMORY);
	g->there = ret == 0;
out:
	if (image_fd >= 0)
		close(image_fd);
	if (memory_fd >= 0)
		close(memory_fd);
	return ret;
}

static int start(struct bench_run *run, struct io_guest *g, const struct io_devices *dev,
		 const char *cmdline)
{
	cpu_set_t saved, one;
	int32_t vcpu, sender;
	bool pinned = false;
	int ret;

	memset(g, 0, sizeof(*g));
	/* All threads of the guest on one processor: they inherit it. */
	if (run->cfg->pin == PIN_ONE && sched_getaffinity(0, sizeof(saved), &saved) == 0 &&
	    bench_processors(&vcpu, 1, &sender)) {
		CPU_ZERO(&one);
		CPU_SET((size_t)vcpu, &one);
		pinned = sched_setaffinity(0, sizeof(one), &one) == 0;
	}
	ret = run->cell->mode->peer ? start_there(run, g, dev, cmdline)
				    : start_here(run, g, dev, cmdline);
	if (pinned)
		sched_setaffinity(0, sizeof(saved), &saved);
	if (ret == 0)
		g->shared = (volatile struct probe_shared *)(g->memory + PROBE_SHARED_GPA);
	return ret;
}

static bool ended(const struct io_guest *g)
{
	struct pollfd p = {.fd = g->child.out, .events = 0};

	if (!g->there)
		return catnap_vm_wait(g->vm, 0, NULL) == 0;
	return poll(&p, 1, 0) == 1; /* POLLHUP: it has gone */
}

/* Why the guest ended, if it did; it has printed that. */
static int end(struct bench_run *run, struct io_guest *g, int ret)
{
	if (g->there) {
		if (ret < 0 && ended(g)) {
			char text[512];
			ssize_t n = read(g->child.out, text, sizeof(text) - 1);
			char *line;

			text[n > 0 ? n : 0] = '\0';
			line = strstr(text, "probe: error");
			if (line)
				bench_fail(run, "%.*s", (int)strcspn(line, "\r\n"), line);
		}
		bench_reap(&g->child, true);
		munmap(g->memory, SEEN_MEMORY);
		return ret;
	}
	catnap_vm_stop(g->vm);
	if (ret < 0) {
		struct catnap_exit e = {.size = sizeof(e)};

		catnap_vm_wait(g->vm, UINT64_MAX, &e);
		if (e.reason != CATNAP_EXIT_STOPPED)
			bench_fail(run, "the probe guest failed (reason %u, code %d) %.150s",
				   e.reason, e.code, e.report);
	}
	catnap_vm_destroy(&g->vm);
	return ret;
}

/* Processor time of the guest and of all that serves it. */
static uint64_t cpu_ns(const struct io_guest *g)
{
	uint64_t ns = clock_ns(g->clock);

	return g->there ? ns : ns - clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static uint32_t load(const volatile uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* -1 with run->error; stopped is as good as done, for what there is is looked at then. */
static int wait_word(struct bench_run *run, struct io_guest *g, const volatile uint32_t *word,
		     uint32_t value, uint64_t patience_ns, const char *what)
{
	struct timespec nap = {.tv_nsec = 1000000};
	uint64_t deadline = now_ns() + patience_ns;

	while (load(word) != value && !bench_stopped(run)) {
		/* It may have done it and ended. */
		if ((ended(g) && load(word) != value) || now_ns() > deadline)
			return bench_fail(run, "the guest does not %s", what);
		nanosleep(&nap, NULL);
	}
	return 0;
}

static const uint64_t *samples_of(const struct io_guest *g)
{
	return (const uint64_t *)(const void *)(g->memory + PROBE_SAMPLES_GPA);
}

static void account(struct cell *c, uint64_t cpu, uint64_t wall, uint64_t events)
{
	c->cpu_ns += cpu;
	c->wall_ns += wall;
	c->events += events;
	c->has_cpu = cpu != 0;
}

/* -- blk -------------------------------------------------------------------------------------- */

static int nameless_file(const char *folder)
{
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char path[64];

	/* Not every file system has that; as good but for a moment. */
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		snprintf(path, sizeof(path), "%s/catnap-bench-XXXXXX", folder);
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			unlink(path);
	}
	return fd;
}

int bench_make_disk(struct bench_run *run, const char *folder, bool direct,
		    char path[BENCH_DISK_PATH])
{
	static uint8_t block[1 << 16];
	int fd = nameless_file(folder);

	if (fd < 0)
		return bench_fail_all(run, "a file in %s: %s", folder, strerror(errno));
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i * 2654435761u >> 13);
	for (uint64_t done = 0; done < BENCH_DISK_SIZE; done += sizeof(block)) {
		if (write(fd, block, sizeof(block)) == (ssize_t)sizeof(block))
			continue;
		bench_fail_all(run, "a file in %s: %s", folder, strerror(errno));
		goto fail;
	}
	if (direct && (fsync(fd) < 0 || fcntl(fd, F_SETFL, O_DIRECT) < 0)) {
		bench_fail_all(run, "a file in %s: cannot be read past the page cache: %s", folder,
			       strerror(errno));
		goto fail;
	}
	/* Not /proc/self: the peer is another process. */
	snprintf(path, BENCH_DISK_PATH, "/proc/%d/fd/%d", (int)getpid(), fd);
	return fd;
fail:
	close(fd);
	return -1;
}

static int blk_samples(struct bench_run *run, struct io_guest *g)
{
	uint32_t total = run->cfg->samples + WARMUP;
	struct series round = {0};
	uint64_t cpu, wall;
	int ret = wait_word(run, g, &g->shared->magic, PROBE_MAGIC, PATIENCE_NS, "start");

	if (ret < 0)
		return ret;
	cpu = cpu_ns(g);
	wall = now_ns();
	ret = wait_word(run, g, &g->shared->done, 1, PATIENCE_NS + total * UINT64_C(10000000),
			"finish its requests");
	if (ret < 0)
		return ret;
	cpu = cpu_ns(g) - cpu;
	wall = now_ns() - wall;
	if (bench_take(run, samples_of(g), &round) < 0) {
		series_free(&round);
		return -1;
	}
	account(run->cell, cpu, wall, round.n + WARMUP);
	return bench_keep(run, &round);
}

int bench_blk(struct bench_run *run)
{
	bool direct = run->cell->disk == DISK_DIRECT;
	char path[BENCH_DISK_PATH], cmdline[256];
	struct io_devices dev = {.disk = path, .direct = direct};
	struct io_guest g;
	int disk = bench_make_disk(run, direct ? "/var/tmp" : "/dev/shm", direct, path), ret;

	if (disk < 0)
		return -1;
	snprintf(cmdline, sizeof(cmdline),
		 "workload=blk blk_id=%d samples=%u warmup=%u seed=%u tsc_khz=%u ecam=%llu "
		 "pv_eoi=1 print=0 exit=%d",
		 run->cell->disk == DISK_ID, run->cfg->samples, WARMUP, run->seed + 1, run->tsc_khz,
		 (unsigned long long)ECAM, EXIT_PORT);
	ret = start(run, &g, &dev, cmdline);
	if (ret == 0)
		ret = end(run, &g, blk_samples(run, &g));
	close(disk);
	return ret;
}

/* -- echo ------------------------------------------------------------------------------------- */

static int echo_samples(struct bench_run *run, struct io_guest *g, int sock)
{
	uint32_t samples = run->cfg->samples, total = samples + WARMUP;
	struct series round = {0};
	uint64_t cpu = 0, wall = 0, sent, back;
	struct bench_frame frame;
	int ret = wait_word(run, g, &g->shared->magic, PROBE_MAGIC, PATIENCE_NS, "start");

	/* Until the first comes back: its driver may not have been ready for those before. */
	for (uint32_t tries = 0; ret == 0; tries++) {
		bench_frame_init(&frame, tries);
		if (bench_frame_send(sock, &frame) == 0 &&
		    bench_frame_receive(sock, tries, 100) == 0)
			break;
		if (tries == 100 || ended(g) || bench_stopped(run))
			ret = bench_fail(run, "the guest sends no packet back");
	}
	for (uint32_t n = 0; n < total && ret == 0; n++) {
		if (n == WARMUP) {
			cpu = cpu_ns(g);
			wall = now_ns();
		}
		bench_sleep(run, run->cell->gap_ns);
		if (bench_stopped(run))
			break;
		bench_frame_init(&frame, 1000 + n);
		sent = now_ns();
		ret = bench_frame_send(sock, &frame);
		if (ret == 0)
			ret = bench_frame_receive(sock, 1000 + n, 5000);
		back = now_ns();
		if (ret < 0)
			ret = bench_fail(run, "a packet did not come back: %s", strerror(-ret));
		else if (n >= WARMUP && series_add(&round, back - sent) < 0)
			ret = bench_fail(run, "out of memory");
	}
	if (ret == 0 && !round.n)
		ret = bench_nothing(run);
	if (ret == 0) {
		account(run->cell, cpu_ns(g) - cpu, now_ns() - wall, round.n);
		g->shared->stop = 1;
		bench_frame_send(sock, &frame);
		ret = wait_word(run, g, &g->shared->done, 1, PATIENCE_NS, "stop");
	}
	for (uint32_t i = 0; i < round.n / 2 && ret == 0; i++)
		if (series_add(&run->cell->share, bench_to_ns(run, samples_of(g)[i])) < 0)
			ret = bench_fail(run, "out of memory");
	if (ret == 0)
		return bench_keep(run, &round);
	series_free(&round);
	return -1;
}

int bench_echo(struct bench_run *run)
{
	struct io_devices dev = {.tap = BENCH_TAP};
	struct bench_net net;
	struct io_guest g;
	char cmdline[256];
	int ret = bench_net_open(run, &net), sock;

	if (ret < 0)
		return ret;
	snprintf(cmdline, sizeof(cmdline),
		 "workload=echo samples=%u warmup=%u tsc_khz=%u ecam=%llu pv_eoi=1 print=0 exit=%d",
		 run->cfg->samples, WARMUP, run->tsc_khz, (unsigned long long)ECAM, EXIT_PORT);
	ret = start(run, &g, &dev, cmdline);
	if (ret == 0) {
		sock = bench_net_socket(run, &net);
		if (sock >= 0)
			ret = echo_samples(run, &g, sock);
		else
			ret = -1;
		ret = end(run, &g, ret);
		if (sock >= 0)
			close(sock);
	}
	bench_net_close(&net);
	return ret;
}
