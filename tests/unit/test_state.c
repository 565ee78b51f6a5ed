/* SPDX-License-Identifier: Apache-2.0 */
/* The container of a snapshot's state: what is written is read, and what is damaged is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "state.h"

#define ONE STATE_ID('o', 'n', 'e', '_')
#define TWO STATE_ID('t', 'w', 'o', '_')

#define HEADER	24 /* of a section */
#define FIRST	32 /* where the first one begins */
#define AT_CRC	12
#define AT_SIZE 16

/* A file with two of ONE and one of TWO. */
static void write_file(struct state_writer *w)
{
	state_writer_init(w);
	state_begin(w, TWO, 0, 3);
	state_put_u8(w, 0x12);
	state_put_u16(w, 0x3456);
	state_put_u32(w, 0x789abcde);
	state_put_u64(w, 0x0123456789abcdef);
	state_put_bool(w, true);
	state_put_text(w, "a text");
	state_put_text(w, NULL);
	state_put_bytes(w, "bytes", 5);
	assert_int_equal(state_end(w), 0);
	state_begin(w, ONE, 7, 1);
	state_put_u32(w, 7);
	assert_int_equal(state_end(w), 0);
	state_begin(w, ONE, 0, 1);
	assert_int_equal(state_end(w), 0);
	assert_int_equal(state_seal(w), 0);
}

static void comes_back(void **unused)
{
	struct state_writer w;
	struct state_reader r;
	struct state_in in;
	struct error err;
	char text[16], bytes[5];

	(void)unused;
	write_file(&w);
	assert_int_equal(state_open(&r, w.data, w.len, &err), 0);
	assert_int_equal(r.count, 3);
	assert_true(state_has(&r, ONE, 7));
	assert_false(state_has(&r, ONE, 1));
	assert_int_equal(state_instances(&r, ONE), 2);
	assert_int_equal(state_find(&r, TWO, 0, 4, &in, &err), 0);
	assert_int_equal(in.version, 3);
	assert_int_equal(state_get_u8(&in), 0x12);
	assert_int_equal(state_get_u16(&in), 0x3456);
	assert_int_equal(state_get_u32(&in), 0x789abcde);
	assert_true(state_get_u64(&in) == 0x0123456789abcdef);
	assert_true(state_get_bool(&in));
	state_get_text(&in, text, sizeof(text));
	assert_string_equal(text, "a text");
	state_get_text(&in, text, sizeof(text));
	assert_string_equal(text, "");
	assert_int_equal(state_left(&in), 5);
	state_get_bytes(&in, bytes, 5);
	assert_memory_equal(bytes, "bytes", 5);
	assert_int_equal(state_finish(&in, &err), 0);

	assert_int_equal(state_find(&r, ONE, 0, 1, &in, &err), 0);
	assert_int_equal(state_finish(&in, &err), 0);
	assert_int_equal(state_all_found(&r, &err), -ENOTSUP);
	assert_string_equal(err.text, "has section one_ 7, which is not known here");
	assert_int_equal(state_find(&r, ONE, 7, 1, &in, &err), 0);
	assert_int_equal(state_all_found(&r, &err), 0);
	state_close(&r);
	state_writer_fini(&w);
}

static void says_what_is_wrong_with_a_section(void **unused)
{
	struct state_writer w;
	struct state_reader r;
	struct state_in in;
	struct error err;
	char text[4];

	(void)unused;
	write_file(&w);
	assert_int_equal(state_open(&r, w.data, w.len, &err), 0);

	assert_int_equal(state_find(&r, ONE, 3, 1, &in, &err), -EINVAL);
	assert_string_equal(err.text, "has no section one_ 3");
	assert_int_equal(state_find(&r, TWO, 0, 2, &in, &err), -ENOTSUP);
	assert_string_equal(err.text,
			    "has section two_ 0 of version 3, and this catnap reads up to 2");

	/* too much is read, and it is 0 */
	assert_int_equal(state_find(&r, ONE, 7, 1, &in, &err), 0);
	assert_int_equal(state_get_u16(&in), 7);
	assert_int_equal(state_get_u64(&in), 0);
	assert_int_equal(state_get_u16(&in), 0);
	assert_null(state_get_view(&in, 1));
	assert_false(state_good(&in));
	assert_int_equal(state_finish(&in, &err), -EINVAL);
	assert_string_equal(err.text, "section one_ 7: it is too short");

	/* too little is read */
	assert_int_equal(state_find(&r, ONE, 7, 1, &in, &err), 0);
	state_get_u8(&in);
	assert_int_equal(state_finish(&in, &err), -EINVAL);
	assert_string_equal(err.text, "section one_ 7: it has 3 bytes too many");

	/* the first that is wrong is named */
	assert_int_equal(state_find(&r, ONE, 7, 1, &in, &err), 0);
	assert_true(state_check(&in, state_get_u8(&in) == 7, "the first"));
	assert_false(state_check(&in, state_get_u8(&in) == 7, "the second"));
	assert_false(state_check(&in, false, "the third"));
	assert_int_equal(state_finish(&in, &err), -EINVAL);
	assert_string_equal(err.text, "section one_ 7: the second cannot be as it says");

	/* yes, no, and 7 */
	assert_int_equal(state_find(&r, ONE, 7, 1, &in, &err), 0);
	assert_false(state_get_bool(&in));
	assert_false(state_good(&in));

	/* a text that is longer than there is room, or than there is file */
	assert_int_equal(state_find(&r, ONE, 7, 1, &in, &err), 0);
	state_get_text(&in, text, sizeof(text));
	assert_string_equal(text, "");
	assert_int_equal(state_finish(&in, &err), -EINVAL);
	assert_string_equal(err.text, "section one_ 7: the length of a text cannot be as it says");
	assert_int_equal(state_refuse(&in, &err, -ENOTSUP, "no %d", 5), -ENOTSUP);
	assert_string_equal(err.text, "section one_ 7: no 5");
	state_close(&r);
	state_writer_fini(&w);
}

