/* SPDX-License-Identifier: Apache-2.0 */
/* Where throttling and pressure are found, and what follows from them; on files of our own. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "poll/halter.h"
#include "poll/pressure.h"

#define MS UINT64_C(1000000)

/* Ticks are nanoseconds here. */
static const struct clock ns_clock = {
	.khz = 1000000, .to_ns = UINT64_C(1) << 32, .to_ticks = UINT64_C(1) << 32};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int setup(void **state)
{
	char name[] = "/tmp/pressure-XXXXXX";

	*state = mkdtemp(name) ? strdup(name) : NULL;
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	nftw(*state, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(*state);
	return 0;
}

/* A file below the test's root, with the folders on its way. */
static void put(const char *root, const char *name, const char *text)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s%s", root, name);
	for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(path, 0700);
		*p = '/';
	}
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void stat_file(const char *root, const char *name, unsigned int throttled)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "usage_usec 12\nuser_usec 7\nsystem_usec 5\nnr_periods 100\nnr_throttled %u\n"
		 "throttled_usec 99\n",
		 throttled);
	put(root, name, text);
}

static void psi_file(const char *root, const char *name, unsigned long long total)
{
	char text[256];

	snprintf(text, sizeof(text),
		 "some avg10=1.00 avg60=2.00 avg300=3.00 total=%llu\n"
		 "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
		 total);
	put(root, name, text);
}

#define MOUNT_V2 "29 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"

static void nothing_there(void **state)
{
	const char *root = *state;
	struct pressure p;

	pressure_open(&p, &ns_clock, root);
	assert_int_equal(p.groups, 0);
	assert_int_equal(p.stall_fd, -1);
	for (uint64_t now = 0; now < 5000 * MS; now += 50 * MS)
		assert_int_equal(pressure_ask(&p, &ns_clock, now), PRESSURE_NONE);
	pressure_close(&p);

	/* Files that are not what they should be. */
	put(root, "/proc/self/cgroup", "nonsense\n0:\n:::\n0::/a\n");
	put(root, "/proc/self/mountinfo", "x\n - \n" MOUNT_V2);
	put(root, "/sys/fs/cgroup/a/cpu.stat", "usage_usec 1\n"); /* no cpu controller there */
	put(root, "/sys/fs/cgroup/a/cpu.pressure", "");
	pressure_open(&p, &ns_clock, root);
	assert_int_equal(p.groups, 0);
	assert_int_equal(p.stall_fd, -1);
	pressure_close(&p);
}

static void throttled(void **state)
{
	const char *root = *state;
	struct pressure p;
	uint64_t now = 1000 * MS;

	put(root, "/proc/self/cgroup", "0::/a.slice/b.scope\n");
	put(root, "/proc/self/mountinfo", "1 0 0:1 / /proc rw - proc proc rw\n" MOUNT_V2);
	stat_file(root, "/sys/fs/cgroup/a.slice/b.scope/cpu.stat", 5);
	stat_file(root, "/sys/fs/cgroup/a.slice/cpu.stat", 3);
	put(root, "/sys/fs/cgroup/cpu.stat", "usage_usec 1\n");
	pressure_open(&p, &ns_clock, root);
	assert_int_equal(p.groups, 2);
	assert_int_equal(p.stall_fd, -1);
	/* Stalls from before do not count. */
	assert_int_equal(pressure_ask(&p, &ns_clock, now), PRESSURE_NONE);
	/* It is noticed at the next look, a tenth of a second later, and not before. */
	stat_file(root, "/sys/fs/cgroup/a.slice/b.scope/cpu.stat", 6);
	assert_int_equal(pressure_ask(&p, &ns_clock, now + 99 * MS), PRESSURE_NONE);
	now += 100 * MS;
	assert_int_equal(pressure_ask(&p, &ns_clock, now), PRESSURE_THROTTLED);
	/* For a second, and for one more while it goes on; the group above counts, too. */
	assert_int_equal(pressure_ask(&p, &ns_clock, now + 999 * MS), PRESSURE_THROTTLED);
	stat_file(root, "/sys/fs/cgroup/a.slice/cpu.stat", 4);
	now += 1000 * MS;
	assert_int_equal(pressure_ask(&p, &ns_clock, now), PRESSURE_THROTTLED);
	now += 1000 * MS;
	assert_int_equal(pressure_ask(&p, &ns_clock, now), PRESSURE_NONE);
	assert_int_equal(pressure_ask(&p, &ns_clock, now + 500 * MS), PRESSURE_NONE);
	pressure_close(&p);
}

