/* SPDX-License-Identifier: Apache-2.0 */
/* The halt trace: its format, several halters in one file, and what a failing write does. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "poll/halter.h"
#include "poll/trace.h"

static int new_file(void)
{
	int fd = memfd_create("trace", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
	return fd;
}

/* The file's whole contents; to be freed. */
static char *contents(int fd)
{
	struct stat st;
	char *text;

	assert_int_equal(fstat(fd, &st), 0);
	text = calloc(1, (size_t)st.st_size + 1);
	assert_non_null(text);
	assert_int_equal(pread(fd, text, (size_t)st.st_size, 0), st.st_size);
	return text;
}

static off_t size(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_size;
}

static void format_is_what_replay_reads(void **state)
{
	int fd = new_file();
	struct halt_trace *t;
	char *text;

	halt_trace_begin(fd);
	t = halt_trace_create(fd);
	assert_non_null(t);
	halt_trace_add(t, 0, true, true, HALT_KEPT);
	halt_trace_add(t, 9, false, true, 0);
	halt_trace_add(t, 10, true, false, HALT_KEPT);
	halt_trace_add(t, UINT64_MAX, false, false, UINT64_MAX - 1);
	halt_trace_destroy(&t);
	assert_null(t);
	halt_trace_destroy(&t);
	text = contents(fd);
	assert_string_equal(text, "halt_ns,valid,allowed,gave_way_ns\n0,1,1,\n9,0,1,0\n10,1,0,\n"
				  "18446744073709551615,0,0,18446744073709551614\n");
	free(text);
	close(fd);
}

static void lines_are_gathered_and_written_before_a_sleep(void **state)
{
	int fd = new_file();
	struct halt_trace *t = halt_trace_create(fd);
	off_t first = 0;

	assert_non_null(t);
	halt_trace_add(t, 1, true, true, HALT_KEPT);
	halt_trace_idle(t);
	assert_int_equal(size(fd), 0); /* a few bytes are not worth a system call */
	for (int i = 0; i < 100000 && !first; i++) {
		halt_trace_add(t, UINT64_MAX, true, true, HALT_KEPT);
		halt_trace_idle(t);
		first = size(fd);
	}
	assert_true(first > 1000);
	/* Without idle the buffer fills, and is written then. */
	for (int i = 0; i < 100000 && size(fd) == first; i++)
		halt_trace_add(t, UINT64_MAX, true, true, HALT_KEPT);
	assert_true(size(fd) > first);
	halt_trace_destroy(&t);
	close(fd);
}

/* -- several in one file ---------------------------------------------------------------------- */

#define WRITERS 4
#define LINES	20000

struct writer {
	pthread_t thread;
	int fd;
	uint64_t id;
};

static void *write_lines(void *arg)
{
	struct writer *w = arg;
	struct halt_trace *t = halt_trace_create(w->fd);

	for (uint64_t i = 0; t && i < LINES; i++) {
		halt_trace_add(t, w->id * 1000000 + i, i & 1, i & 2, i & 4 ? i & 1 : HALT_KEPT);
		if (i % 7 == 0)
			halt_trace_idle(t);
	}
	halt_trace_destroy(&t);
	return NULL;
}

static void several_write_whole_lines_to_one_file(void **state)
{
	struct writer writers[WRITERS];
	uint64_t next[WRITERS] = {0};
	int fd = new_file();
	char *text, *p, *end;

	for (uint64_t i = 0; i < WRITERS; i++) {
		writers[i].fd = fd;
		writers[i].id = i;
		assert_int_equal(pthread_create(&writers[i].thread, NULL, write_lines, &writers[i]),
				 0);
	}
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
	text = contents(fd);
	for (p = text; *p; p = end + 1) {
		uint64_t ns = strtoull(p, &end, 10), id = ns / 1000000, i = ns % 1000000;
		char flags[10];
		int n;

		assert_true(id < WRITERS);
		assert_int_equal(i, next[id]); /* each writer's lines in their order */
		next[id]++;
		if (i & 4)
			n = snprintf(flags, sizeof(flags), ",%d,%d,%d\n", (i & 1) != 0,
				     (i & 2) != 0, (i & 1) != 0);
		else
			n = snprintf(flags, sizeof(flags), ",%d,%d,\n", (i & 1) != 0, (i & 2) != 0);
		assert_memory_equal(end, flags, (size_t)n);
		end += n - 1;
	}
	for (int i = 0; i < WRITERS; i++)
		assert_int_equal(next[i], LINES);
	free(text);
	close(fd);
}

static void a_failing_write_switches_it_off(void **state)
{
	int fds[2];
	struct halt_trace *t;

	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	t = halt_trace_create(fds[1]);
	assert_non_null(t);
	close(fds[0]);
	for (int i = 0; i < 100000; i++)
		halt_trace_add(t, 1, true, true, HALT_KEPT);
	assert_int_equal(halt_trace_flush(t), -EPIPE);
	assert_int_equal(halt_trace_lost(t), 100000);
	/* Somebody reads again: it stays off. */
	assert_int_equal(halt_trace_flush(t), -EPIPE);
	halt_trace_destroy(&t);
	close(fds[1]);
}

