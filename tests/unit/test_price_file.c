/* SPDX-License-Identifier: Apache-2.0 */
/* Tests what is believed of a file that may be anybody's, and where it is: src/cli/price_file.h. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/price_file.h"

#define KEY "boot=1\nkernel=2\n"

static const struct host_price good = {.sleep_ns = 43210, .exit_ns = 1500};

static void nothing(const char *record, size_t len, const char *key)
{
	struct host_price p = price_parse(record, len, key);

	assert_int_equal(p.sleep_ns, 0);
	assert_int_equal(p.exit_ns, 0);
}

static void test_record(void **state)
{
	char record[PRICE_RECORD], longer[PRICE_RECORD + 1] = {0};
	struct host_price p;

	price_format(record, KEY, good);
	p = price_parse(record, sizeof(record), KEY);
	assert_int_equal(p.sleep_ns, good.sleep_ns);
	assert_int_equal(p.exit_ns, good.exit_ns);
	/* Of another boot, or another machine. */
	nothing(record, sizeof(record), "boot=1\nkernel=3\n");
	nothing(record, sizeof(record), "boot=1\n");
	nothing(record, sizeof(record), "");
	/* Cut off, or longer. */
	memcpy(longer, record, sizeof(record));
	nothing(longer, sizeof(longer), KEY);
	for (size_t len = 0; len < sizeof(record); len++)
		nothing(record, len, KEY);
}

/* The better irqchips stand there once they are known. */
static void test_irqchips(void **state)
{
	char record[PRICE_RECORD];

	price_format(record, KEY, good);
	assert_null(memmem(record, sizeof(record), "irqchip", strlen("irqchip")));
	for (int one = HOST_IRQCHIP_UNKNOWN; one <= HOST_IRQCHIP_KERNEL; one++)
		for (int several = HOST_IRQCHIP_UNKNOWN; several <= HOST_IRQCHIP_KERNEL;
		     several++) {
			const bool known = one && several;
			struct host_price p = {.one_vcpu = (enum host_irqchip)one,
					       .several = (enum host_irqchip)several};

			price_format(record, KEY, p);
			p = price_parse(record, sizeof(record), KEY);
			assert_int_equal(p.one_vcpu, known ? one : HOST_IRQCHIP_UNKNOWN);
			assert_int_equal(p.several, known ? several : HOST_IRQCHIP_UNKNOWN);
		}
}

/* Any byte that is another, and halves of two records. */
static void test_spoilt(void **state)
{
	char record[PRICE_RECORD], other[PRICE_RECORD];
	const struct host_price another = {.sleep_ns = 98765, .exit_ns = 2500};

	price_format(record, KEY, good);
	for (size_t i = 0; i < sizeof(record); i++) {
		for (int bit = 0; bit < 8; bit++) {
			record[i] ^= (char)(1 << bit);
			nothing(record, sizeof(record), KEY);
			record[i] ^= (char)(1 << bit);
		}
	}
	price_format(other, KEY, another);
	for (size_t i = 1; i < sizeof(record); i++) {
		char torn[PRICE_RECORD];
		struct host_price p;

		memcpy(torn, other, i);
		memcpy(torn + i, record + i, sizeof(torn) - i);
		p = price_parse(torn, sizeof(torn), KEY);
		/* One of the two, where the rest is the same in both, or nothing. */
		assert_true(p.sleep_ns == 0 || p.sleep_ns == good.sleep_ns ||
			    p.sleep_ns == another.sleep_ns);
	}
}

static void test_bounds(void **state)
{
	static const uint32_t bad[] = {1, PRICE_LEAST_NS - 1, PRICE_MOST_NS + 1, 9999999};
	char record[PRICE_RECORD];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		price_format(record, KEY, (struct host_price){.sleep_ns = bad[i], .exit_ns = 1000});
		nothing(record, sizeof(record), KEY);
		price_format(record, KEY, (struct host_price){.sleep_ns = 1000, .exit_ns = bad[i]});
		nothing(record, sizeof(record), KEY);
	}
	/* With more digits than are read. */
	price_format(record, KEY, (struct host_price){.sleep_ns = 12345678, .exit_ns = 1000});
	nothing(record, sizeof(record), KEY);
}

static void test_key(void **state)
{
	char a[PRICE_KEY], b[PRICE_KEY];

	assert_true(price_key(a));
	assert_true(price_key(b));
	assert_string_equal(a, b);
	assert_non_null(strstr(a, "boot="));
	assert_non_null(strstr(a, "\nkernel="));
	assert_non_null(strstr(a, "\ncpu="));
	assert_non_null(strstr(a, "\nvirtual="));
}

/* -- the file --------------------------------------------------------------------------------- */

struct folder {
	char dir[64], path[128], target[128];
};

