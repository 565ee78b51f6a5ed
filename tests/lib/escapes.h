/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The attempts that code that has got hold of a thread would make next. Each attempt works for an
 * ordinary program (as root, most of them), and must not for a thread that is closed in: either it
 * fails, or it ends the process. For tests that run them in a child for each.
 */
#ifndef TESTS_ESCAPES_H
#define TESTS_ESCAPES_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* The world outside: made before the thread is closed in. */
struct escape_world {
	char dir[32];	 /* mkdtemp(3)'s template */
	char stream[64]; /* somebody else's sockets below it */
	char datagram[64];
	char file[64], below[64], none[64];
	char abstract[32];
	struct sockaddr_in tcp;
	char out[512]; /* for whatever a call would write */
	int fds[4];
	int kvm; /* /dev/kvm, left open; -1: none */
	pid_t other;
};

static struct escape_world escape_world = {.dir = "/tmp/catnap-test-XXXXXX", .kvm = -1};

static inline int escape_bind(int type, const char *path, bool abstract)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	size_t len = strlen(path);

	memcpy(at.sun_path + abstract, path, len);
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&at,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + len)) < 0)
		return -1;
	return type == SOCK_STREAM && listen(fd, 64) < 0 ? -1 : fd;
}

static inline bool escape_world_make(void)
{
	struct escape_world *w = &escape_world;
	socklen_t len = sizeof(w->tcp);
	char sub[64];
	int fd;

	if (!mkdtemp(w->dir))
		return false;
	snprintf(w->stream, sizeof(w->stream), "%.31s/stream", w->dir);
	snprintf(w->datagram, sizeof(w->datagram), "%.31s/datagram", w->dir);
	snprintf(w->file, sizeof(w->file), "%.31s/file", w->dir);
	snprintf(w->none, sizeof(w->none), "%.31s/none", w->dir);
	snprintf(sub, sizeof(sub), "%.31s/sub", w->dir);
	snprintf(w->below, sizeof(w->below), "%.31s/sub/file", w->dir);
	snprintf(w->abstract, sizeof(w->abstract), "%.20s", w->dir + 5);
	w->fds[0] = escape_bind(SOCK_STREAM, w->stream, false);
	w->fds[1] = escape_bind(SOCK_DGRAM, w->datagram, false);
	w->fds[2] = escape_bind(SOCK_STREAM, w->abstract, true);
	w->tcp = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	w->fds[3] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(w->fds[3], (struct sockaddr *)&w->tcp, sizeof(w->tcp)) < 0 ||
	    listen(w->fds[3], 64) < 0 ||
	    getsockname(w->fds[3], (struct sockaddr *)&w->tcp, &len) < 0)
		return false;
	fd = open(w->file, O_CREAT | O_RDWR | O_CLOEXEC, 0755);
	if (fd < 0 || write(fd, "secret", 6) != 6 || close(fd) < 0 || mkdir(sub, 0755) < 0)
		return false;
	fd = open(w->below, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
	if (fd < 0 || close(fd) < 0)
		return false;
	w->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	w->other = getppid();
	return w->fds[0] >= 0 && w->fds[1] >= 0 && w->fds[2] >= 0;
}

/* 0 if all of it is still there. */
static inline int escape_world_remove(void)
{
	const struct escape_world *w = &escape_world;
	char sub[64];
	int bad;

	snprintf(sub, sizeof(sub), "%.31s/sub", w->dir);
	bad = unlink(w->below) | rmdir(sub) | unlink(w->file) | unlink(w->stream) |
	      unlink(w->datagram);
	return rmdir(w->dir) | bad;
}

/* -- attempts: true is an escape -------------------------------------------------------------- */

static inline bool escape_connect(int family, int type, const void *to, socklen_t len)
{
	int fd = socket(family, type, 0);

	return fd >= 0 && connect(fd, to, len) == 0 && write(fd, "run this\n", 9) == 9;
}

static inline bool escape_unix(int type, const char *path, bool abstract)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	memcpy(to.sun_path + abstract, path, strlen(path));
	return escape_connect(
		AF_UNIX, type, &to,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + strlen(path)));
}

