/* SPDX-License-Identifier: Apache-2.0 */
/* A Linux guest here, and what any of them says on its console; see linux.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/bench/linux.h"

#define CACHE_FOLDER "catnap/lab"
#define CMDLINE	     2048

/* -- the images ------------------------------------------------------------------------------- */

/* Writes the path of a file of the cache in which guest-images keeps what it makes. */
static bool cached(char path[BENCH_LINUX_PATH], const char *name)
{
	const char *cache = getenv("CATNAP_CACHE"), *home = getenv("XDG_CACHE_HOME");
	int n = -1;

	if (cache && *cache)
		n = snprintf(path, BENCH_LINUX_PATH, "%s/%s", cache, name);
	else if (home && *home)
		n = snprintf(path, BENCH_LINUX_PATH, "%s/" CACHE_FOLDER "/%s", home, name);
	else if ((home = getenv("HOME")))
		n = snprintf(path, BENCH_LINUX_PATH, "%s/.cache/" CACHE_FOLDER "/%s", home, name);
	return n > 0 && n < BENCH_LINUX_PATH;
}

static int find(struct bench_run *run, const char *option, const char *given, const char *name,
		char path[BENCH_LINUX_PATH])
{
	if (given)
		snprintf(path, BENCH_LINUX_PATH, "%s", given);
	else if (!cached(path, name))
		return bench_fail_all(run, "--%s was not given, and there is no HOME for a cache",
				      option);
	if (access(path, R_OK) == 0)
		return 0;
	if (given)
		return bench_fail_all(run, "--%s: %.150s: %s", option, path, strerror(errno));
	return bench_fail_all(run,
			      "no %s: expected --%s FILE, or \"guest-images/rootfs/build --stock "
			      "6.12 --bench\" to have made one",
			      option, option);
}

int bench_linux_images(struct bench_run *run, struct bench_linux_images *images)
{
	if (find(run, "kernel", run->cfg->kernel, "bench-vmlinuz", images->kernel) < 0)
		return -1;
	return find(run, "initramfs", run->cfg->initramfs, "bench-initramfs", images->initramfs);
}

/* -- a guest here ----------------------------------------------------------------------------- */

/* Takes what the guest says: a vCPU's thread. What nobody reads any more is dropped. */
static void guest_says(void *ctx, const void *data, size_t len)
{
	const struct bench_linux_guest *g = ctx;
	ssize_t n = write(g->to, data, len);

	(void)n;
}

static int add_devices(struct catnap_vm *vm, const struct bench_linux_devices *dev)
{
	struct catnap_disk disk;
	struct catnap_net net;
	int ret = 0;

	if (dev->disk) {
		catnap_disk_init(&disk);
		disk.path = dev->disk;
		disk.direct = dev->direct;
		disk.readonly = true;
		ret = catnap_vm_add_disk(vm, &disk);
	}
	if (dev->tap && ret == 0) {
		catnap_net_init(&net);
		net.tap = dev->tap;
		ret = catnap_vm_add_net(vm, &net);
	}
	return ret;
}

static int start_here(struct bench_run *run, struct bench_linux_guest *g,
		      const struct bench_linux_images *images,
		      const struct bench_linux_devices *dev, const char *cmdline)
{
	const struct bench_mode *mode = run->cell->mode;
	struct catnap_vm_config cfg;
	int fd[2], ret;

	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) < 0)
		return bench_fail(run, "pipe: %s", strerror(errno));
	g->out = fd[0];
	g->to = fd[1];
	catnap_vm_config_init(&cfg);
	cfg.memory_size = (uint64_t)BENCH_LINUX_MIB << 20;
	cfg.vcpus = BENCH_LINUX_VCPUS;
	cfg.irqchip = mode->irqchip;
	cfg.halt_poll = mode->halt_poll;
	cfg.guest_hlt = mode->guest_hlt;
	cfg.io = mode->io;
	cfg.transport = CATNAP_TRANSPORT_PCI;
	cfg.kernel_path = images->kernel;
	cfg.initramfs_path = images->initramfs;
	cfg.cmdline = cmdline;
	cfg.serial_output = guest_says;
	cfg.serial_ctx = g;
	if (mode->polls)
		cfg.poll_after_guest = (uint32_t)mode->guest.host;
	g->begin_ns = now_ns();
	ret = catnap_vm_create(&cfg, &g->vm);
	if (ret < 0) {
		bench_fail(run, "%s", catnap_vm_last_error(NULL));
	} else {
		ret = add_devices(g->vm, dev);
		if (ret == 0)
			ret = catnap_vm_start(g->vm);
		if (ret < 0)
			bench_fail(run, "%s", catnap_vm_last_error(g->vm));
		else if ((ret = bench_learner_start(&g->learner, g->vm)) < 0)
			bench_fail(run, "the thread that learns: %s", strerror(-ret));
	}
	if (ret == 0)
		return 0;
	if (g->vm)
		catnap_vm_destroy(&g->vm);
	close(g->out);
	close(g->to);
	return -1;
}

/* -- both ------------------------------------------------------------------------------------- */