static void stalled(void **state)
{
	const char *root = *state;
	struct pressure p;
	uint64_t now = 1000 * MS;

	psi_file(root, "/proc/pressure/cpu", 1000000);
	pressure_open(&p, &ns_clock, root);
	assert_true(p.stall_fd >= 0);
	assert_true(p.stall_host);
	assert_int_equal(pressure_ask(&p, &ns_clock, now), PRESSURE_NONE);
	/* 19.9 ms of 100. */
	psi_file(root, "/proc/pressure/cpu", 1019900);
	now += 100 * MS;
	assert_int_equal(pressure_ask(&p, &ns_clock, now), PRESSURE_NONE);
	psi_file(root, "/proc/pressure/cpu", 1039900);
	now += 100 * MS;
	assert_int_equal(pressure_ask(&p, &ns_clock, now), PRESSURE_STALLED);
	now += 1000 * MS;
	psi_file(root, "/proc/pressure/cpu", 1139900);
	assert_int_equal(pressure_ask(&p, &ns_clock, now), PRESSURE_NONE);
	/* A clock that jumps back does not stop polls for long. */
	psi_file(root, "/proc/pressure/cpu", 9939900);
	now += 100 * MS;
	assert_int_equal(pressure_ask(&p, &ns_clock, now), PRESSURE_STALLED);
	atomic_store(&p.calm_until, 0);
	assert_int_equal(pressure_ask(&p, &ns_clock, MS), PRESSURE_NONE);
	/* A file that is gone is no pressure. */
	put(root, "/proc/pressure/cpu", "");
	assert_int_equal(pressure_ask(&p, &ns_clock, 5000 * MS), PRESSURE_NONE);
	pressure_close(&p);
}

static void own_group_first(void **state)
{
	const char *root = *state;
	struct pressure p;

	/* As in a container: what is mounted is not the root. And version 1 beside version 2. */
	put(root, "/proc/self/cgroup",
	    "4:memory:/m\n3:cpuset:/s\n2:cpu,cpuacct:/box/in\n0::/box/in\n");
	put(root, "/proc/self/mountinfo",
	    "30 1 0:27 /box /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	    "31 1 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	    "32 1 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
	    "33 1 0:29 /box/in /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n");
	psi_file(root, "/proc/pressure/cpu", 1);
	psi_file(root, "/sys/fs/cgroup/unified/in/cpu.pressure", 2);
	put(root, "/sys/fs/cgroup/cpu/cpu.stat",
	    "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n");
	put(root, "/sys/fs/cgroup/cpuset/cpu.stat", "nr_throttled 0\n");
	pressure_open(&p, &ns_clock, root);
	assert_int_equal(p.groups, 1);
	assert_true(p.stall_fd >= 0);
	assert_false(p.stall_host);
	pressure_close(&p);
}

