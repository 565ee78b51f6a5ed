/* SPDX-License-Identifier: Apache-2.0 */
/* Working sets: what was touched is found, comes back from a file, and damage is found. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "state.h"
#include "vmm/working_set.h"

#define PAGE  UINT64_C(4096)
#define SIZE  (100 * PAGE)
#define BYTES 64 /* of the header */

static const uint8_t id[MEMORY_ID] = {1, 2, 3};

static struct ahead_range three[] = {
	{0, PAGE},
	{4 * PAGE, 3 * PAGE},
	{98 * PAGE, 2 * PAGE},
};

static int written(void)
{
	const struct working_set ws = {.ranges = three, .count = 3, .pages = 6};
	struct error err = {.text = ""};
	int fd = memfd_create("working-set", 0);

	assert_true(fd >= 0);
	assert_int_equal(working_set_write(&ws, fd, id, SIZE, &err), 0);
	return fd;
}

static int try_read(int fd, struct error *err)
{
	struct working_set ws;
	int ret;

	err->text[0] = '\0';
	ret = working_set_read(&ws, fd, id, SIZE, err);
	working_set_free(&ws);
	assert_true(ret == 0 || err->text[0]);
	return ret;
}

static void comes_back(void **state)
{
	struct error err = {.text = ""};
	struct working_set ws;
	int fd = written();

	assert_int_equal(working_set_read(&ws, fd, id, SIZE, &err), 0);
	assert_int_equal(ws.count, 3);
	assert_int_equal(ws.pages, 6);
	assert_memory_equal(ws.ranges, three, sizeof(three));
	working_set_free(&ws);
	close(fd);
}

static void of_another_snapshot(void **state)
{
	const uint8_t other[MEMORY_ID] = {3, 2, 1};
	struct error err = {.text = ""};
	struct working_set ws;
	int fd = written();

	assert_int_equal(working_set_read(&ws, fd, other, SIZE, &err), -ESTALE);
	working_set_free(&ws);
	assert_int_equal(working_set_read(&ws, fd, id, SIZE - PAGE, &err), -ESTALE);
	working_set_free(&ws);
	close(fd);
}

static void damaged(void **state)
{
	struct error err;
	struct stat st;
	uint8_t byte, good;
	int fd = written();

	assert_int_equal(fstat(fd, &st), 0);
	for (off_t at = 0; at < st.st_size; at++)
		for (int bit = 0; bit < 8; bit++) {
			assert_int_equal(pread(fd, &good, 1, at), 1);
			byte = good ^ (uint8_t)(1 << bit);
			assert_int_equal(pwrite(fd, &byte, 1, at), 1);
			assert_true(try_read(fd, &err) < 0);
			assert_int_equal(pwrite(fd, &good, 1, at), 1);
		}
	assert_int_equal(try_read(fd, &err), 0);
	assert_int_equal(ftruncate(fd, st.st_size + 1), 0);
	assert_int_equal(try_read(fd, &err), -EINVAL);
	for (off_t len = st.st_size - 1; len >= 0; len--) {
		assert_int_equal(ftruncate(fd, len), 0);
		assert_int_equal(try_read(fd, &err), -EINVAL);
	}
	close(fd);
}

/* Files whose checksums are right, and which cannot be. */
static void impossible(void **state)
{
	static const struct {
		struct ahead_range ranges[2];
		uint64_t count, pages;
	} sets[] = {
		{{{0, 0}}, 1, 0},			 /* empty */
		{{{1, PAGE}}, 1, 1},			 /* no page */
		{{{0, PAGE + 1}}, 1, 1},		 /* the same */
		{{{SIZE, PAGE}}, 1, 1},			 /* behind memory */
		{{{SIZE - PAGE, 2 * PAGE}}, 1, 2},	 /* over its end */
		{{{PAGE, UINT64_MAX - PAGE + 1}}, 1, 1}, /* round and round */
		{{{0, PAGE}, {0, PAGE}}, 2, 2},		 /* twice */
		{{{2 * PAGE, PAGE}, {0, PAGE}}, 2, 2},	 /* out of order */
		{{{0, 2 * PAGE}, {PAGE, PAGE}}, 2, 3},	 /* one over the other */
		{{{0, PAGE}, {PAGE, PAGE}}, 2, 2},	 /* one beside the other */
		{{{0, PAGE}, {4 * PAGE, PAGE}}, 2, 3},	 /* other pages than it says */
	};
	struct error err;

	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		struct ahead_range ranges[2];
		struct working_set ws = {
			.ranges = ranges, .count = sets[i].count, .pages = sets[i].pages};
		int fd = memfd_create("working-set", 0);

		memcpy(ranges, sets[i].ranges, sizeof(ranges));
		assert_int_equal(working_set_write(&ws, fd, id, SIZE, &err), 0);
		assert_int_equal(try_read(fd, &err), -EINVAL);
		close(fd);
	}
}

