/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands where grub-fstest does, once a disk has taken that over, and tries to get out of where it is
 * closed in. What it could do is in its message, which catnap shows. The image's name says what it is
 * to do beside: endless, silent, crash, memory.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char could[512];

static void note(int done, const char *what)
{
	size_t n = strlen(could);

	if (done)
		snprintf(could + n, sizeof(could) - n, " %s", what);
}

static int can_open(const char *path, int flags)
{
	return open(path, flags, 0600) >= 0;
}

static int can_list(const char *path)
{
	DIR *d = opendir(path);

	return d && readdir(d);
}

static int own_only(void)
{
	for (int fd = 3; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
			return errno == EPERM;
	return 1;
}

static void try_all(const char *image)
{
	char head[8], name[4200];
	int fd = open(image, O_RDONLY);

	note(fd < 0 || read(fd, head, sizeof(head)) < 0, "not-read-its-image");
	snprintf(name, sizeof(name), "%s.made", image);
	note(can_open(image, O_WRONLY), "write-image");
	note(can_open(name, O_CREAT | O_WRONLY), "make-file");
	note(can_open("/etc/passwd", O_RDONLY), "read-passwd");
	note(can_open("/etc/shadow", O_RDONLY), "read-shadow");
	note(can_open("/proc/self/status", O_RDONLY), "read-proc");
	note(can_open("/dev/kvm", O_RDWR), "open-kvm");
	note(can_list("/"), "list-root");
	note(can_list("/usr/lib"), "list-lib");
	note(socket(AF_UNIX, SOCK_STREAM, 0) >= 0, "unix-socket");
	note(socket(AF_INET, SOCK_STREAM, 0) >= 0, "inet-socket");
	note(syscall(SYS_fork) >= 0 || fork() >= 0, "fork");
	note(kill(getppid(), 0) == 0, "signal-parent");
	note(ptrace(PTRACE_ATTACH, getppid(), 0, 0) == 0, "trace-parent");
	note(unlink(image) == 0, "remove-image");
	note(chmod(image, 0777) == 0, "change-mode");
	note(setuid(0) == 0, "become-root");
	note(syscall(SYS_unshare, 0x10000000) == 0, "name-space");
	note(syscall(SYS_io_uring_setup, 1, NULL) >= 0, "io-uring");
	note(syscall(SYS_open_by_handle_at, 3, NULL, 0) >= 0 || errno != EPERM, "open-by-handle");
	note(syscall(SYS_bpf, 0, NULL, 0) >= 0 || errno != EPERM, "bpf");
	note(memfd_create("a", 0) >= 0, "memfd");
	note(!own_only(), "other-descriptors");
	note(getuid() == 0, "be-root");
	execl("/bin/sh", "sh", "-c", "true", (char *)NULL);
	note(errno != EACCES, "shell");
}

int main(int argc, char **argv)
{
	static char block[1 << 16];
	const char *image = argc > 1 ? argv[1] : "";

	if (strstr(image, "endless"))
		while (write(STDOUT_FILENO, block, sizeof(block)) > 0)
			;
	if (strstr(image, "messages"))
		while (write(STDERR_FILENO, block, sizeof(block)) > 0)
			;
	if (strstr(image, "silent"))
		for (;;)
			(void)read(STDIN_FILENO, block, 1);
	if (strstr(image, "crash"))
		*(volatile char *)0 = 0;
	if (strstr(image, "memory")) {
		size_t n = 0;

		while (n < 64 && malloc((size_t)64 << 20))
			n++;
		fprintf(stderr, "%zu MiB\n", n * 64);
		return 1;
	}
	if (strstr(image, "garbage")) {
		printf("\tPartition loop0,\033[31m: Filesystem type ext\nDevice ../../x: "
		       "Filesystem type a\n"
		       "Device (): Filesystem type a\nDevice lvm/%0500d: Filesystem type a\n",
		       1);
		return 0;
	}
	try_all(image);
	fprintf(stderr, "hostile: error: could:%s.\n\033[31mmore\n", could);
	return 1;
}
