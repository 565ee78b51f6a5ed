// SPDX-License-Identifier: Apache-2.0
/*
 * The init of the Linux guest that catnap is tested with: mounts what there is to mount, loads the
 * modules that the image has, runs the workloads that the kernel's command line names, and ends.
 *
 *     run=report,pipe,...   default: shell, on the console
 *     end=poweroff|reboot|panic|halt
 *
 * Numbers for the workloads are options too; each workload says which. The file /options of the image
 * may have more of them; those of the command line go before.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

static char cmdline[8192];

/* The last one counts, as in the kernel. */
const char *option(const char *name, const char *otherwise)
{
	static char value[8][1024];
	static int turn;
	char *v = value[turn++ % 8];
	size_t n = strlen(name);
	bool found = false;

	for (const char *p = cmdline; *p;) {
		size_t word = strcspn(p, " \n");

		if (word > n && p[n] == '=' && !strncmp(p, name, n)) {
			snprintf(v, sizeof(value[0]), "%.*s", (int)(word - n - 1), p + n + 1);
			found = true;
		}
		p += word;
		p += strspn(p, " \n");
	}
	return found ? v : otherwise;
}

long option_number(const char *name, long otherwise)
{
	const char *v = option(name, NULL);

	return v ? strtol(v, NULL, 10) : otherwise;
}

static void line(const char *start, const char *key, const char *format, va_list args)
{
	char text[2048];
	int n = snprintf(text, sizeof(text), "%s%s%s", start, key, *key ? "=" : "");

	n += vsnprintf(text + n, sizeof(text) - n - 1, format, args);
	if (n > (int)sizeof(text) - 2)
		n = sizeof(text) - 2;
	text[n++] = '\n';
	for (int done = 0; done < n;) {
		ssize_t w = write(1, text + done, n - done);

		if (w <= 0 && errno != EINTR)
			return;
		done += w > 0 ? w : 0;
	}
}

void result(const char *key, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line("result: ", key, format, args);
	va_end(args);
}

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line("result: error=", "", format, args);
	va_end(args);
}

int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

bool read_line(const char *path, char *text, int size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	text[0] = 0;
	if (fd < 0)
		return false;
	n = read(fd, text, size - 1);
	close(fd);
	if (n < 0)
		return false;
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	return true;
}

bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text);
}

/* Their numbers, if cpus is not NULL, and how many; the list is like 0-3,5. */
int online_cpus(int *cpus)
{
	char text[1024];
	int n = 0;

	if (!read_line("/sys/devices/system/cpu/online", text, sizeof(text)))
		return 0;
	for (char *p = text; *p;) {
		long first = strtol(p, &p, 10), last = first;

		if (*p == '-')
			last = strtol(p + 1, &p, 10);
		for (; first <= last && n < MAX_CPUS; first++, n++)
			if (cpus)
				cpus[n] = first;
		if (*p != ',')
			break;
		p++;
	}
	return n;
}

void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		complain("cannot run on cpu %d: %s", cpu, strerror(errno));
}

/* Options of modules are on the command line, as for those that are built in: NAME.KEY=VALUE. */
static void load_module(const char *path)
{
	char name[64], options[1024] = "";
	const char *base = strrchr(path, '/');
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t n;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(base ? base + 1 : path, "."),
		 base ? base + 1 : path);
	for (char *p = name; *p; p++)
		if (*p == '-')
			*p = '_';
	n = strlen(name);
	for (const char *p = cmdline; *p;) {
		size_t word = strcspn(p, " \n"), have = strlen(options);

		if (word > n && p[n] == '.' && !strncmp(p, name, n))
			snprintf(options + have, sizeof(options) - have, "%.*s ",
				 (int)(word - n - 1), p + n + 1);
		p += word;
		p += strspn(p, " \n");
	}
	/* ENODEV: a driver for something that is not there. */
	if (fd < 0 ||
	    (syscall(SYS_finit_module, fd, options, 0) && errno != ENODEV && errno != EEXIST))
		complain("module %s: %s", path, strerror(errno));
	close(fd);
}

static void load_modules(void)
{
	FILE *f = fopen("/modules/list", "re");
	char name[128], path[160];

	if (!f)
		return;
	while (fscanf(f, "%127s", name) == 1) {
		snprintf(path, sizeof(path), "/modules/%s", name);
		load_module(path);
	}
	fclose(f);
}

static void mount_all(void)
{
	static const struct {
		const char *type, *where, *options;
	} fs[] = {
		{"proc", "/proc", NULL},       {"sysfs", "/sys", NULL},
		{"devtmpfs", "/dev", NULL},    {"devpts", "/dev/pts", NULL},
		{"tmpfs", "/tmp", "size=50%"}, {"tmpfs", "/run", NULL},
	};

	for (size_t i = 0; i < sizeof(fs) / sizeof(fs[0]); i++) {
		mkdir(fs[i].where, 0755);
		/* EBUSY: the kernel has done it. */
		if (mount(fs[i].type, fs[i].where, fs[i].type, 0, fs[i].options) && errno != EBUSY)
			complain("mount %s: %s", fs[i].where, strerror(errno));
	}
}