/* A count of 2^32, in a header whose checksum is right. */
static void too_many(void **state)
{
	struct error err;
	uint8_t header[BYTES];
	uint64_t count = UINT64_C(1) << 32;
	uint32_t crc;
	int fd = written();

	assert_int_equal(pread(fd, header, sizeof(header), 0), sizeof(header));
	memcpy(header + 48, &count, sizeof(count));
	crc = state_crc(0, header, 60);
	memcpy(header + 60, &crc, sizeof(crc));
	assert_int_equal(pwrite(fd, header, sizeof(header), 0), sizeof(header));
	assert_int_equal(try_read(fd, &err), -EINVAL);
	/* Also if it is as long as that. */
	assert_int_equal(ftruncate(fd, (off_t)(BYTES + count * 16)), 0);
	assert_int_equal(try_read(fd, &err), -EINVAL);
	close(fd);
}

/* The pages of a mapping that were touched are those that are taken. */
static void is_taken(void **state)
{
	struct memory m = {.count = 2, .size = SIZE};
	struct error err = {.text = ""};
	struct working_set ws;
	int fd = memfd_create("memory", 0), pagemap = open("/proc/self/pagemap", O_RDONLY);
	uint8_t *low, *high;

	if (pagemap < 0)
		skip();
	assert_int_equal(ftruncate(fd, SIZE), 0);
	low = mmap(NULL, 60 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	high = mmap(NULL, 40 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 60 * PAGE);
	assert_true(low != MAP_FAILED && high != MAP_FAILED);
	m.regions[0] = (struct memory_region){.size = 60 * PAGE, .host = low};
	m.regions[1] = (struct memory_region){
		.gpa = UINT64_C(1) << 32, .size = 40 * PAGE, .host = high, .at = 60 * PAGE};
	assert_int_equal(working_set_take(&ws, &m, pagemap, &err), 0);
	assert_int_equal(ws.count, 0);
	working_set_free(&ws);
	low[4 * PAGE] = 1;
	low[5 * PAGE] = low[59 * PAGE] = 1;
	high[0] = high[38 * PAGE] = 1;
	assert_int_equal(working_set_take(&ws, &m, pagemap, &err), 0);
	assert_int_equal(ws.count, 3);
	assert_int_equal(ws.pages, 5);
	assert_int_equal(ws.ranges[0].at, 4 * PAGE);
	assert_int_equal(ws.ranges[0].len, 2 * PAGE);
	assert_int_equal(ws.ranges[1].at, 59 * PAGE); /* over the end of a region */
	assert_int_equal(ws.ranges[1].len, 2 * PAGE);
	assert_int_equal(ws.ranges[2].at, 98 * PAGE);
	working_set_map(&ws, &m);
	working_set_free(&ws);
	munmap(low, 60 * PAGE);
	munmap(high, 40 * PAGE);
	close(pagemap);
	close(fd);
}

/* Returns how many of the @n pages of @fd are in the page cache. */
static uint64_t cached(int fd, uint64_t n)
{
	uint8_t *at = mmap(NULL, n * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	unsigned char *in = malloc(n);
	uint64_t sum = 0;

	assert_true(at != MAP_FAILED && in);
	assert_int_equal(mincore(at, n * PAGE, in), 0);
	for (uint64_t i = 0; i < n; i++)
		sum += in[i] & 1;
	free(in);
	munmap(at, n * PAGE);
	return sum;
}

/* More ranges than a ring has room for, and one that takes several requests. */
static void is_brought_in(void **state)
{
	const uint64_t pages = 8192, big = 512;
	struct ahead_range *ranges = calloc(pages, sizeof(*ranges));
	char path[] = "/var/tmp/catnap-ahead-XXXXXX";
	uint64_t n = 0, before;
	struct ahead a;
	int fd = mkstemp(path);

	assert_true(fd >= 0 && ranges);
	unlink(path);
	for (uint64_t i = 0; i < pages; i++)
		assert_int_equal(pwrite(fd, path, sizeof(path), (off_t)(i * PAGE)), sizeof(path));
	assert_int_equal(fsync(fd), 0);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	before = cached(fd, pages);
	ranges[n++] = (struct ahead_range){0, big * PAGE};
	for (uint64_t i = big + 1; i < pages; i += 2)
		ranges[n++] = (struct ahead_range){i * PAGE, PAGE};
	/* A pass leaves out what there is no memory for at that moment. */
	for (int i = 0; i < 50 && cached(fd, pages) < big + n - 1; i++) {
		ahead_begin(&a, fd, ranges, n);
		ahead_end(&a);
	}
	if (before) /* a file system that keeps them whatever is said */
		skip();
	assert_true(cached(fd, pages) >= big + n - 1);
	ahead_begin(&a, fd, NULL, 0);
	ahead_end(&a);
	/* Of no file: nothing comes, and it ends. */
	ahead_begin(&a, -1, ranges, n);
	ahead_end(&a);
	free(ranges);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back),	 cmocka_unit_test(of_another_snapshot),
		cmocka_unit_test(damaged),	 cmocka_unit_test(impossible),
		cmocka_unit_test(too_many),	 cmocka_unit_test(is_taken),
		cmocka_unit_test(is_brought_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
