/* SPDX-License-Identifier: Apache-2.0 */
/* The energy of packages, from folders as powercap has them. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/bench/costs.h"

static char root[64];

static void put(const char *zone, const char *file, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", root, zone);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/%s/%s", root, zone, file);
	f = fopen(path, "we");
	assert_non_null(f);
	fprintf(f, "%s\n", text);
	fclose(f);
}

static void zone(const char *folder, const char *name, const char *uj, const char *range)
{
	put(folder, "name", name);
	put(folder, "energy_uj", uj);
	if (range)
		put(folder, "max_energy_range_uj", range);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static int begin(void **state)
{
	(void)state;
	strcpy(root, "/tmp/catnap-costs-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct bench_costs reading(void)
{
	struct bench_costs c = {.has_counters = false};

	bench_costs_read_energy(&c, root);
	return c;
}

/* What a second reading adds to the first. */
static uint64_t between(const struct bench_costs *before)
{
	struct bench_costs after = reading(), sum = {.has_counters = false};

	bench_costs_add(&sum, before, &after);
	assert_true(sum.has_energy);
	return sum.energy_uj;
}

static void test_packages(void **state)
{
	struct bench_costs c;

	(void)state;
	zone("intel-rapl:0", "package-0", "1000", "9999");
	zone("intel-rapl:0:0", "core", "400", "9999");
	zone("intel-rapl:1", "package-1", "5000", "9999");
	put("intel-rapl", "enabled", "1");
	c = reading();
	assert_true(c.has_energy);
	assert_int_equal(c.n_packages, 2);
	zone("intel-rapl:0", "package-0", "1010", "9999");
	zone("intel-rapl:0:0", "core", "9000", "9999");
	zone("intel-rapl:1", "package-1", "5300", "9999");
	assert_int_equal(between(&c), 310);
}

/* A package that is there twice is counted once; two dies of one are two. */
static void test_twice(void **state)
{
	struct bench_costs c;

	(void)state;
	zone("intel-rapl:0", "package-0-die-0", "10", "9999");
	zone("intel-rapl:1", "package-0-die-1", "10", "9999");
	zone("intel-rapl-mmio:0", "package-0-die-0", "10", "9999");
	c = reading();
	assert_int_equal(c.n_packages, 2);
	zone("intel-rapl:0", "package-0-die-0", "110", "9999");
	zone("intel-rapl:1", "package-0-die-1", "110", "9999");
	zone("intel-rapl-mmio:0", "package-0-die-0", "110", "9999");
	assert_int_equal(between(&c), 200);
}

/* One that has begun again from 0 meanwhile, beside one that has not. */
static void test_round_the_clock(void **state)
{
	struct bench_costs c;

	(void)state;
	zone("a", "package-0", "9900", "10000");
	zone("b", "package-1", "5", "10000");
	zone("c", "package-2", "9900", NULL);
	c = reading();
	zone("a", "package-0", "50", "10000");
	zone("b", "package-1", "25", "10000");
	zone("c", "package-2", "50", NULL);
	assert_int_equal(between(&c), 150 + 20);
}

static void test_none(void **state)
{
	struct bench_costs c = reading(), sum = {.has_counters = false};

	(void)state;
	assert_false(c.has_energy);
	bench_costs_add(&sum, &c, &c);
	assert_false(sum.has_energy);
	strcat(root, "/none");
	c = reading();
	assert_false(c.has_energy);
	root[strlen(root) - strlen("/none")] = '\0';
	for (int i = 0; i < BENCH_PACKAGES + 4; i++) {
		char folder[16], name[16];

		snprintf(folder, sizeof(folder), "z%d", i);
		snprintf(name, sizeof(name), "package-%d", i);
		zone(folder, name, "1", NULL);
	}
	c = reading();
	assert_int_equal(c.n_packages, BENCH_PACKAGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_packages, begin, end),
		cmocka_unit_test_setup_teardown(test_twice, begin, end),
		cmocka_unit_test_setup_teardown(test_round_the_clock, begin, end),
		cmocka_unit_test_setup_teardown(test_none, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