static inline bool escape_to_stream(void)
{
	return escape_unix(SOCK_STREAM, escape_world.stream, false);
}

static inline bool escape_to_datagram(void)
{
	return escape_unix(SOCK_DGRAM, escape_world.datagram, false);
}

static inline bool escape_to_abstract(void)
{
	return escape_unix(SOCK_STREAM, escape_world.abstract, true);
}

static inline bool escape_to_tcp(void)
{
	return escape_connect(AF_INET, SOCK_STREAM, &escape_world.tcp, sizeof(escape_world.tcp));
}

static inline bool escape_to_udp(void)
{
	return escape_connect(AF_INET, SOCK_DGRAM, &escape_world.tcp, sizeof(escape_world.tcp));
}

static inline bool escape_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	return p != MAP_FAILED;
}

static inline bool escape_code_later(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0;
}

struct escape {
	const char *name;
	bool (*fn)(void); /* or: */
	long nr;
	long args[6];
};

#define ESCAPE_AT(p) ((long)(p))
#define ESCAPE_FN(n, f)                \
	{                              \
		.name = (n), .fn = (f) \
	}
#define ESCAPE(n, c, ...)                                           \
	{                                                           \
		.name = (n), .nr = SYS_##c, .args = { __VA_ARGS__ } \
	}
#define ESCAPE_W(member) ESCAPE_AT(escape_world.member)