static int setup(void **state)
{
	struct folder *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/catnap-price-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/catnap/sleep-price", f->dir);
	snprintf(f->target, sizeof(f->target), "%s/target", f->dir);
	setenv("XDG_CACHE_HOME", f->dir, 1);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct folder *f = *state;
	char sub[80];

	snprintf(sub, sizeof(sub), "%s/catnap", f->dir);
	unlink(f->path);
	unlink(f->target);
	rmdir(f->path);
	rmdir(sub);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void put(struct host_price price)
{
	struct price_file f;

	price_file_read(&f);
	price_file_open(&f);
	price_file_write(&f, price);
	price_file_close(&f);
	assert_int_equal(f.fd, -1);
}

static uint32_t get(void)
{
	struct price_file f;

	price_file_read(&f);
	assert_int_equal(f.fd, -1);
	return f.known.sleep_ns;
}

/* A file of so many bytes, as its first record has them. */
static void spoil(const struct folder *f, const char *bytes, size_t len, mode_t mode)
{
	int fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void test_kept(void **state)
{
	const struct folder *f = *state;
	struct stat st;

	put(good);
	assert_int_equal(get(), good.sleep_ns);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, PRICE_RECORD);
	assert_int_equal(st.st_mode & 0133, 0);
	put((struct host_price){.sleep_ns = 50001, .exit_ns = 0});
	assert_int_equal(get(), 50001);
}

/* A file that is not ours, or may be written by others, says nothing. */
static void test_mode(void **state)
{
	const struct folder *f = *state;
	static const mode_t modes[] = {0620, 0602, 0666};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		put(good);
		assert_int_equal(get(), good.sleep_ns);
		assert_int_equal(chmod(f->path, modes[i]), 0);
		assert_int_not_equal(get(), good.sleep_ns);
		assert_int_equal(unlink(f->path), 0);
	}
	/* Somebody else's. */
	put(good);
	if (geteuid() == 0) {
		assert_int_equal(chown(f->path, 65534, 65534), 0);
		assert_int_not_equal(get(), good.sleep_ns);
	}
}

/* A link is not followed, neither by who reads nor by who writes. */
static void test_links(void **state)
{
	const struct folder *f = *state;
	struct stat st;

	put(good);
	assert_int_equal(rename(f->path, f->target), 0);
	assert_int_equal(symlink(f->target, f->path), 0);
	assert_int_not_equal(get(), good.sleep_ns);
	put((struct host_price){.sleep_ns = 77777, .exit_ns = 0});
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(rename(f->target, f->path), 0);
	assert_int_equal(get(), good.sleep_ns);
	/* Nor is a second name of some other file written to. */
	assert_int_equal(link(f->path, f->target), 0);
	put((struct host_price){.sleep_ns = 77777, .exit_ns = 0});
	assert_int_equal(unlink(f->target), 0);
	assert_int_equal(get(), good.sleep_ns);
	/* One that leads nowhere makes no file there. */
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(symlink(f->target, f->path), 0);
	put(good);
	assert_int_equal(stat(f->target, &st), -1);
}

/* A FIFO, a folder: nobody waits, nobody fails. */
static void test_kinds(void **state)
{
	const struct folder *f = *state;

	put(good);
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(mkfifo(f->path, 0600), 0);
	assert_int_not_equal(get(), good.sleep_ns);
	put(good);
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(mkdir(f->path, 0700), 0);
	assert_int_not_equal(get(), good.sleep_ns);
	put(good);
}

/* Tests the file that is there already: a foreign one stays as it is, one of ours that is spoilt is
 * begun anew. */
static void test_contents(void **state)
{
	const struct folder *f = *state;
	char big[2 * PRICE_RECORD];
	struct stat st;

	put(good);
	spoil(f, "dear diary", 10, 0600);
	assert_int_not_equal(get(), good.sleep_ns);
	put(good);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_size, 10);
	memset(big, 'x', sizeof(big));
	memcpy(big, "catnap price 1\n", 15);
	spoil(f, big, sizeof(big), 0600);
	assert_int_not_equal(get(), good.sleep_ns);
	put(good);
	assert_int_equal(get(), good.sleep_ns);
}

/* No folder, a relative one, one that cannot be made: nothing is known, nothing is kept. */
static void test_no_place(void **state)
{
	static const char *const places[] = {"", "relative", "/proc/no/such/folder", "/dev/null"};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct price_file f;

		setenv("XDG_CACHE_HOME", places[i], 1);
		setenv("HOME", places[i], 1);
		price_file_read(&f);
		if (places[i][0] == '/') {
			price_file_open(&f);
			assert_int_equal(f.fd, -1);
			price_file_write(&f, good);
		}
		price_file_close(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_irqchips),
		cmocka_unit_test(test_spoilt),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_key),
		cmocka_unit_test_setup_teardown(test_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(test_links, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_contents, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_place, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
