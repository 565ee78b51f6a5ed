/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the control socket: bodies taken by a table, and who answers what. No HTTP, no VM. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cli/api/resources.h"

#define BEGIN "An error occurred when deserializing the json body of a request: "

enum { RED = 1, GREEN, BLUE };

struct inner {
	uint64_t given;
	uint64_t size;
	const char *text;
};

struct outer {
	uint64_t given;
	const char *name;
	uint64_t number;
	bool flag;
	double real;
	int colour;
	struct inner inner;
	struct body_array list, texts;
	struct json_object *any;
};

static const struct body_word colours[] = {{"Red", RED}, {"Green", GREEN}, {"Blue", BLUE}, {0}};

static const struct body_field inner_members[] = {
	{.name = "size",
	 .type = BODY_U64,
	 .offset = offsetof(struct inner, size),
	 .required = true},
	{.name = "text", .type = BODY_STRING, .offset = offsetof(struct inner, text)},
	{NULL},
};

enum { NAME, NUMBER, FLAG, REAL, COLOUR, INNER, LIST, TEXTS, ANY };

static const struct body_field members[] = {
	[NAME] = {.name = "name",
		  .type = BODY_STRING,
		  .offset = offsetof(struct outer, name),
		  .max = 8,
		  .required = true},
	[NUMBER] = {.name = "number",
		    .type = BODY_U64,
		    .offset = offsetof(struct outer, number),
		    .max = 255,
		    .called = "u8"},
	[FLAG] = {.name = "flag",
		  .type = BODY_BOOL,
		  .offset = offsetof(struct outer, flag),
		  .nullable = true},
	[REAL] = {.name = "real", .type = BODY_NUMBER, .offset = offsetof(struct outer, real)},
	[COLOUR] = {.name = "colour",
		    .type = BODY_WORD,
		    .offset = offsetof(struct outer, colour),
		    .words = colours},
	[INNER] = {.name = "inner",
		   .type = BODY_OBJECT,
		   .offset = offsetof(struct outer, inner),
		   .table = inner_members,
		   .nullable = true},
	[LIST] = {.name = "list",
		  .type = BODY_ARRAY,
		  .offset = offsetof(struct outer, list),
		  .table = inner_members,
		  .size = sizeof(struct inner),
		  .max = 3},
	[TEXTS] = {.name = "texts", .type = BODY_ARRAY, .offset = offsetof(struct outer, texts)},
	[ANY] = {.name = "any", .type = BODY_ANY, .offset = offsetof(struct outer, any)},
	{NULL},
};

static void test_values(void **state)
{
	static const char text[] =
		"{\"any\": {\"a\": [1, {\"b\": 2}]}, \"name\": \"abc\", \"number\": 255,\n"
		" \"flag\": null, \"real\": -1.5, \"colour\": \"Green\","
		" \"inner\": {\"size\": 18446744073709551615, \"text\": \"\"},"
		" \"list\": [{\"size\": 1}, {\"size\": 2, \"text\": \"x\"}],"
		" \"texts\": [\"p\", \"q\"]}";
	struct outer o = {.flag = true};
	const struct inner *list;
	struct reply r;

	reply_init(&r, NULL);
	assert_int_equal(body_take(&r, text, strlen(text), members, &o), 0);
	assert_int_equal(r.status, 0);
	assert_string_equal(o.name, "abc");
	assert_int_equal(o.number, 255);
	assert_true(o.flag); /* null is as if it were not there */
	assert_false(body_given(o.given, FLAG));
	assert_true(body_given(o.given, NUMBER));
	assert_true(o.real == -1.5);
	assert_int_equal(o.colour, GREEN);
	assert_true(o.inner.size == UINT64_MAX);
	assert_string_equal(o.inner.text, "");
	assert_int_equal(o.list.n, 2);
	list = o.list.items;
	assert_int_equal(list[1].size, 2);
	assert_int_equal(list[0].given, 1);
	assert_int_equal(list[1].given, 3);
	assert_int_equal(o.texts.n, 2);
	assert_string_equal(((const char **)o.texts.items)[1], "q");
	assert_string_equal(json_object_to_json_string_ext(o.any, JSON_C_TO_STRING_PLAIN),
			    "{\"a\":[1,{\"b\":2}]}");
	reply_free(&r);
}

