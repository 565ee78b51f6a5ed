// SPDX-License-Identifier: Apache-2.0
/*
 * Workloads in which somebody outside asks.
 *
 *     run=memcached     Debian's, in the image (build --memcached), with a thread for each CPU, until a
 *                       line comes from the terminal of go=
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

#define PROGRAM	   "/bin/memcached"
#define PORT	   11211
#define LISTENING  "0A" /* in /proc/net/tcp */
#define PATIENCE_S 120

static pid_t start(int threads)
{
	char count[16];
	pid_t pid = fork();

	if (pid == 0) {
		char *argv[] = {(char *)"memcached",
				(char *)"-u",
				(char *)"root",
				(char *)"-m",
				(char *)"64",
				(char *)"-U",
				(char *)"0",
				(char *)"-t",
				count,
				NULL};
		char *env[] = {NULL};

		snprintf(count, sizeof(count), "%d", threads);
		execve(PROGRAM, argv, env);
		complain(PROGRAM ": %s", strerror(errno));
		_exit(127);
	}
	return pid;
}

static bool listens(void)
{
	FILE *f = fopen("/proc/net/tcp", "re");
	char line[256], state[8];
	bool found = false;
	unsigned int port;

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, " %*d: %*x:%x %*x:%*x %7s", &port, state) == 2 &&
			port == PORT && strcmp(state, LISTENING) == 0;
	if (f)
		fclose(f);
	return found;
}

static bool wait_until_it_listens(pid_t pid)
{
	const int64_t end = now_ns() + PATIENCE_S * 1000000000LL;
	int status;

	while (!listens()) {
		if (waitpid(pid, &status, WNOHANG) == pid) {
			complain("memcached ended with status %#x", status);
			return false;
		}
		if (now_ns() > end) {
			complain("memcached does not listen");
			return false;
		}
		usleep(10000);
	}
	return true;
}

int memcached_test(void)
{
	const int threads = online_cpus(NULL);
	pid_t pid;
	int status;

	if (access(PROGRAM, X_OK)) {
		complain("no memcached in this image: expected one of guest-images/rootfs/build "
			 "--memcached");
		return -1;
	}
	pid = start(threads);
	if (pid < 0 || !wait_until_it_listens(pid))
		return -1;
	result("memcached_serves", "%d", threads);
	hold();
	/* A server that has ended before was not what answered. */
	if (kill(pid, SIGTERM) || waitpid(pid, &status, 0) != pid) {
		complain("memcached has ended early");
		return -1;
	}
	result("memcached_status", "%#x", status);
	return 0;
}
