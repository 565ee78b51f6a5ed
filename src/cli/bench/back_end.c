/* SPDX-License-Identifier: Apache-2.0 */
/* See back_end.h. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/bench/back_end.h"

#define DAEMON "qemu-storage-daemon"

void bench_back_end_hide(const struct bench_back_end *b)
{
	unlink(b->socket);
	rmdir(b->folder);
}

/* Makes the socket that it is to listen at, so that nobody has to wait for it. Not closed by
 * execve(2). Returns it, or -1. */
static int make_socket(struct bench_run *run, struct bench_back_end *b)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd;

	strcpy(b->folder, "/tmp/catnap-bench-XXXXXX");
	if (!mkdtemp(b->folder)) {
		bench_fail_all(run, "a folder for a socket: %s", strerror(errno));
		return -1;
	}
	snprintf(b->socket, sizeof(b->socket), "%s/disk", b->folder);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", b->socket);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 1) == 0)
		return fd;
	bench_fail_all(run, "%s: %s", b->socket, strerror(errno));
	if (fd >= 0)
		close(fd);
	bench_back_end_hide(b);
	return -1;
}

/* Starts the program on the processor that the guest does not have. */
static int spawn(struct bench_run *run, struct bench_back_end *b, char *const argv[])
{
	cpu_set_t saved, one;
	int32_t vcpu, other;
	bool tied = false;
	int ret;

	if (sched_getaffinity(0, sizeof(saved), &saved) == 0 &&
	    bench_processors(&vcpu, 1, &other)) {
		CPU_ZERO(&one);
		CPU_SET((size_t)other, &one);
		tied = sched_setaffinity(0, sizeof(one), &one) == 0;
	}
	ret = bench_spawn(run, &b->child, argv);
	if (tied)
		sched_setaffinity(0, sizeof(saved), &saved);
	return ret;
}

int bench_back_end_start(struct bench_run *run, struct bench_back_end *b, const char *disk,
			 bool writable)
{
	char node[128], export[160];
	char *const argv[] = {(char *)DAEMON,
			      (char *)"--object",
			      (char *)"iothread,id=io",
			      (char *)"--blockdev",
			      node,
			      (char *)"--export",
			      export,
			      NULL};
	int fd = make_socket(run, b), ret;

	if (fd < 0)
		return -1;
	snprintf(node, sizeof(node), "driver=file,node-name=disk,filename=%s,read-only=%s", disk,
		 writable ? "off" : "on");
	snprintf(export, sizeof(export),
		 "type=vhost-user-blk,id=export,node-name=disk,writable=%s,iothread=io,"
		 "addr.type=fd,addr.str=%d",
		 writable ? "on" : "off", fd);
	ret = spawn(run, b, argv);
	/* It is the program's alone: who connects to one that has gone is not to wait. */
	close(fd);
	if (ret < 0) {
		run->for_all = true;
	} else if (clock_getcpuclockid(b->child.pid, &b->clock) != 0) {
		bench_reap(&b->child, true);
		ret = bench_fail_all(run, DAEMON " ended at once");
	}
	if (ret < 0)
		bench_back_end_hide(b);
	return ret;
}

void bench_back_end_stop(struct bench_back_end *b)
{
	bench_reap(&b->child, true);
	bench_back_end_hide(b);
}

/* -- who pays --------------------------------------------------------------------------------- */

static bool guest_cpu(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return c->has_back && bench_cell_each(c, c->cpu_ns - c->back_ns, value);
}

bool bench_value_back_cpu(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return c->has_back && bench_cell_each(c, c->back_ns, value);
}

const struct bench_column bench_back_end_columns[] = {
	{"guest", "CPU/event of the guest", 6, BENCH_NS, .value = guest_cpu},
	{"back end", "CPU/event of the back end", 8, BENCH_NS, .value = bench_value_back_cpu},
	{.head = NULL},
};

bool bench_back_end_among(const struct bench_cell *cells, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (cells[i].has_back && cells[i].events)
			return true;
	return false;
}