static int shell(void)
{
	pid_t pid = fork();

	if (!pid) {
		char *argv[] = {(char *)"-sh", NULL};
		char *env[] = {(char *)"PATH=/bin:/sbin:/usr/bin:/usr/sbin", (char *)"HOME=/",
			       (char *)"TERM=linux", (char *)"PS1=guest# ", NULL};
		const char *tty = option("tty", "/dev/ttyS0");
		int fd;

		/* A terminal of its own, so that Ctrl-C works: the console is not one. */
		setsid();
		fd = open(tty, O_RDWR);
		if (fd >= 0) {
			dup2(fd, 0);
			dup2(fd, 1);
			dup2(fd, 2);
			if (fd > 2)
				close(fd);
		}
		execve("/bin/sh", argv, env);
		complain("/bin/sh: %s", strerror(errno));
		_exit(127);
	}
	waitpid(pid, NULL, 0);
	return 0;
}

/* Waits for the power button; seconds=N at most. */
static int button(void)
{
	struct pollfd fds[8];
	int n = 0;
	int64_t end = now_ns() + option_number("seconds", 60) * 1000000000LL;

	for (int i = 0; i < 8; i++) {
		char path[32];
		int fd;

		snprintf(path, sizeof(path), "/dev/input/event%d", i);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			fds[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
	}
	if (!n) {
		complain("no input device, so no power button");
		return -1;
	}
	result("button", "ready");
	while (now_ns() < end) {
		poll(fds, n, 1000);
		for (int i = 0; i < n; i++) {
			struct input_event e;

			if ((fds[i].revents & POLLIN) &&
			    read(fds[i].fd, &e, sizeof(e)) == sizeof(e) && e.type == EV_KEY &&
			    e.code == KEY_POWER && e.value) {
				result("button", "pressed");
				return 0;
			}
		}
	}
	complain("the power button was not pressed");
	return -1;
}

static int script(void)
{
	int status = system("/bin/sh /script");

	result("script", "%d", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return 0;
}

/* The verifying load of ../disk, on the disk of disk=, with seed=, workers=, seconds=. */
static int disk(void)
{
	static const char *const names[] = {"seed", "workers", "seconds"};
	char words[3][64], *argv[7] = {(char *)"catnap-disk", (char *)"load",
				       (char *)option("disk", "/dev/vda")};
	int n = 3, status = -1;
	pid_t pid;

	for (int i = 0; i < 3; i++) {
		const char *value = option(names[i], NULL);

		if (!value)
			continue;
		snprintf(words[i], sizeof(words[i]), "%s=%s", names[i], value);
		argv[n++] = words[i];
	}
	pid = fork();
	if (!pid) {
		execv("/bin/catnap-disk", argv);
		complain("/bin/catnap-disk: %s", strerror(errno));
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
		complain("the disk load ended with status %#x", status);
		return -1;
	}
	return 0;
}

static int run(const char *name)
{
	static const struct {
		const char *name;
		int (*run)(void);
	} all[] = {
		{"report", report},
		{"pipe", ping_pong},
		{"timer", timer_test},
		{"clock", clock_test},
		{"sleep", sleep_test},
		{"stress", stress},
		{"offline", offline},
		{"online", online},
		{"shell", shell},
		{"button", button},
		{"script", script},
		{"disk", disk},
		{"read", read_test},
		{"tcp", tcp_test},
		{"udp", udp_test},
		{"hack", hack_test},
		{"sched", sched_test},
		{"fork", fork_test},
		{"memcached", memcached_test},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(all[i].name, name))
			return all[i].run();
	complain("no workload is called %s", name);
	return -1;
}

static void finish(const char *how)
{
	tcdrain(1);
	sync();
	if (!strcmp(how, "panic"))
		write_text("/proc/sysrq-trigger", "c");
	reboot(!strcmp(how, "reboot") ? RB_AUTOBOOT
	       : !strcmp(how, "halt") ? RB_HALT_SYSTEM
				      : RB_POWER_OFF);
	complain("%s: %s", how, strerror(errno));
	for (;;)
		pause();
}

/* Appends the words of a file, which go before those that are there. */
static void add_options(const char *path)
{
	size_t used = strlen(cmdline);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, cmdline + used, sizeof(cmdline) - used - 1);

	cmdline[n < 0 ? used : used + (size_t)n] = 0;
	if (fd >= 0)
		close(fd);
}

int main(void)
{
	char list[1024], *at = NULL;
	int bad = 0;

	if (getpid() != 1) {
		fprintf(stderr, "this is the init of a guest\n");
		return 2;
	}
	mount_all();
	add_options("/options");
	add_options("/proc/cmdline");
	result("init", "%.6f", now_ns() / 1e9);
	load_modules();
	network();
	beat();
	snprintf(list, sizeof(list), "%s", option("run", "shell"));
	for (char *name = strtok_r(list, ",", &at); name; name = strtok_r(NULL, ",", &at))
		bad += run(name) < 0;
	result("done", "%s", bad ? "failed" : "ok");
	finish(option("end", "poweroff"));
}
