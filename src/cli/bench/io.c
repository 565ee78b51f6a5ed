/* SPDX-License-Identifier: Apache-2.0 */
/* The probe guest with devices, see io.h. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench/child.h"
#include "cli/bench/io.h"
#include "probe_image.h"

#define SEEN_MEMORY (UINT64_C(4) << 20) /* all that the probe uses */

static int start_here(struct bench_run *run, struct bench_io_guest *g,
		      const struct bench_io_devices *dev, const char *cmdline)
{
	struct catnap_vm_config cfg;
	int ret;

	bench_probe_config(run, &cfg, cmdline);
	cfg.io = run->cell->mode->io;
	cfg.transport = CATNAP_TRANSPORT_PCI;
	cfg.memory_shared = dev->back != NULL;
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
	if (dev->back && ret == 0) {
		struct catnap_vhost back;

		catnap_vhost_init(&back);
		back.type = 2; /* a disk */
		back.socket = dev->back->socket;
		back.no_reconnect = !dev->back->reconnect;
		ret = catnap_vm_add_vhost(g->vm, &back);
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
	if (ret < 0)
		bench_fail(run, "%s", catnap_vm_last_error(g->vm));
	else if ((ret = bench_learner_start(&g->learner, g->vm)) < 0)
		bench_fail(run, "the thread that learns: %s", strerror(-ret));
	if (ret < 0) {
		catnap_vm_destroy(&g->vm);
		return -1;
	}
	g->clock = CLOCK_PROCESS_CPUTIME_ID;
	return 0;
}

/* Starts the peer at its best: an I/O thread for the disk, KVM's irqchip, the kernel's halt
 * polling. */
static int start_there(struct bench_run *run, struct bench_io_guest *g,
		       const struct bench_io_devices *dev, const char *cmdline)
{
	char memory[128], image[32], drive[BENCH_DRIVE], smp[16], *argv[48] = {NULL};
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
	snprintf(smp, sizeof(smp), "%u", dev->vcpus ? dev->vcpus : 1);
	ARG("-smp");
	ARG(smp);
	ARG("-m");
	ARG("16M");
	if (dev->disk)
		n = bench_peer_disk(argv, n, drive, dev->disk, dev->direct);
	if (dev->back) {
		snprintf(drive, sizeof(drive), "socket,id=back,path=%s", dev->back->socket);
		ARG("-chardev");
		ARG(drive);
		ARG("-device");
		ARG("vhost-user-blk-pci,chardev=back,num-queues=1");
	}
	if (dev->tap) {
		snprintf(drive, sizeof(drive), "tap,id=net,ifname=%s,script=no,downscript=no",
			 dev->tap);
		ARG("-netdev");
		ARG(drive);
		ARG("-device");
		ARG("virtio-net-pci,netdev=net,romfile=");
	}
	if (dev->doorbell) {
		snprintf(drive, sizeof(drive), "socket,id=server,fd=%d", dev->doorbell);
		ARG("-chardev");
		ARG(drive);
		ARG("-device");
		ARG("ivshmem-doorbell,chardev=server,vectors=1");
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

/* Ties the threads: those of a VM in this process are where the process may be, and not where this
 * thread is. */
static void tie_threads(const cpu_set_t *set)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		char path[300], name[16];
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		f = fopen(path, "re");
		if (f && fgets(name, sizeof(name), f) && strncmp(name, "catnap-", 7) == 0)
			sched_setaffinity((pid_t)atoi(e->d_name), sizeof(*set), set);
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
}

int bench_io_start(struct bench_run *run, struct bench_io_guest *g,
		   const struct bench_io_devices *dev, const char *cmdline)
{
	cpu_set_t saved, one;
	int32_t vcpu, sender;
	bool pinned = false;
	int ret;

	memset(g, 0, sizeof(*g));
	/* All threads of the guest on one processor: the peer's inherit it. A back end has another. */
	if ((run->cfg->pin == BENCH_PIN_ONE || dev->back) &&
	    sched_getaffinity(0, sizeof(saved), &saved) == 0 &&
	    bench_processors(&vcpu, 1, &sender)) {
		CPU_ZERO(&one);
		CPU_SET((size_t)vcpu, &one);
		pinned = sched_setaffinity(0, sizeof(one), &one) == 0;
	}
	ret = run->cell->mode->peer ? start_there(run, g, dev, cmdline)
				    : start_here(run, g, dev, cmdline);
	if (pinned && ret == 0 && !g->there)
		tie_threads(&one);
	if (pinned)
		sched_setaffinity(0, sizeof(saved), &saved);
	g->back = dev->back;
	if (ret == 0)
		g->shared = (volatile struct probe_shared *)(g->memory + PROBE_SHARED_GPA);
	return ret;
}

bool bench_io_ended(const struct bench_io_guest *g)
{
	struct pollfd p = {.fd = g->child.out, .events = 0};

	if (!g->there)
		return catnap_vm_wait(g->vm, 0, NULL) == 0;
	return poll(&p, 1, 0) == 1; /* POLLHUP: it has gone */
}

int bench_io_end(struct bench_run *run, struct bench_io_guest *g, int ret)
{
	bench_counters_close(&g->counters);
	if (g->there) {
		if (ret < 0 && bench_io_ended(g)) {
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
	bench_learner_end(&g->learner);
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

uint64_t bench_io_cpu_ns(const struct bench_io_guest *g)
{
	uint64_t ns = clock_ns(g->clock) + bench_io_back_ns(g);

	return g->there ? ns : ns - clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t bench_io_back_ns(const struct bench_io_guest *g)
{
	return g->back ? clock_ns(g->back->clock) : 0;
}

static uint32_t load(const volatile uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

int bench_io_wait(struct bench_run *run, struct bench_io_guest *g, const volatile uint32_t *word,
		  uint32_t value, uint64_t patience_ns, const char *what)
{
	struct timespec nap = {.tv_nsec = 1000000};
	uint64_t deadline = now_ns() + patience_ns;

	while (load(word) != value && !bench_stopped(run)) {
		/* It may have done it and ended. */
		if ((bench_io_ended(g) && load(word) != value) || now_ns() > deadline)
			return bench_fail(run, "the guest does not %s", what);
		nanosleep(&nap, NULL);
	}
	return 0;
}

const uint64_t *bench_io_samples(const struct bench_io_guest *g)
{
	return (const uint64_t *)(const void *)(g->memory + PROBE_SAMPLES_GPA);
}

void bench_io_begin(struct bench_io_guest *g)
{
	bench_counters_close(&g->counters);
	bench_counters_open(&g->counters, g->there ? g->child.pid : 0);
	bench_costs_read(&g->costs, &g->counters);
}

void bench_io_account(struct bench_io_guest *g, struct bench_cell *c, uint64_t cpu, uint64_t wall,
		      uint64_t events)
{
	struct bench_costs now;

	bench_costs_read(&now, &g->counters);
	bench_costs_add(&c->costs, &g->costs, &now);
	c->cpu_ns += cpu;
	c->wall_ns += wall;
	c->events += events;
	c->has_cpu = cpu != 0;
}