/* A body, and what is said of it behind Firecracker's first words. */
static const struct {
	const char *text, *says;
} wrong[] = {
	{"{\"name\": \"a\", \"foo\": 1}", "unknown field `foo`, expected one of `name`, `number`, "
					  "`flag`, `real`, `colour`, `inner`, "
					  "`list`, `texts`, `any` at line 1 column 19."},
	{"{\"number\": 1}",
	 "missing field `name` at line 1 column 13. expected a string of at most "
	 "8 bytes."},
	{"{}", "missing field `name` at line 1 column 2. expected a string of at most 8 bytes."},
	{"{\"name\": 5}",
	 "invalid type: integer `5`, expected a string at line 1 column 10. Member "
	 "name: expected a string of at most 8 bytes."},
	{"{\"name\": \"123456789\"}", "invalid value: string \"123456789\", expected a string at "
				      "line 1 column 20. Member name: expected a string of at most "
				      "8 bytes."},
	{"{\"name\": \"a\\u0000b\"}", "invalid value: string \"a\", expected a string at line 1 "
				      "column 19. Member name: expected a string of at most 8 "
				      "bytes."},
	{"{\"name\": null}", "invalid type: null, expected a string at line 1 column 13. Member "
			     "name: expected a string of at most 8 bytes."},
	{"{\"number\": -2}", "invalid value: integer `-2`, expected u8 at line 1 column 13. Member "
			     "number: expected a whole number from 0 to 255."},
	{"{\"number\": 256}",
	 "invalid value: integer `256`, expected u8 at line 1 column 14. Member "
	 "number: expected a whole number from 0 to 255."},
	{"{\"number\": \"2\"}", "invalid type: string \"2\", expected u8 at line 1 column 14. "
				"Member number: expected a whole number from 0 to 255."},
	{"{\"number\": 1.0}",
	 "invalid type: floating point `1.0`, expected u8 at line 1 column 14. "
	 "Member number: expected a whole number from 0 to 255."},
	{"{\"inner\": {\"size\": 18446744073709551616}}",
	 "invalid type: integer `18446744073709551616`, expected u64 at line 1 column 39. Member "
	 "inner.size: expected a whole number from 0 to 18446744073709551615."},
	{"{\"flag\": 1}",
	 "invalid type: integer `1`, expected a boolean at line 1 column 10. Member "
	 "flag: expected true or false."},
	{"{\"colour\": \"Pink\"}", "unknown variant `Pink`, expected one of `Red`, `Green`, `Blue` "
				   "at line 1 column 17. Member colour: expected one of `Red`, "
				   "`Green`, `Blue`."},
	{"{\"colour\": \"red\"}", "unknown variant `red`, expected one of `Red`, `Green`, `Blue` "
				  "at line 1 column 16. Member colour: expected one of `Red`, "
				  "`Green`, `Blue`."},
	{"{\"inner\": {}}", "missing field `size` at line 1 column 12. Member inner: expected a "
			    "whole number from 0 to 18446744073709551615."},
	{"{\"inner\": []}", "invalid type: sequence, expected a map at line 1 column 12. Member "
			    "inner: expected an object."},
	{"{\n\n \"list\": [{\"size\": 1},\n  {\"size\": true}]}",
	 "invalid type: boolean `true`, expected u64 at line 4 column 15. Member list[1].size: "
	 "expected a whole number from 0 to 18446744073709551615."},
	{"{\"list\": [{\"size\":1},{\"size\":1},{\"size\":1},{\"size\":1}]}",
	 "invalid value: sequence, expected a sequence at line 1 column 54. Member list: expected "
	 "an "
	 "array of at most 3."},
	{"{\"texts\": [\"a\", 1]}", "invalid type: integer `1`, expected a string at line 1 column "
				    "17. Member texts[1]: expected a string."},
	{"{\"name\": \"a\", \"name\": \"b\"}", "duplicate field `name` at line 1 column 20."},
	{"{\"inner\": {\"size\": 1, \"size\": 1}}", "duplicate field `size` at line 1 column 28."},
	{"{\"name\": \"a\"", "EOF while parsing: it is not complete at line 1 column 12."},
	{"", "EOF while parsing: it is not complete at line 1 column 0."},
	{"[]", "invalid type: it is no object, expected struct at line 1 column 0."},
	{"null", "invalid type: it is no object, expected struct at line 1 column 0."},
};

static void test_errors(void **state)
{
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct outer o = {.name = NULL};
		char expected[1024];
		struct reply r;

		reply_init(&r, NULL);
		assert_int_equal(body_take(&r, wrong[i].text, strlen(wrong[i].text), members, &o),
				 -EINVAL);
		assert_int_equal(r.status, 400);
		snprintf(expected, sizeof(expected), BEGIN "%s", wrong[i].says);
		assert_string_equal(reply_sentence(&r), expected);
		reply_free(&r);
	}
}

