/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measuring whole processes: `catnap run` and QEMU's microvm with the same image and the same
 * command line. The image is a memory file that the child inherits.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench/child.h"
#include "cli/bench/workload.h"
#include "cli/child.h"
#include "probe_image.h"

#define QEMU	     "qemu-system-x86_64"
#define PATIENCE_MS  60000
#define MOST_BYTES   (4 << 20) /* that it prints */
#define PEER_SAMPLES 2000      /* the peer prints each sample through its serial port */

int bench_image_file(void)
{
	int fd = memfd_create("probe", 0);

	if (fd >= 0 && write(fd, probe_image, probe_image_size) != (ssize_t)probe_image_size) {
		close(fd);
		return -1;
	}
	return fd;
}

int bench_spawn(struct bench_run *run, struct bench_child *c, char *const argv[])
{
	return bench_spawn_with(run, c, argv, "/dev/null");
}

/* What a child is told, in memory that both have. */
struct start {
	char *const *argv;
	const char *input;
	const sigset_t *mask;
	pid_t parent;
	int out;
	int error; /* out: why it does not run; 0: it does */
};

/* Opens a file as one of the standard descriptors, which main() has occupied. */
static bool open_as(int number, const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	return fd >= 0 && dup2(fd, number) >= 0;
}

/* Is the child, on a stack of its own, until it is the program. */
static int child(void *arg)
{
	struct start *s = arg;

	/* A group of its own: Ctrl-C is for us, who end it. However this process ends, it ends. */
	if (setpgid(0, 0) == 0 && child_ends_with(s->parent, SIGKILL) &&
	    open_as(STDIN_FILENO, s->input, O_RDONLY) && dup2(s->out, STDOUT_FILENO) >= 0 &&
	    open_as(STDERR_FILENO, "/dev/null", O_WRONLY)) {
		pthread_sigmask(SIG_SETMASK, s->mask, NULL);
		execvp(s->argv[0], s->argv);
	}
	s->error = errno ? errno : ESRCH;
	_exit(127);
}

/*
 * Makes a child that shares this process's memory and has it wait until that is the program, as
 * posix_spawn(3) does, which has no word for what child() asks for. fork(2) would have a part in
 * the time that a start takes. Returns its pid, or -errno.
 */
static pid_t start(struct start *s)
{
	static char stack[65536] __attribute__((aligned(16)));
	sigset_t all, before;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = clone(child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, s);
	if (pid < 0)
		pid = -errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid < 0 || !s->error)
		return pid;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return -s->error;
}

int bench_spawn_with(struct bench_run *run, struct bench_child *c, char *const argv[],
		     const char *input)
{
	sigset_t mask = run->stop->before;
	struct start s = {.argv = argv, .input = input, .mask = &mask, .parent = getpid()};
	int pipe_fd[2];

	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return bench_fail(run, "pipe: %s", strerror(errno));
	sigdelset(&mask, SIGPIPE); /* main() has blocked it for itself */
	s.out = pipe_fd[1];
	c->started_ns = now_ns();
	c->pid = start(&s);
	close(pipe_fd[1]);
	c->out = pipe_fd[0];
	if (c->pid > 0)
		return 0;
	close(c->out);
	return bench_fail(run, "%s: %s", argv[0], strerror(-c->pid));
}

void bench_reap(struct bench_child *c, bool kill_it)
{
	int status;

	if (kill_it)
		kill(c->pid, SIGKILL);
	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(c->out);
}

unsigned int bench_peer_args(char **argv, unsigned int n)
{
	static const char *const args[] = {QEMU,
					   "-cpu",
					   "host,-arch-capabilities",
					   "-nodefaults",
					   "-no-user-config",
					   "-display",
					   "none",
					   "-no-reboot",
					   "-serial",
					   "stdio",
					   "-device",
					   "isa-debug-exit,iobase=0xf4,iosize=4"};

	for (size_t i = 0; i < sizeof(args) / sizeof(args[0]); i++)
		argv[n++] = (char *)args[i];
	return n;
}

unsigned int bench_peer_disk(char **argv, unsigned int n, char drive[BENCH_DRIVE], const char *path,
			     bool direct)
{
	const char *const args[] = {"-object", "iothread,id=io",
				    "-drive",  drive,
				    "-device", "virtio-blk-pci,drive=disk,iothread=io"};

	snprintf(drive, BENCH_DRIVE, "if=none,id=disk,format=raw,readonly=on,file=%s,%s", path,
		 direct ? "cache=none,aio=io_uring" : "cache=writeback,aio=threads");
	for (size_t i = 0; i < sizeof(args) / sizeof(args[0]); i++)
		argv[n++] = (char *)args[i];
	return n;
}

