/* SPDX-License-Identifier: Apache-2.0 */
/* Memory files of snapshots: pages come back where they were, and damage is found. */
#include <errno.h>
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

#include "vmm/memory_file.h"

#define PAGE  UINT64_C(4096)
#define PAGES UINT64_C(600) /* more than two checksums are for */
#define SIZE  (PAGES * PAGE)

static uint8_t *memory;

static const uint8_t *page_at(void *ctx, uint64_t at)
{
	return memory + at;
}

/* Pages of three kinds: zeroes, random, and zeroes but for one byte. */
static int fill(void **state)
{
	unsigned int seed = 3;

	memory = aligned_alloc(PAGE, SIZE);
	assert_non_null(memory);
	memset(memory, 0, SIZE);
	for (uint64_t p = 0; p < PAGES; p++) {
		if (p % 3 == 1)
			for (uint64_t i = 0; i < PAGE; i++)
				memory[p * PAGE + i] = (uint8_t)rand_r(&seed);
		if (p % 3 == 2)
			memory[p * PAGE + (uint64_t)rand_r(&seed) % PAGE] = 1;
	}
	return 0;
}

static int drop(void **state)
{
	free(memory);
	return 0;
}

static int written(struct memory_file *f)
{
	struct error err;
	int fd = memfd_create("memory", 0);

	assert_true(fd >= 0);
	f->size = SIZE;
	memset(f->id, 7, sizeof(f->id));
	if (memory_file_write(f, fd, page_at, NULL, &err) < 0)
		fail_msg("%s", err.text);
	return fd;
}

struct seen {
	uint64_t pages;
	const struct memory_file *f;
};

static int compare(void *ctx, uint64_t at, const uint8_t *page)
{
	struct seen *s = ctx;

	assert_true(memory_file_has(s->f, at / PAGE));
	assert_memory_equal(page, memory + at, PAGE);
	s->pages++;
	return 0;
}

static void a_whole_one(void **state)
{
	struct memory_file f = {.kind = MEMORY_FULL}, g;
	struct error err;
	int fd = written(&f);
	struct stat st;
	struct seen s;

	assert_int_equal(f.pages, PAGES);
	assert_int_equal(fstat(fd, &st), 0);
	/* Zeroes take no room. */
	assert_true((uint64_t)st.st_blocks * 512 < SIZE * 3 / 4);
	assert_int_equal(memory_file_open(&g, fd, SIZE, &err), 0);
	assert_int_equal(g.kind, MEMORY_FULL);
	assert_memory_equal(g.id, f.id, sizeof(f.id));
	assert_int_equal(memory_file_verify(&g, fd, &err), 0);
	s = (struct seen){.f = &g};
	assert_int_equal(memory_file_each(&g, fd, compare, &s, &err), 0);
	assert_int_equal(s.pages, PAGES);
	memory_file_free(&g);
	/* Of another size it is not. */
	assert_int_equal(memory_file_open(&g, fd, SIZE - PAGE, &err), -EINVAL);
	memory_file_free(&g);
	assert_int_equal(memory_file_open(&g, fd, SIZE + PAGE, &err), -EINVAL);
	memory_file_free(&g);
	memory_file_free(&f);
	close(fd);
}

static void a_diff(void **state)
{
	struct memory_file f = {.kind = MEMORY_DIFF}, g;
	struct error err;
	uint64_t n = 0;
	struct seen s;
	int fd;

	f.bits = calloc((PAGES + 63) / 64, sizeof(*f.bits));
	for (uint64_t p = 0; p < PAGES; p += 1 + p % 5) {
		f.bits[p / 64] |= UINT64_C(1) << p % 64;
		n++;
	}
	fd = written(&f);
	assert_int_equal(f.pages, n);
	assert_int_equal(memory_file_open(&g, fd, SIZE, &err), 0);
	assert_int_equal(g.kind, MEMORY_DIFF);
	assert_int_equal(memory_file_verify(&g, fd, &err), 0);
	s = (struct seen){.f = &g};
	assert_int_equal(memory_file_each(&g, fd, compare, &s, &err), 0);
	assert_int_equal(s.pages, n);
	memory_file_free(&g);
	memory_file_free(&f);
	close(fd);
}

/* A bit anywhere in a page that the file has, and one that moves to another place. */
static void damage_is_found(void **state)
{
	struct memory_file f = {.kind = MEMORY_FULL}, g;
	struct error err;
	uint8_t page[4096], byte;
	int fd = written(&f);

	assert_int_equal(memory_file_open(&g, fd, SIZE, &err), 0);
	for (uint64_t p = 0; p < PAGES; p += 37) {
		off_t at = (off_t)(p * PAGE + p);

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x40;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_int_equal(memory_file_verify(&g, fd, &err), -EINVAL);
		byte ^= 0x40;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	}
	assert_int_equal(memory_file_verify(&g, fd, &err), 0);
	assert_int_equal(pread(fd, page, PAGE, PAGE), PAGE);
	assert_int_equal(pwrite(fd, page, PAGE, 0), PAGE);
	memset(page, 0, sizeof(page));
	assert_int_equal(pwrite(fd, page, PAGE, PAGE), PAGE);
	assert_int_equal(memory_file_verify(&g, fd, &err), -EINVAL);
	memory_file_free(&g);
	memory_file_free(&f);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_one),
		cmocka_unit_test(a_diff),
		cmocka_unit_test(damage_is_found),
	};

	return cmocka_run_group_tests(tests, fill, drop);
}