static const struct escape escapes[] = {
	ESCAPE_FN("a Unix socket elsewhere", escape_to_stream),
	ESCAPE_FN("datagrams to a Unix socket", escape_to_datagram),
	ESCAPE_FN("an abstract socket", escape_to_abstract),
	ESCAPE_FN("TCP", escape_to_tcp),
	ESCAPE_FN("UDP", escape_to_udp),
	ESCAPE("netlink", socket, AF_NETLINK, SOCK_RAW, 0),
	ESCAPE("packets", socket, AF_PACKET, SOCK_RAW, 0),
	ESCAPE("AF_VSOCK", socket, AF_VSOCK, SOCK_STREAM, 0),
	ESCAPE("AF_ALG", socket, AF_ALG, SOCK_SEQPACKET, 0),
	ESCAPE("a pair of sockets", socketpair, AF_UNIX, SOCK_DGRAM, 0, ESCAPE_W(out)),
	ESCAPE("to read a file", openat, AT_FDCWD, ESCAPE_W(file), O_RDONLY | O_CLOEXEC),
	ESCAPE("to read a file, as old programs", open, ESCAPE_W(file), O_RDONLY),
	ESCAPE("to write a file", openat, AT_FDCWD, ESCAPE_W(file), O_WRONLY),
	ESCAPE("to make a file", openat, AT_FDCWD, ESCAPE_W(none), O_CREAT | O_RDWR, 0600),
	ESCAPE("a temporary file", openat, AT_FDCWD, ESCAPE_W(dir), O_TMPFILE | O_RDWR, 0600),
	ESCAPE("a folder", openat, AT_FDCWD, ESCAPE_W(dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC),
	ESCAPE("a path", openat, AT_FDCWD, ESCAPE_W(file), O_PATH),
	ESCAPE("unlink", unlink, ESCAPE_W(file)),
	ESCAPE("unlink further below", unlink, ESCAPE_W(below)),
	ESCAPE("unlinkat", unlinkat, AT_FDCWD, ESCAPE_W(below), 0),
	ESCAPE("rename", rename, ESCAPE_W(file), ESCAPE_W(none)),
	ESCAPE("link", link, ESCAPE_W(file), ESCAPE_W(none)),
	ESCAPE("symlink", symlink, ESCAPE_W(file), ESCAPE_W(none)),
	ESCAPE("mkdir", mkdir, ESCAPE_W(none), 0700),
	ESCAPE("mknod", mknod, ESCAPE_W(none), S_IFIFO | 0600, 0),
	ESCAPE("truncate", truncate, ESCAPE_W(file), 0),
	ESCAPE("chmod", chmod, ESCAPE_W(file), 0777),
	ESCAPE("chown", chown, ESCAPE_W(file), 0, 0),
	ESCAPE("stat", stat, ESCAPE_W(file), ESCAPE_W(out)),
	ESCAPE("lstat", lstat, ESCAPE_W(file), ESCAPE_W(out)),
	ESCAPE("statat, not followed", newfstatat, AT_FDCWD, ESCAPE_W(file), ESCAPE_W(out),
	       AT_SYMLINK_NOFOLLOW),
	ESCAPE("statat of what looks like none", newfstatat, AT_FDCWD, ESCAPE_W(file),
	       ESCAPE_W(out), AT_EMPTY_PATH),
	ESCAPE("statx", statx, AT_FDCWD, ESCAPE_W(file), 0, STATX_BASIC_STATS, ESCAPE_W(out)),
	ESCAPE("access", access, ESCAPE_W(file), R_OK),
	ESCAPE("statfs", statfs, ESCAPE_W(file), ESCAPE_W(out)),
	ESCAPE("chdir", chdir, ESCAPE_W(dir)),
	ESCAPE("exec", execve, ESCAPE_AT("/bin/true"), 0, 0),
	ESCAPE("fork", fork),
	ESCAPE("clone", clone, SIGCHLD),
	ESCAPE("a file in memory", memfd_create, ESCAPE_AT("x"), 0),
	ESCAPE_FN("memory to execute", escape_code),
	ESCAPE_FN("memory to execute, in two steps", escape_code_later),
	ESCAPE("a signal to another", kill, 1, 0),
	ESCAPE("a signal to a thread of another", tgkill, 1, 1, 0),
	ESCAPE("a handle of another", pidfd_open, 1, 0),
	ESCAPE("ptrace", ptrace, 0x4206 /* SEIZE */, 1, 0, 0),
	ESCAPE("another handler", rt_sigaction, SIGSYS, 0, 0, 8),
	ESCAPE("another limit", prlimit64, 0, RLIMIT_NOFILE, 0, ESCAPE_W(out)),
	ESCAPE("another priority", setpriority, PRIO_PROCESS, 0, 0),
	ESCAPE("another name", prctl, PR_SET_NAME, ESCAPE_AT("x")),
	ESCAPE("to be traced", prctl, PR_SET_DUMPABLE, 1),
	ESCAPE("users", setresuid, -1, -1, -1),
	ESCAPE("groups", setgroups, 0, 0),
	ESCAPE("another root", chroot, ESCAPE_W(dir)),
	ESCAPE("namespaces", unshare, CLONE_NEWUSER),
	ESCAPE("another filter", seccomp, 2 /* GET_ACTION_AVAIL */, 0, ESCAPE_W(out)),
	ESCAPE("a ring", io_uring_setup, 1, ESCAPE_W(out)),
	ESCAPE("page faults", userfaultfd, O_CLOEXEC),
	ESCAPE("keys", keyctl, 0, -3, 1),
	ESCAPE("a pipe", pipe2, ESCAPE_W(out), 0),
	ESCAPE("an eventfd", eventfd2, 0, 0),
	ESCAPE("a second descriptor", dup, 2),
	ESCAPE("whose signal", fcntl, 0, F_SETOWN, 1),
	ESCAPE("flags of a file", fcntl, 2, F_SETFL, 0),
	ESCAPE("keys of the terminal", ioctl, 0, TIOCSTI, ESCAPE_AT("x")),
	ESCAPE("another clock", clock_settime, 0, 0),
	ESCAPE("a name of the host", uname, ESCAPE_W(out)),
	ESCAPE("the time as it is set", clock_adjtime, 0, ESCAPE_W(out)),
};

#define N_ESCAPES (sizeof(escapes) / sizeof(escapes[0]))

static inline bool escape_works(const struct escape *e)
{
	return e->fn ? e->fn()
		     : syscall(e->nr, e->args[0], e->args[1], e->args[2], e->args[3], e->args[4],
			       e->args[5]) >= 0;
}

/* Another VM from the descriptor that is open. */
static inline bool escape_to_another_vm(void)
{
	return escape_world.kvm >= 0 && ioctl(escape_world.kvm, KVM_CREATE_VM, 0) >= 0;
}

#endif