void bench_command_init(struct bench_command *c, const struct bench_mode *mode, int image,
			uint32_t vcpus)
{
	unsigned int n = 0;

	snprintf(c->image, sizeof(c->image), "/dev/fd/%d", image);
	snprintf(c->smp, sizeof(c->smp), "%u", vcpus);
	snprintf(c->memory, sizeof(c->memory), "%uM", BENCH_CHILD_MIB);
	memset(c->argv, 0, sizeof(c->argv));
#define ARG(s) (c->argv[n++] = (char *)(s))
	if (mode->peer) {
		n = bench_peer_args(c->argv, n);
		ARG("-M");
		ARG("microvm,accel=kvm");
		ARG("-smp");
		ARG(c->smp);
		ARG("-m");
		ARG(c->memory);
		ARG("-kernel");
		ARG(c->image);
		ARG("-append");
		ARG(c->append);
	} else {
		ARG("/proc/self/exe");
		ARG("run");
		ARG("--irqchip");
		ARG(mode->irqchip == CATNAP_IRQCHIP_USER ? "user" : "kernel");
		ARG("--debug-exit");
		ARG("0xf4");
		ARG("--cpus");
		ARG(c->smp);
		ARG("-m");
		ARG(c->memory);
		ARG("-k");
		ARG(c->image);
		ARG("-c");
		ARG(c->append);
	}
#undef ARG
}

bool bench_wait_output(const struct bench_run *run, const struct bench_child *c)
{
	struct pollfd p[] = {{.fd = c->out, .events = POLLIN},
			     {.fd = run->stop->fd, .events = POLLIN}};
	int ret;

	do {
		ret = poll(p, 2, PATIENCE_MS);
	} while (ret < 0 && errno == EINTR);
	return ret >= 1 && (p[0].revents & POLLIN);
}

int bench_child_start(struct bench_run *run, struct bench_child *c, const char *append, char *text,
		      size_t size)
{
	struct bench_command cmd;
	int image = bench_image_file(), ret;

	if (image < 0)
		return bench_fail(run, "memfd_create: %s", strerror(errno));
	bench_command_init(&cmd, run->cell->mode, image, 1);
	snprintf(cmd.append, sizeof(cmd.append), "%s", append);
	ret = bench_spawn(run, c, cmd.argv);
	if (ret == 0 && (!bench_wait_output(run, c) || read(c->out, text, size) <= 0)) {
		bench_reap(c, true);
		ret = bench_fail(run, "%s did not start the guest", cmd.argv[0]);
	}
	close(image);
	return ret;
}

/* A child whose output is read. */
struct reading {
	const struct bench_run *run;
	const struct bench_child *c;
};

static bool wait_for_more(void *ctx)
{
	const struct reading *r = ctx;

	return bench_wait_output(r->run, r->c);
}

/* Takes the samples among the lines that the probe printed. */
static int parse_samples(struct bench_run *run, char *text, struct bench_series *samples)
{
	bool ended = false;
	char *save = NULL;

	for (char *line = strtok_r(text, "\r\n", &save); line;
	     line = strtok_r(NULL, "\r\n", &save)) {
		unsigned long long ns;

		if (sscanf(line, "s %llu", &ns) == 1 && bench_series_add(samples, ns) < 0)
			return bench_fail(run, "out of memory");
		if (strncmp(line, "probe: error", 12) == 0)
			return bench_fail(run, "%.100s", line);
		ended |= strncmp(line, "probe: end", 10) == 0;
	}
	return ended ? 0 : bench_fail(run, "%s did not finish the workload", QEMU);
}

/* Measures the peer, whose samples come as text. */
int bench_peer(struct bench_run *run, uint32_t vcpus)
{
	uint32_t samples = run->cfg->samples < PEER_SAMPLES ? run->cfg->samples : PEER_SAMPLES;
	struct bench_series round = {0};
	struct bench_command cmd;
	struct bench_child c = {.out = -1};
	char *text;
	int image = bench_image_file(), ret;

	if (image < 0)
		return bench_fail(run, "memfd_create: %s", strerror(errno));
	bench_command_init(&cmd, run->cell->mode, image, vcpus);
	snprintf(cmd.append, sizeof(cmd.append),
		 "workload=%s samples=%u warmup=100 gap_ns=%llu random=%d seed=%u tsc_khz=%u "
		 "apic_hz=1000000000 pv_eoi=1 cpus=%u exit=244",
		 run->cell->workload->name, samples, (unsigned long long)run->cell->gap_ns,
		 run->cell->random, run->seed + 1, run->tsc_khz, vcpus);
	if (bench_spawn(run, &c, cmd.argv) < 0) {
		close(image);
		return -1;
	}
	/* Until it closes its output, or PATIENCE_MS pass without any. */
	text = child_output(c.out, MOST_BYTES, wait_for_more, &(struct reading){run, &c});
	bench_reap(&c, true);
	close(image);
	ret = text ? parse_samples(run, text, &round) : bench_fail(run, "out of memory");
	free(text);
	if (ret == 0 && !round.n)
		ret = bench_fail(run, "%s gave no samples", QEMU);
	if (ret == 0)
		ret = bench_series_add(&run->cell->round_p50, bench_series_quantile(&round, 0.5));
	for (size_t i = 0; i < round.n && ret == 0; i++)
		ret = bench_series_add(&run->cell->latency, round.v[i]);
	bench_series_free(&round);
	return ret;
}
