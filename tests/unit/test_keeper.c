/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper, with real processes: one that starts it and then ends in one way or another, and what
 * is left of that. No /dev/kvm.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "handover.h"
#include "sandbox/keeper.h"

#define FINE 42
#define NEED(condition)                                                     \
	do {                                                                \
		if (!(condition))                                           \
			_exit(__LINE__ % 200 == FINE ? 1 : __LINE__ % 200); \
	} while (0)

#ifdef SANITIZED
#define MODE CATNAP_SANDBOX_OFF /* sanitizers make calls of their own */
#else
#define MODE CATNAP_SANDBOX_ON
#endif

static char dir[] = "/tmp/catnap-test-XXXXXX";
static struct {
	atomic_int at_end; /* calls */
	atomic_int keeper; /* its number */
} * shared;

static const char *in_dir(const char *name)
{
	static char path[4][64];
	static unsigned int next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static int listen_at(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(at.sun_path, path, sizeof(at.sun_path) - 1);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 8) < 0)
		return -1;
	return fd;
}

static bool there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* Within 10 s. */
static bool gone(const char *path)
{
	for (int i = 0; i < 1000 && there(path); i++)
		usleep(10000);
	return !there(path);
}

static bool has_ended(pid_t pid)
{
	for (int i = 0; i < 1000 && kill(pid, 0) == 0; i++)
		usleep(10000);
	return kill(pid, 0) < 0 && errno == ESRCH;
}

static void count(void *ctx)
{
	atomic_fetch_add(&shared->at_end, 1);
}

static struct catnap_keeper *start(void)
{
	struct catnap_keeper *k = NULL;

	NEED(catnap_keeper_start(&k, MODE, -1, count, NULL) == 0);
	atomic_store(&shared->keeper, k->pid);
	return k;
}