/* Opens a copy that ends where its memory ends, so that a sanitizer sees what is read behind. */
static int open_copy(const uint8_t *data, size_t len, struct error *err)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct state_reader r;
	int ret;

	assert_non_null(copy);
	memcpy(copy, data, len);
	err->text[0] = '\0';
	ret = state_open(&r, copy, len, err);
	assert_true(ret == 0 || err->text[0]);
	state_close(&r);
	free(copy);
	return ret;
}

static void refuses_each_length(void **unused)
{
	struct state_writer w;
	struct error err;

	(void)unused;
	write_file(&w);
	for (size_t len = 0; len < w.len; len++)
		assert_int_equal(open_copy(w.data, len, &err), -EINVAL);
	assert_int_equal(open_copy(w.data, w.len, &err), 0);
	state_put_u8(&w, 0);
	assert_int_equal(open_copy(w.data, w.len, &err), -EINVAL);
	state_writer_fini(&w);
}

static void refuses_each_bit(void **unused)
{
	struct state_writer w;
	struct error err;

	(void)unused;
	write_file(&w);
	for (size_t i = 0; i < w.len * 8; i++) {
		w.data[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_true(open_copy(w.data, w.len, &err) < 0);
		w.data[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	state_writer_fini(&w);
}

/* Gives the section at @at the checksum that it should have. */
static void mend(struct state_writer *w, size_t at)
{
	uint64_t len;
	uint32_t crc;

	memcpy(&len, w->data + at + AT_SIZE, sizeof(len));
	memset(w->data + at + AT_CRC, 0, 4);
	crc = state_crc(0, w->data + at, HEADER + (size_t)len);
	memcpy(w->data + at + AT_CRC, &crc, sizeof(crc));
}

static void refuses_what_an_enemy_made(void **unused)
{
	struct state_writer w;
	struct error err;
	uint64_t huge[] = {1,
			   0x7fffffff,
			   0xffffffff,
			   UINT64_MAX,
			   UINT64_MAX - HEADER + 1,
			   (uint64_t)INT64_MAX};
	uint64_t len;
	size_t last;

	(void)unused;
	/* lengths, with no checksum to tell */
	write_file(&w);
	last = w.len - HEADER;
	for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
		memcpy(w.data + last + AT_SIZE, &huge[i], 8);
		assert_int_equal(open_copy(w.data, w.len, &err), -EINVAL);
		assert_string_equal(err.text, "is damaged: section one_ 0 is longer than the file");
	}
	state_writer_fini(&w);

	/* a section that swallows the next ones: the count is wrong then */
	write_file(&w);
	len = w.len - FIRST - HEADER;
	memcpy(w.data + FIRST + AT_SIZE, &len, sizeof(len));
	mend(&w, FIRST);
	assert_int_equal(open_copy(w.data, w.len, &err), -EINVAL);
	assert_string_equal(err.text, "is damaged: it ends within a section's header");
	state_writer_fini(&w);

	/* twice the same */
	write_file(&w);
	w.data[w.len - HEADER + 4] = 7;
	mend(&w, w.len - HEADER);
	assert_int_equal(open_copy(w.data, w.len, &err), -EINVAL);
	assert_string_equal(err.text, "has section one_ 7 twice");
	state_writer_fini(&w);

	/* counts that the file cannot have */
	for (uint32_t n = 0; n < 6; n++) {
		write_file(&w);
		w.count = n < 5 ? n : UINT32_MAX;
		assert_int_equal(state_seal(&w), 0);
		assert_int_equal(open_copy(w.data, w.len, &err), n == 3 ? 0 : -EINVAL);
		state_writer_fini(&w);
	}
}

static void names_another_format(void **unused)
{
	struct state_writer w;
	struct error err;

	(void)unused;
	write_file(&w);
	w.data[8] = 9;
	assert_int_equal(open_copy(w.data, w.len, &err), -ENOTSUP);
	assert_string_equal(err.text, "is of format 9, and this catnap reads format 1");
	w.data[0] = 'C';
	assert_int_equal(open_copy(w.data, w.len, &err), -EINVAL);
	assert_string_equal(err.text, "is no state of a snapshot");
	state_writer_fini(&w);
}

static void has_the_known_checksum(void **unused)
{
	(void)unused;
	/* RFC 3720, B.4 */
	assert_int_equal(state_crc(0, "123456789", 9), 0xe3069283);
	assert_int_equal(state_crc(state_crc(0, "1234", 4), "56789", 5), 0xe3069283);
	assert_int_equal(state_crc(0, "", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back),
		cmocka_unit_test(says_what_is_wrong_with_a_section),
		cmocka_unit_test(refuses_each_length),
		cmocka_unit_test(refuses_each_bit),
		cmocka_unit_test(refuses_what_an_enemy_made),
		cmocka_unit_test(names_another_format),
		cmocka_unit_test(has_the_known_checksum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
