/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The init of the example one-command: loads the modules that it finds, runs /command with the
 * arguments in /args, each of which ends with a NUL, sends what it writes to port 1024 of the host
 * and how it ended to port 1025, and powers off. Static; nothing else is in the guest but what the
 * command needs.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#define OUTPUT_PORT 1024
#define STATUS_PORT 1025
#define CANNOT_RUN  127

static char args[65536];

static void end(void)
{
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}

static void fail(const char *what)
{
	fprintf(stderr, "one-command: %s: %s\n", what, strerror(errno));
	end();
}

/* In the order of their names. */
static void load_modules(void)
{
	struct dirent **names;
	int n = scandir("/modules", &names, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		char path[512];
		int fd;

		if (names[i]->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/modules/%s", names[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
			fprintf(stderr, "one-command: %s: %s\n", path, strerror(errno));
		close(fd);
	}
}

static int reach_host(unsigned int port)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		fail("the host");
	return fd;
}

static size_t read_args(char **argv, size_t most)
{
	int fd = open("/args", O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, args, sizeof(args) - 1);
	size_t n = 0;

	for (char *p = args; len > 0 && p < args + len && n + 1 < most; p += strlen(p) + 1)
		argv[n++] = p;
	close(fd);
	argv[n] = NULL;
	return n;
}

static int run(char **argv, int output)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		dup2(null, 0);
		dup2(output, 1);
		dup2(output, 2);
		setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
		setenv("HOME", "/", 1);
		execv("/command", argv);
		dprintf(2, "one-command: %s: %s\n", argv[0], strerror(errno));
		_exit(CANNOT_RUN);
	}
	/* init has other people's children, too. */
	while (pid < 0 || waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail("fork");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(void)
{
	char *argv[1024];
	int output, status;

	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("tmpfs", "/tmp", "tmpfs", 0, NULL);
	load_modules();
	if (!read_args(argv, sizeof(argv) / sizeof(argv[0])))
		fail("/args");
	output = reach_host(OUTPUT_PORT);
	status = run(argv, output);
	close(output);
	output = reach_host(STATUS_PORT);
	dprintf(output, "%d\n", status);
	close(output);
	end();
}
