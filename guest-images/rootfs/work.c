// SPDX-License-Identifier: Apache-2.0
/*
 * Workloads in the manner of well-known ones. Each checks what it gets.
 *
 *     run=hack    messages=2000     hackbench: 4 senders and 4 receivers, 100 bytes a message
 *     run=sched   wakes=2000        schbench: one thread wakes two workers for each CPU
 *     run=fork    forks=1000        a child that ends at once, waited for
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

/* -- hack ------------------------------------------------------------------------------------- */

#define PAIRS	4
#define MESSAGE 100

struct message {
	int sender;
	long number;
	char rest[MESSAGE - 2 * sizeof(long)];
};

/* Sends @each messages to each receiver, in turn. */
static int sender(const int *to, int self, long each)
{
	struct message m;

	for (long i = 0; i < each; i++)
		for (int r = 0; r < PAIRS; r++) {
			memset(&m, (int)(i + self), sizeof(m));
			m.sender = self;
			m.number = i;
			if (send(to[r], &m, sizeof(m), 0) != sizeof(m))
				return 1;
		}
	return 0;
}

/* Takes what all senders have for it, each in its order, and whole. */
static int receiver(int from, long each)
{
	long next[PAIRS] = {0};
	struct message m;

	for (long left = each * PAIRS; left; left--) {
		if (recv(from, &m, sizeof(m), 0) != sizeof(m) || m.sender < 0 ||
		    m.sender >= PAIRS || m.number != next[m.sender]++)
			return 1;
		for (size_t i = 0; i < sizeof(m.rest); i++)
			if (m.rest[i] != (char)(m.number + m.sender))
				return 1;
	}
	return 0;
}

/* Starts all of them. Returns how many there are. */
static int start_pairs(int ends[PAIRS][2], long each)
{
	int to[PAIRS], n = 0;

	for (int i = 0; i < PAIRS; i++)
		to[i] = ends[i][0];
	for (int i = 0; i < PAIRS; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(receiver(ends[i][1], each));
		n += pid > 0;
	}
	for (int i = 0; i < PAIRS; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(sender(to, i, each));
		n += pid > 0;
	}
	return n;
}

int hack_test(void)
{
	const long each = (option_number("messages", 2000) + PAIRS * PAIRS - 1) / (PAIRS * PAIRS);
	const long messages = each * PAIRS * PAIRS;
	int ends[PAIRS][2], n, good = 0, status;
	struct samples s;
	struct counts c;
	int64_t begin;

	for (int i = 0; i < PAIRS; i++)
		if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends[i])) {
			complain("hack: %s", strerror(errno));
			return -1;
		}
	if (!samples_begin(&s, "hack", 1))
		return -1;
	counts_begin(&c, "hack", messages);
	begin = now_ns();
	n = start_pairs(ends, each);
	for (int i = 0; i < n; i++)
		good += wait(&status) > 0 && status == 0;
	samples_add(&s, (now_ns() - begin) / messages);
	counts_end(&c);
	for (int i = 0; i < PAIRS; i++) {
		close(ends[i][0]);
		close(ends[i][1]);
	}
	samples_end(&s, good == 2 * PAIRS ? messages : 0);
	return good == 2 * PAIRS ? 0 : -1;
}

/* -- sched ------------------------------------------------------------------------------------ */

#define WORKERS	    64
#define WORK	    2000 /* steps of a worker's computation */
#define WORK_RESULT work(1)

struct worker {
	pthread_t thread;
	int wake, done; /* eventfds */
	_Atomic int64_t woken_ns;
	int64_t late_ns;
	uint64_t result;
	bool stop;
};

/* Computes something whose result is known. */
static uint64_t work(uint64_t x)
{
	for (int i = 0; i < WORK; i++)
		x = x * 6364136223846793005u + 1442695040888963407u;
	return x;
}

static bool take(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n);
}

static bool give(int fd)
{
	const uint64_t one = 1;

	return write(fd, &one, sizeof(one)) == sizeof(one);
}

static void *worker_loop(void *p)
{
	struct worker *w = p;

	while (take(w->wake) && !w->stop) {
		w->late_ns = now_ns() - atomic_load(&w->woken_ns);
		w->result = work(1);
		if (!give(w->done))
			break;
	}
	return NULL;
}

/* Wakes all workers and waits for them. Returns how many had the right result. */
static long turn(struct worker *w, int n, struct samples *s)
{
	const uint64_t want = WORK_RESULT;
	long good = 0;

	for (int i = 0; i < n; i++) {
		atomic_store(&w[i].woken_ns, now_ns());
		give(w[i].wake);
	}
	for (int i = 0; i < n; i++) {
		if (!take(w[i].done))
			continue;
		good += w[i].result == want;
		w[i].result = 0;
		samples_add(s, w[i].late_ns);
	}
	return good;
}

int sched_test(void)
{
	static struct worker w[WORKERS];
	const int all = 2 * online_cpus(NULL), n = all < WORKERS ? all : WORKERS;
	const long turns = (option_number("wakes", 2000) + n - 1) / n;
	struct samples s;
	struct counts c;
	long good = 0;

	if (!samples_begin(&s, "sched", turns * n))
		return -1;
	for (int i = 0; i < n; i++) {
		w[i].wake = eventfd(0, EFD_CLOEXEC);
		w[i].done = eventfd(0, EFD_CLOEXEC);
		if (w[i].wake < 0 || w[i].done < 0 ||
		    pthread_create(&w[i].thread, NULL, worker_loop, &w[i])) {
			complain("sched: a worker cannot be had");
			return -1;
		}
	}
	counts_begin(&c, "sched", turns * n);
	for (long i = 0; i < turns; i++)
		good += turn(w, n, &s);
	counts_end(&c);
	for (int i = 0; i < n; i++) {
		w[i].stop = true;
		give(w[i].wake);
		pthread_join(w[i].thread, NULL);
		close(w[i].wake);
		close(w[i].done);
	}
	samples_end(&s, good);
	return good == turns * n ? 0 : -1;
}

/* -- fork ------------------------------------------------------------------------------------- */

#define CHILD_STATUS 7

int fork_test(void)
{
	const long forks = option_number("forks", 1000);
	struct samples s;
	struct counts c;
	long good = 0;

	if (!samples_begin(&s, "fork", forks))
		return -1;
	counts_begin(&c, "fork", forks);
	for (long i = 0; i < forks; i++) {
		int64_t begin = now_ns();
		pid_t pid = fork();
		int status = 0;

		if (pid == 0)
			_exit(CHILD_STATUS);
		good += pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
			WEXITSTATUS(status) == CHILD_STATUS;
		samples_add(&s, now_ns() - begin);
	}
	counts_end(&c);
	samples_end(&s, good);
	return good == forks ? 0 : -1;
}