static uint64_t read_lines(int fd)
{
	char text[4096];
	uint64_t n = 0;
	ssize_t got;

	while ((got = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < got; i++)
			n += text[i] == '\n';
	return n;
}

static void a_reader_that_stands_still_is_not_waited_for(void **state)
{
	const uint64_t first = 200000, then = 1000;
	int fds[2];
	struct halt_trace *t;
	uint64_t read, lost;

	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	t = halt_trace_create(fds[1]);
	assert_non_null(t);
	for (uint64_t i = 0; i < first; i++)
		halt_trace_add(t, 123456789, true, true, HALT_KEPT);
	assert_int_equal(halt_trace_flush(t), -EAGAIN);
	lost = halt_trace_lost(t);
	assert_in_range(lost, 1, first - 1);
	/* There is room again: what was kept is written, and what comes. */
	read = read_lines(fds[0]);
	while (halt_trace_flush(t) == -EAGAIN)
		read += read_lines(fds[0]);
	for (uint64_t i = 0; i < then; i++)
		halt_trace_add(t, 1, true, true, HALT_KEPT);
	assert_int_equal(halt_trace_flush(t), 0);
	read += read_lines(fds[0]);
	assert_true(halt_trace_lost(t) < lost); /* some of them had only to wait */
	assert_int_equal(read + halt_trace_lost(t), first + then);
	halt_trace_destroy(&t);
	close(fds[0]);
	close(fds[1]);
}

static void a_pipe_that_blocks_is_opened_anew(void **state)
{
	struct halt_trace *t;
	int fds[2], own;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	own = halt_trace_own(fds[1]);
	assert_true(own >= 0);
	assert_true(fcntl(own, F_GETFL) & O_NONBLOCK);
	assert_false(fcntl(fds[1], F_GETFL) & O_NONBLOCK);
	/* Even without that it is not waited for. */
	for (int i = 0; i < 2; i++) {
		t = halt_trace_create(i ? own : fds[1]);
		assert_non_null(t);
		for (int k = 0; k < 200000; k++)
			halt_trace_add(t, 123456789, true, true, HALT_KEPT);
		assert_int_equal(halt_trace_flush(t), -EAGAIN);
		halt_trace_destroy(&t);
	}
	close(own);
	close(fds[0]);
	close(fds[1]);
	own = new_file();
	assert_int_equal(halt_trace_own(own), -1);
	close(own);
}

/* -- from a halter ---------------------------------------------------------------------------- */

static void a_halter_writes_a_line_for_each_halt(void **state)
{
	struct catnap_halter_config cfg;
	struct catnap_halter *h = aligned_alloc(_Alignof(struct catnap_halter), sizeof(*h));
	struct catnap_halt_stats stats = {.size = sizeof(stats)};
	struct clock clock;
	int fd = new_file(), cause, lines = 0;
	uint64_t before, elapsed, sum = 0;
	char *text;

	assert_non_null(h);
	clock_init(&clock, 0);
	catnap_halter_config_init(&cfg);
	cfg.halt_poll.policy = CATNAP_POLICY_OFF;
	assert_int_equal(halter_init(h, &cfg, &(struct halter_env){.clock = &clock},
				     halt_trace_create(fd)),
			 0);
	before = clock_now(&clock);
	for (int i = 0; i < 3; i++)
		assert_int_equal(halter_halt(h,
					     clock_now(&clock) + clock_ns_to_ticks(&clock, 200000),
					     &cause),
				 0);
	elapsed = clock_ticks_to_ns(&clock, clock_now(&clock) - before);
	assert_int_equal(halter_get_stats(h, &stats), 0);
	catnap_halter_set_poll_allowed(h, false);
	halter_wake(h, 1);
	assert_int_equal(halter_halt(h, UINT64_MAX, &cause), 0);
	halter_fini(h);
	text = contents(fd);
	for (char *p = text; *p; lines++) {
		uint64_t ns = strtoull(p, &p, 10);

		assert_memory_equal(p, lines < 3 ? ",1,1,\n" : ",1,0,\n", 6);
		p += 6;
		sum += lines < 3 ? ns : 0;
	}
	assert_int_equal(lines, 4);
	/* The statistics have the same. A halt that begins after its deadline has not slept, and
	 * has a line all the same. */
	assert_in_range(sum, stats.halt_wait_ns, elapsed);
	free(text);
	free(h);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(format_is_what_replay_reads),
		cmocka_unit_test(lines_are_gathered_and_written_before_a_sleep),
		cmocka_unit_test(several_write_whole_lines_to_one_file),
		cmocka_unit_test(a_failing_write_switches_it_off),
		cmocka_unit_test(a_reader_that_stands_still_is_not_waited_for),
		cmocka_unit_test(a_pipe_that_blocks_is_opened_anew),
		cmocka_unit_test(a_halter_writes_a_line_for_each_halt),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