/* Appends what has Linux poll as @mode says, with its driver haltpoll. */
static void polling(char *cmdline, size_t size, const struct bench_mode *mode)
{
	const struct bench_haltpoll *p = &mode->guest;
	size_t used = strlen(cmdline);

	if (mode->polls)
		snprintf(cmdline + used, size - used,
			 " cpuidle_haltpoll.force=Y haltpoll.guest_halt_poll_ns=%u "
			 "haltpoll.guest_halt_poll_grow=%u haltpoll.guest_halt_poll_grow_start=%u "
			 "haltpoll.guest_halt_poll_shrink=%u "
			 "haltpoll.guest_halt_poll_allow_shrink=%c",
			 p->ns, p->grow, p->grow_start_ns, p->shrink, p->allow_shrink ? 'Y' : 'N');
}

int bench_linux_start(struct bench_run *run, struct bench_linux_guest *g,
		      const struct bench_linux_images *images,
		      const struct bench_linux_devices *dev, const char *load)
{
	char cmdline[CMDLINE];

	memset(g, 0, sizeof(*g));
	g->clock = CLOCK_PROCESS_CPUTIME_ID;
	snprintf(cmdline, sizeof(cmdline), "console=ttyS0 quiet go=/dev/ttyS0 %s%s", load,
		 dev->tap ? " address=" BENCH_LINUX_ADDRESS " peer=" BENCH_LINUX_HOST : "");
	polling(cmdline, sizeof(cmdline), run->cell->mode);
	return run->cell->mode->peer ? bench_linux_start_peer(run, g, images, dev, cmdline)
				     : start_here(run, g, images, dev, cmdline);
}

void bench_linux_end(struct bench_linux_guest *g)
{
	if (g->there) {
		bench_linux_end_peer(g);
		return;
	}
	bench_learner_end(&g->learner);
	catnap_vm_stop(g->vm);
	catnap_vm_wait(g->vm, UINT64_MAX, NULL);
	catnap_vm_destroy(&g->vm);
	close(g->out);
	close(g->to);
}

/* Takes the first line off what was said, if there is a whole one. @line: it, without its end. */
static bool take_line(struct bench_linux_guest *g, char *line, size_t size)
{
	char *end = memchr(g->text, '\n', g->used);
	size_t len;

	/* One that is too long for this is none of ours. */
	if (!end && g->used == sizeof(g->text))
		end = g->text + g->used - 1;
	if (!end)
		return false;
	len = (size_t)(end - g->text);
	snprintf(line, size, "%.*s", (int)(len < size ? len : size - 1), g->text);
	line[strcspn(line, "\r\n")] = '\0';
	g->used -= len + 1;
	memmove(g->text, end + 1, g->used);
	return true;
}

/* Returns whether the guest has ended, so that no more will come. */
static bool ended(const struct bench_linux_guest *g)
{
	return !g->there && catnap_vm_wait(g->vm, 0, NULL) == 0;
}

/* Waits for more of what it says. False: run->error says why there is none. */
static bool more(struct bench_run *run, struct bench_linux_guest *g, uint64_t deadline_ns)
{
	struct pollfd p[] = {{.fd = g->out, .events = POLLIN},
			     {.fd = run->stop->fd, .events = POLLIN}};
	ssize_t n;

	for (;;) {
		const bool last = ended(g);

		n = read(g->out, g->text + g->used, sizeof(g->text) - g->used);
		if (n > 0) {
			g->used += (size_t)n;
			return true;
		}
		if (bench_stopped(run))
			bench_nothing(run);
		else if (n == 0 || last)
			bench_fail(run, "the Linux guest has ended early");
		else if (now_ns() > deadline_ns)
			bench_fail(run, "the Linux guest does not come to its end%s%s",
				   *g->word ? "; the last that it said: " : "", g->word);
		else if (poll(p, 2, 100) >= 0 || errno == EINTR)
			continue;
		return false;
	}
}

int bench_linux_result(struct bench_run *run, struct bench_linux_guest *g, uint64_t deadline_ns,
		       const char **key, const char **value)
{
	static const char mark[] = "result: ";
	char *at, *equals;

	for (;;) {
		while (take_line(g, g->line, sizeof(g->line))) {
			at = strstr(g->line, mark);
			equals = at ? strchr(at, '=') : NULL;
			if (!equals)
				continue;
			*equals = '\0';
			*key = at + sizeof(mark) - 1;
			*value = equals + 1;
			snprintf(g->word, sizeof(g->word), "%s", *key);
			return 0;
		}
		if (!more(run, g, deadline_ns))
			return -1;
	}
}

void bench_linux_go(struct bench_linux_guest *g)
{
	ssize_t n = 0;

	if (g->there)
		n = write(g->in, "\n", 1);
	else
		catnap_vm_serial_input(g->vm, "\n", 1);
	(void)n;
}

uint64_t bench_linux_cpu_ns(const struct bench_linux_guest *g)
{
	struct timespec all = {0}, own = {0};

	clock_gettime(g->clock, &all);
	if (!g->there)
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &own);
	return (uint64_t)(all.tv_sec - own.tv_sec) * 1000000000 + (uint64_t)all.tv_nsec -
	       (uint64_t)own.tv_nsec;
}

pid_t bench_linux_pid(const struct bench_linux_guest *g)
{
	return g->there ? g->child.pid : getpid();
}