static int in_child(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		fn();
		_exit(FINE);
	}
	while (waitpid(pid, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	return status;
}

/* -- removing --------------------------------------------------------------------------------- */

static void dies_with_a_socket(void)
{
	struct catnap_keeper *k = start();

	NEED(listen_at(in_dir("one")) >= 0 && listen_at(in_dir("two")) >= 0);
	NEED(listen_at(in_dir("other")) >= 0);
	NEED(catnap_keeper_add_socket(k, in_dir("one")) == 0);
	NEED(catnap_keeper_add_socket(k, in_dir("two")) == 0);
	NEED(keeper_seal(k) == 0 && keeper_seal(k) == 0);
	kill(getpid(), SIGKILL);
}

static void what_is_left_by_sigkill_is_removed(void **state)
{
	atomic_store(&shared->at_end, 0);
	assert_int_equal(in_child(dies_with_a_socket), SIGKILL);
	assert_true(gone(in_dir("one")) && gone(in_dir("two")));
	assert_true(has_ended(atomic_load(&shared->keeper)));
	assert_int_equal(atomic_load(&shared->at_end), 1);
	assert_true(there(in_dir("other"))); /* nobody spoke of that */
	assert_int_equal(unlink(in_dir("other")), 0);
}

static void dies_before_the_start(void)
{
	struct catnap_keeper *k = start();

	NEED(listen_at(in_dir("one")) >= 0);
	NEED(catnap_keeper_add_socket(k, in_dir("one")) == 0);
	raise(SIGTERM);
}

static void also_before_it_is_closed_in(void **state)
{
	assert_int_equal(in_child(dies_before_the_start), SIGTERM);
	assert_true(gone(in_dir("one")));
	assert_true(has_ended(atomic_load(&shared->keeper)));
}

static void ends_in_order(void)
{
	struct catnap_keeper *k = start();
	pid_t pid = k->pid;

	NEED(listen_at(in_dir("one")) >= 0);
	NEED(catnap_keeper_add_socket(k, in_dir("one")) == 0);
	NEED(keeper_seal(k) == 0);
	/* It is nobody's business to wait for it, or to hear of it. */
	NEED(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	catnap_keeper_stop(&k);
	NEED(!k && !there(in_dir("one")));
	NEED(kill(pid, 0) < 0 && errno == ESRCH); /* and no zombie */
	catnap_keeper_stop(&k);
}

static void an_orderly_end_leaves_nothing(void **state)
{
	atomic_store(&shared->at_end, 0);
	assert_int_equal(in_child(ends_in_order), FINE << 8);
	assert_int_equal(atomic_load(&shared->at_end), 0);
}

static void is_replaced(void)
{
	struct catnap_keeper *k = start();

	NEED(listen_at(in_dir("one")) >= 0);
	NEED(catnap_keeper_add_socket(k, in_dir("one")) == 0);
	/* The number of a file that is gone is often the next one's. */
	NEED(unlink(in_dir("one")) == 0 && listen_at(in_dir("one")) >= 0);
	NEED(keeper_seal(k) == 0);
	catnap_keeper_stop(&k);
	NEED(there(in_dir("one")) && unlink(in_dir("one")) == 0);
}

static void what_is_anothers_stays(void **state)
{
	assert_int_equal(in_child(is_replaced), FINE << 8);
}

static void asks_for_too_much(void)
{
	struct catnap_keeper *k = start();
	int fd = open(in_dir("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600), more;

	NEED(fd >= 0 && listen_at(in_dir("one")) >= 0);
	NEED(catnap_keeper_add_socket(k, in_dir("file")) == -ENOTSOCK);
	NEED(catnap_keeper_add_socket(k, in_dir("none")) == -ENOENT);
	NEED(catnap_keeper_add_socket(k, "/nowhere/none") == -ENOENT);
	for (int i = 0; i < KEEPER_SOCKETS; i++)
		NEED(catnap_keeper_add_socket(k, in_dir("one")) == 0);
	NEED(catnap_keeper_add_socket(k, in_dir("one")) == -ENOSPC);
	NEED(keeper_seal(k) == 0);
	NEED(catnap_keeper_add_socket(k, in_dir("one")) == -EPERM);
	NEED(keeper_connector(k, in_dir("one"), &more) == -EPERM);
	catnap_keeper_stop(&k);
	NEED(there(in_dir("file")) && !there(in_dir("one")) && unlink(in_dir("file")) == 0);
}

static void only_sockets_and_only_before_the_start(void **state)
{
	assert_int_equal(in_child(asks_for_too_much), FINE << 8);
}

/* -- what it has ------------------------------------------------------------------------------ */

/* In /proc/PID/fd: whether something that is no socket is there, and no more than @most. */
static bool only_sockets_open(pid_t pid, int most)
{
	char path[64], what[PATH_MAX];
	int n = 0;

	for (int fd = 0; fd < 1024; fd++) {
		ssize_t len;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		len = readlink(path, what, sizeof(what) - 1);
		if (len < 0)
			continue;
		what[len] = '\0';
		n++;
		if (strncmp(what, "socket:", 7) && strcmp(what, "anon_inode:[pidfd]") &&
		    strncmp(what, dir, strlen(dir)))
			return false;
	}
	return n > 0 && n <= most;
}

static void has_much_open(void)
{
	struct catnap_keeper *k;
	int pair[2], high = dup2(STDERR_FILENO, 700), status;
	char c;

	NEED(high == 700 && pipe(pair) == 0);
	k = start();
	NEED(listen_at(in_dir("one")) >= 0);
	NEED(catnap_keeper_add_socket(k, in_dir("one")) == 0);
	NEED(keeper_seal(k) == 0);
	NEED(only_sockets_open(k->pid, 4));
	/* The reader of a pipe of ours sees its end when we close it. */
	close(pair[1]);
	NEED(read(pair[0], &c, 1) == 0);
	/* Signals that a terminal sends to all of a group are not for it. */
	NEED(kill(k->pid, SIGINT) == 0 && kill(k->pid, SIGTERM) == 0 && kill(k->pid, SIGHUP) == 0 &&
	     kill(k->pid, SIGTSTP) == 0 && kill(k->pid, SIGQUIT) == 0);
	usleep(20000);
	NEED(there(in_dir("one")) && kill(k->pid, 0) == 0);
	/* A child of this process does not end it, nor waits. */
	if (fork() == 0) {
		catnap_keeper_stop(&k);
		_exit(0);
	}
	NEED(wait(&status) > 0 && status == 0 && there(in_dir("one")));
	catnap_keeper_stop(&k);
	NEED(!there(in_dir("one")));
}

static void it_keeps_nothing_open(void **state)
{
	assert_int_equal(in_child(has_much_open), FINE << 8);
}

static void loses_its_keeper(void)
{
	struct catnap_keeper *k = start();

	NEED(kill(k->pid, SIGKILL) == 0);
	NEED(listen_at(in_dir("one")) >= 0);
	NEED(catnap_keeper_add_socket(k, in_dir("one")) < 0);
	NEED(keeper_seal(k) < 0);
	catnap_keeper_stop(&k);
	NEED(unlink(in_dir("one")) == 0);
}

static void that_it_was_killed_is_told(void **state)
{
	assert_int_equal(in_child(loses_its_keeper), FINE << 8);
}

static void is_closed_in(void)
{
	struct catnap_keeper *k = start();
	char path[64], line[256];
	FILE *f;
	int seen = 0;

	NEED(keeper_seal(k) == 0);
	snprintf(path, sizeof(path), "/proc/%d/status", k->pid);
	f = fopen(path, "re");
	NEED(f);
	while (fgets(line, sizeof(line), f)) {
		seen += strcmp(line, "Name:\tcatnap-keeper\n") == 0;
		seen += strcmp(line, "Seccomp:\t2\n") == 0;
		seen += strcmp(line, "NoNewPrivs:\t1\n") == 0;
		seen += strcmp(line, "CapEff:\t0000000000000000\n") == 0;
		seen += strcmp(line, "CapPrm:\t0000000000000000\n") == 0;
	}
	NEED(seen == 5);
	catnap_keeper_stop(&k);
}

static void it_is_in_a_sandbox_itself(void **state)
{
	if (MODE != CATNAP_SANDBOX_ON || !(catnap_sandbox_available() & CATNAP_SANDBOX_HAS_SECCOMP))
		skip();
	assert_int_equal(in_child(is_closed_in), FINE << 8);
}

/* -- connecting ------------------------------------------------------------------------------- */

/* A descriptor, or -errno. */
static int ask(int channel, uint32_t port)
{
	static uint32_t serial;
	struct handover_ask a = {++serial, port};
	struct handover_answer answer;
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.room = ""};
	struct iovec iov = {&answer, sizeof(answer)};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control.room)};
	struct pollfd p = {.fd = channel, .events = POLLIN};
	int fd = -1;

	NEED(send(channel, &a, sizeof(a), MSG_NOSIGNAL) == sizeof(a));
	NEED(poll(&p, 1, 10000) == 1);
	NEED(recvmsg(channel, &msg, MSG_CMSG_CLOEXEC) == sizeof(answer) && answer.serial == serial);
	if (answer.error)
		return answer.error;
	NEED(CMSG_FIRSTHDR(&msg));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

static void connects(void)
{
	struct catnap_keeper *k = start();
	int at7, at8, channel, fd, peer, elsewhere;
	char c;

	NEED(keeper_connector(k, in_dir("vsock"), &channel) == 0);
	NEED(keeper_seal(k) == 0);
	/* Programs may come after the start, as they do. */
	at7 = listen_at(in_dir("vsock_7"));
	at8 = listen_at(in_dir("vsock_4294967295"));
	NEED(at7 >= 0 && at8 >= 0);
	for (int i = 0; i < 200; i++) { /* no descriptor is lost on either side */
		fd = ask(channel, i % 2 ? 7 : UINT32_MAX);
		NEED(fd >= 0 && fcntl(fd, F_GETFL) & O_NONBLOCK);
		peer = accept(i % 2 ? at7 : at8, NULL, NULL);
		NEED(peer >= 0 && write(fd, "x", 1) == 1 && read(peer, &c, 1) == 1 && c == 'x');
		close(fd);
		close(peer);
	}
	NEED(ask(channel, 9) == -ENOENT);
	/* Neither what is no socket, nor what is one elsewhere. */
	fd = open(in_dir("vsock_1"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	NEED(fd >= 0 && ask(channel, 1) < 0);
	elsewhere = listen_at(in_dir("elsewhere"));
	NEED(elsewhere >= 0 && symlink(in_dir("elsewhere"), in_dir("vsock_2")) == 0);
	NEED(ask(channel, 2) < 0);
	/* Nobody listens there any more. */
	close(at7);
	NEED(ask(channel, 7) == -ECONNREFUSED);
	/* Half a question is none. */
	NEED(send(channel, "abc", 3, 0) == 3);
	fd = ask(channel, UINT32_MAX);
	NEED(fd >= 0);
	/* It is not in the way of the end. */
	close(channel);
	catnap_keeper_stop(&k);
	for (size_t i = 0; i < 5; i++) {
		static const char *const names[] = {"vsock_7", "vsock_4294967295", "vsock_1",
						    "vsock_2", "elsewhere"};

		NEED(unlink(in_dir(names[i])) == 0);
	}
}

static void it_connects_to_its_names_and_no_others(void **state)
{
	assert_int_equal(in_child(connects), FINE << 8);
}

static void does_not_take_answers(void)
{
	struct catnap_keeper *k = start();
	struct handover_ask a = {1, 9};
	int channel, sent = 0;

	NEED(keeper_connector(k, in_dir("vsock"), &channel) == 0);
	NEED(listen_at(in_dir("vsock_9")) >= 0 && listen_at(in_dir("one")) >= 0);
	NEED(catnap_keeper_add_socket(k, in_dir("one")) == 0);
	NEED(keeper_seal(k) == 0);
	for (int i = 0; i < 100000 && sent < 5000; i++) {
		if (send(channel, &a, sizeof(a), MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(a))
			sent++;
		else
			usleep(100);
	}
	NEED(sent == 5000);
	catnap_keeper_stop(&k);
	NEED(!there(in_dir("one")) && unlink(in_dir("vsock_9")) == 0);
}

static void who_takes_no_answers_holds_nothing_up(void **state)
{
	assert_int_equal(in_child(does_not_take_answers), FINE << 8);
}

static int make_dir(void **state)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	return shared != MAP_FAILED && mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	return rmdir(dir); /* empty, or a test has left something */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_left_by_sigkill_is_removed),
		cmocka_unit_test(also_before_it_is_closed_in),
		cmocka_unit_test(an_orderly_end_leaves_nothing),
		cmocka_unit_test(what_is_anothers_stays),
		cmocka_unit_test(only_sockets_and_only_before_the_start),
		cmocka_unit_test(it_keeps_nothing_open),
		cmocka_unit_test(that_it_was_killed_is_told),
		cmocka_unit_test(it_is_in_a_sandbox_itself),
		cmocka_unit_test(it_connects_to_its_names_and_no_others),
		cmocka_unit_test(who_takes_no_answers_holds_nothing_up),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
