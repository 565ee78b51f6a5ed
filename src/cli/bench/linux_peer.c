/* SPDX-License-Identifier: Apache-2.0 */
/* A Linux guest in another monitor; see linux.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/bench/linux.h"
#include "cli/bench/net.h"

/* Takes what starting the program has come to, and its clock. Returns the same, or -1. */
static int started(struct bench_run *run, struct bench_linux_guest *g, const char *program, int ret)
{
	if (ret == 0 && clock_getcpuclockid(g->child.pid, &g->clock) != 0) {
		bench_reap(&g->child, true);
		ret = bench_fail(run, "%s ended at once", program);
	}
	g->there = ret == 0;
	return ret;
}

/* -- QEMU ------------------------------------------------------------------------------------- */

static int start_qemu(struct bench_run *run, struct bench_linux_guest *g,
		      const struct bench_linux_images *images,
		      const struct bench_linux_devices *dev, const char *cmdline)
{
	char serial[64], smp[8], memory[16], drive[BENCH_DRIVE], *argv[48] = {NULL};
	unsigned int n = 0;
	int fd[2], ret;

	/* The other end is QEMU's to inherit. */
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0)
		return bench_fail(run, "socketpair: %s", strerror(errno));
	fcntl(fd[0], F_SETFD, FD_CLOEXEC);
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	snprintf(serial, sizeof(serial), "socket,id=serial,fd=%d", fd[1]);
	snprintf(smp, sizeof(smp), "%d", BENCH_LINUX_VCPUS);
	snprintf(memory, sizeof(memory), "%dM", BENCH_LINUX_MIB);
#define ARG(s) (argv[n++] = (char *)(s))
	ARG(bench_peer_program(BENCH_PEER_QEMU));
	ARG("-M");
	ARG("microvm,accel=kvm,pcie=on,rtc=on");
	ARG("-cpu");
	ARG("host");
	ARG("-nodefaults");
	ARG("-no-user-config");
	ARG("-display");
	ARG("none");
	ARG("-no-reboot");
	ARG("-smp");
	ARG(smp);
	ARG("-m");
	ARG(memory);
	ARG("-chardev");
	ARG(serial);
	ARG("-serial");
	ARG("chardev:serial");
	ARG("-kernel");
	ARG(images->kernel);
	ARG("-initrd");
	ARG(images->initramfs);
	ARG("-append");
	ARG(cmdline);
	if (dev->disk)
		n = bench_peer_disk(argv, n, drive, dev->disk, dev->direct);
	if (dev->tap) {
		ARG("-netdev");
		ARG("tap,id=net,ifname=" BENCH_TAP ",script=no,downscript=no");
		ARG("-device");
		ARG("virtio-net-pci,netdev=net,romfile=");
	}
#undef ARG
	g->begin_ns = now_ns();
	ret = started(run, g, argv[0], bench_spawn(run, &g->child, argv));
	close(fd[1]);
	if (ret < 0)
		close(fd[0]);
	g->out = g->in = fd[0];
	return ret;
}

/* -- kvmtool ---------------------------------------------------------------------------------- */

/* Writes the guest's name, by which its socket is called. */
static void guest_name(char *name, size_t size)
{
	snprintf(name, size, "catnap-bench-%d", (int)getpid());
}

/*
 * It has its console on its standard streams. One that ends, as /dev/null does, it would read for
 * ever: so its input is a pipe. It puts arguments of its own before ours, and has the kernel do
 * without ACPI and I/O APIC.
 */
static int start_kvmtool(struct bench_run *run, struct bench_linux_guest *g,
			 const struct bench_linux_images *images,
			 const struct bench_linux_devices *dev, const char *cmdline)
{
	char input[32], name[48], smp[8], memory[16], disk[128], *argv[32] = {NULL};
	unsigned int n = 0;
	int fd[2], ret;

	if (pipe2(fd, O_CLOEXEC) < 0)
		return bench_fail(run, "pipe: %s", strerror(errno));
	/* The child opens it by that name before it is the program. */
	snprintf(input, sizeof(input), "/proc/self/fd/%d", fd[0]);
	guest_name(name, sizeof(name));
	snprintf(smp, sizeof(smp), "%d", BENCH_LINUX_VCPUS);
	snprintf(memory, sizeof(memory), "%d", BENCH_LINUX_MIB);
#define ARG(s) (argv[n++] = (char *)(s))
	ARG(bench_peer_program(BENCH_PEER_KVMTOOL));
	ARG("run");
	ARG("--name");
	ARG(name);
	ARG("--console");
	ARG("serial");
	ARG("-c");
	ARG(smp);
	ARG("-m");
	ARG(memory);
	ARG("-k");
	ARG(images->kernel);
	ARG("-i");
	ARG(images->initramfs);
	ARG("-p");
	ARG(cmdline);
	if (dev->disk) {
		snprintf(disk, sizeof(disk), "%.100s,ro%s", dev->disk,
			 dev->direct ? ",direct" : "");
		ARG("-d");
		ARG(disk);
	}
	ARG("-n");
	ARG(dev->tap ? "mode=tap,tapif=" BENCH_TAP ",script=none" : "mode=none");
#undef ARG
	g->begin_ns = now_ns();
	ret = started(run, g, argv[0], bench_spawn_with(run, &g->child, argv, input));
	close(fd[0]);
	g->in = fd[1];
	if (ret < 0) {
		close(fd[1]);
		return ret;
	}
	/* bench_reap() closes the one, and bench_linux_end_peer() the other. */
	g->out = fcntl(g->child.out, F_DUPFD_CLOEXEC, 0);
	if (g->out >= 0 && fcntl(g->out, F_SETFL, O_NONBLOCK) == 0)
		return 0;
	bench_fail(run, "%s: %s", argv[0], strerror(errno));
	bench_linux_end_peer(g);
	return -1;
}

/* Removes the socket by which it could have been asked: it has been killed. */
static void remove_socket(void)
{
	const char *home = getenv("HOME");
	char name[48], path[4096];

	guest_name(name, sizeof(name));
	if (home &&
	    snprintf(path, sizeof(path), "%s/.lkvm/%s.sock", home, name) < (int)sizeof(path))
		unlink(path);
}

/* -- any of them ------------------------------------------------------------------------------ */

int bench_linux_start_peer(struct bench_run *run, struct bench_linux_guest *g,
			   const struct bench_linux_images *images,
			   const struct bench_linux_devices *dev, const char *cmdline)
{
	g->peer = run->cell->mode->peer;
	return g->peer == BENCH_PEER_KVMTOOL ? start_kvmtool(run, g, images, dev, cmdline)
					     : start_qemu(run, g, images, dev, cmdline);
}

void bench_linux_end_peer(struct bench_linux_guest *g)
{
	bench_reap(&g->child, true);
	if (g->out >= 0)
		close(g->out);
	if (g->in != g->out)
		close(g->in);
	if (g->peer == BENCH_PEER_KVMTOOL)
		remove_socket();
}