/* Nobody polls while it lasts, and says why; but for policy always, which does as it is told. */
static void halters(void **state)
{
	const char *root = *state;
	struct catnap_halt_stats s = {.size = sizeof(s)};
	struct catnap_halter_config cfg;
	struct catnap_halter h;
	struct pressure p;
	struct clock clock;
	const struct halter_env env = {.clock = &clock, .pressure = &p};
	int cause;

	clock_init(&clock, 0);
	psi_file(root, "/proc/pressure/cpu", 1);
	pressure_open(&p, &clock, root);
	catnap_halter_config_init(&cfg);
	cfg.halt_poll.policy = CATNAP_POLICY_ADAPTIVE;
	cfg.halt_poll.max_ns = CATNAP_ADAPTIVE_MAX_NS;
	assert_int_equal(halter_init(&h, &cfg, &env, NULL), 0);
	for (int i = 0; i < 5; i++) {
		/* 0: the first look. 1: high. 2, 3: it goes on, for other policies. 4: over. */
		if (i == 2)
			atomic_store(&h.policy.params.kind, CATNAP_POLICY_FIXED);
		if (i == 3)
			atomic_store(&h.policy.params.kind, CATNAP_POLICY_ALWAYS);
		if (i == 4) {
			atomic_store(&h.policy.params.kind, CATNAP_POLICY_ADAPTIVE);
			atomic_store(&p.until, 0);
			p.stalled_us = UINT64_MAX;
		}
		if (i == 1) {
			atomic_store(&p.calm_until, 0);
			psi_file(root, "/proc/pressure/cpu", UINT64_C(1) << 40);
		}
		halter_wake(&h, 1);
		assert_int_equal(halter_halt(&h, UINT64_MAX, &cause), 0);
		assert_int_equal(halter_take(&h), 1);
	}
	assert_int_equal(halter_get_stats(&h, &s), 0);
	assert_int_equal(s.halt_exits, 5);
	assert_int_equal(s.halt_attempted_poll, 3);
	assert_int_equal(s.halt_poll_pressure, 2);
	assert_int_equal(s.halt_poll_throttled, 0);
	halter_fini(&h);
	pressure_close(&p);
}

/* A group that is named, whichever the process is in; its parents count throttling, too. */
static void named_group(void **state)
{
	const char *root = *state;
	struct error err = {.text = ""};
	uint64_t now = 1000 * MS;
	struct pressure p;
	char folder[512];

	snprintf(folder, sizeof(folder), "%s/fleet/one//", root);
	stat_file(root, "/fleet/one/cpu.stat", 5);
	psi_file(root, "/fleet/one/cpu.pressure", 7);
	stat_file(root, "/fleet/cpu.stat", 3);
	assert_int_equal(pressure_open_group(&p, &ns_clock, folder, &err), 0);
	assert_int_equal(p.groups, 2);
	assert_true(p.stall_fd >= 0 && !p.stall_host);
	assert_int_equal(pressure_ask(&p, &ns_clock, now), PRESSURE_NONE);
	stat_file(root, "/fleet/cpu.stat", 4);
	assert_int_equal(pressure_ask(&p, &ns_clock, now + 100 * MS), PRESSURE_THROTTLED);
	pressure_close(&p);
}

/* Descriptors that are given are read, and stay open. */
static void borrowed(void **state)
{
	const char *root = *state;
	struct error err = {.text = ""};
	uint64_t now = 1000 * MS;
	struct pressure p;
	char path[512];
	int fd;

	stat_file(root, "/fleet/cpu.stat", 3);
	snprintf(path, sizeof(path), "%s/fleet/cpu.stat", root);
	fd = open(path, O_RDONLY);
	assert_int_equal(pressure_borrow(&p, &ns_clock, fd, -1, &err), -EINVAL);
	assert_non_null(strstr(err.text, "pressure_fd"));
	pressure_close(&p);
	assert_int_equal(pressure_borrow(&p, &ns_clock, -1, fd, &err), 0);
	assert_int_equal(pressure_ask(&p, &ns_clock, now), PRESSURE_NONE);
	stat_file(root, "/fleet/cpu.stat", 4);
	assert_int_equal(pressure_ask(&p, &ns_clock, now + 100 * MS), PRESSURE_THROTTLED);
	pressure_close(&p);
	assert_int_equal(close(fd), 0);
}

/* Nothing breaks with the files of this host. */
static void real(void **state)
{
	struct pressure p;
	struct clock clock;

	clock_init(&clock, 0);
	pressure_open(&p, &clock, "");
	for (int i = 0; i < 3; i++) {
		atomic_store(&p.calm_until, 0);
		pressure_ask(&p, &clock, clock_now(&clock));
	}
	pressure_close(&p);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(nothing_there), TEST(throttled),	TEST(stalled),	TEST(own_group_first),
		TEST(halters),	     TEST(named_group), TEST(borrowed), cmocka_unit_test(real),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