/* Text that is no JSON is refused, in whatever words. */
static void test_no_json(void **state)
{
	static const char *const texts[] = {
		"{\"name\": \"a\"} x",	   "{\"name\": \"a\",}",
		"{name: \"a\"}",	   "{'name': 'a'}",
		"{\"name\": NaN}",	   "{\"real\": Infinity}",
		"{\"n\\u0061me\": \"a\"}", "{\"name\"",
		"{\"name\": \"\xff\"}",	   "/* x */ {\"name\": \"a\"}",
		"{\"name\": \"\\ud800\"}",
	};
	char deep[3000] = "{\"any\": ", many[40000] = "{\"any\": [0";
	struct outer o = {.name = NULL};
	struct reply r;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		reply_init(&r, NULL);
		assert_int_equal(body_take(&r, texts[i], strlen(texts[i]), members, &o), -EINVAL);
		assert_int_equal(r.status, 400);
		assert_true(strncmp(reply_sentence(&r), BEGIN, strlen(BEGIN)) == 0);
		reply_free(&r);
	}
	memset(deep + strlen(deep), '[', 2000);
	for (int i = 0; i < 10000; i++)
		memcpy(many + 10 + 2 * i, ",0", 2);
	memcpy(many + 10 + 20000, "]}", 3);
	for (int i = 0; i < 2; i++) {
		const char *text = i ? many : deep;

		reply_init(&r, NULL);
		assert_int_equal(body_take(&r, text, strlen(text), members, &o), -EINVAL);
		assert_int_equal(r.status, 400);
		reply_free(&r);
	}
	/* A NUL in the text, and what stands behind it. */
	reply_init(&r, NULL);
	assert_int_equal(body_take(&r, "{\"name\": \"a\"}\0x", 15, members, &o), -EINVAL);
	assert_int_equal(r.status, 400);
	reply_free(&r);
}

/* Each cut of a good body is refused, and nothing is read behind its end (ASan). */
static void test_cut(void **state)
{
	static const char text[] = "{\"name\": \"a\", \"inner\": {\"size\": 12}, \"list\": []}";

	for (size_t len = 0; len < strlen(text); len++) {
		struct outer o = {.name = NULL};
		char *copy = malloc(len ? len : 1);
		struct reply r;

		assert_non_null(copy);
		memcpy(copy, text, len);
		reply_init(&r, NULL);
		assert_int_equal(body_take(&r, copy, len, members, &o), -EINVAL);
		assert_int_equal(r.status, 400);
		reply_free(&r);
		free(copy);
	}
}

/* A sentence is UTF-8, whatever it is about. */
static void test_sentence(void **state)
{
	struct reply r;

	reply_init(&r, NULL);
	reply_fault(&r, 400, "a\xff \xc3\xa9 \xed\xa0\x80 \"q\" \xf0\x9f\x90\x88 \xc0\x80");
	assert_string_equal(reply_sentence(&r), "a? \xc3\xa9 ??? \"q\" \xf0\x9f\x90\x88 ??");
	assert_string_equal(r.type, "application/json");
	reply_free(&r);
}

static void answer(const char *method, const char *path, const char *body, struct reply *r)
{
	struct api_request rq = {
		.method = method, .path = path, .body = body, .len = body ? strlen(body) : 0};
	struct api api;

	api_init(&api, "test", NULL, NULL);
	reply_init(r, NULL);
	route_request(&api, &rq, r);
	api_free(&api);
}

static void test_routes(void **state)
{
	static const struct {
		const char *method, *path, *body;
		unsigned int status;
		const char *says;
	} asked[] = {
		{"GET", "/version", NULL, 200, ""},
		{"GET", "/version/", NULL, 200, ""},
		{"GET", "/", NULL, 200, ""},
		{"GET", "", NULL, 200, ""},
		{"GET", "/nothing/here", NULL, 400,
		 "Invalid request method and/or path: GET nothing."},
		{"PUT", "/version", "{}", 400, "Invalid request method and/or path: PUT version."},
		{"DELETE", "/", NULL, 400, "Invalid request method and/or path: DELETE ."},
		{"GET", "/version", "{}", 400, "GET request cannot have a body."},
		{"PUT", "/nothing", NULL, 400, "Empty PUT request."},
		{"PATCH", "/nothing", NULL, 400, "Empty PATCH request."},
		{"GET", "/ver\nsion", NULL, 400,
		 "Invalid request method and/or path: GET ver\\x0asion."},
	};

	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct reply r;

		answer(asked[i].method, asked[i].path, asked[i].body, &r);
		assert_int_equal(r.status, asked[i].status);
		assert_string_equal(reply_sentence(&r), asked[i].says);
		reply_free(&r);
	}
}

static void test_version(void **state)
{
	struct reply r;

	answer("GET", "/version", NULL, &r);
	assert_non_null(strstr(r.body, "\"firecracker_version\":\"1.17.0\""));
	reply_free(&r);
	answer("GET", "/", NULL, &r);
	assert_string_equal(r.body, "{\"id\":\"test\",\"state\":\"Not started\",\"vmm_version\":"
				    "\"1.17.0\",\"app_name\":\"Firecracker\"}");
	reply_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),	 cmocka_unit_test(test_errors),
		cmocka_unit_test(test_no_json),	 cmocka_unit_test(test_cut),
		cmocka_unit_test(test_sentence), cmocka_unit_test(test_routes),
		cmocka_unit_test(test_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
