/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON that a request brings, taken by a table: which members there are, what each may be, and
 * where it goes.
 *
 *	struct vm_body { uint64_t given; int state; };
 *	static const struct body_word states[] = {{"Paused", PAUSED}, {"Resumed", RESUMED}, {0}};
 *	static const struct body_field vm_members[] = {
 *		{.name = "state", .type = BODY_WORD, .words = states, .required = true,
 *		 .offset = offsetof(struct vm_body, state)},
 *		{0},
 *	};
 *
 * Each structure that is filled begins with a uint64_t, in which bit n says that member n of its
 * table was given. Members that were not given are left as they were. null is "not given" for what
 * is nullable.
 *
 * Bodies are text of others: they become values in their ranges, or one sentence that says which
 * member is wrong, where, and what was expected. The sentences begin with the words of Firecracker,
 * some of whose clients look at them, and end with the member by its whole name.
 */
#ifndef CLI_API_BODY_H
#define CLI_API_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <json-c/json.h>

struct reply;

/* The type of a member's value; in brackets, the type of the variable that receives it. */
enum body_type {
	BODY_STRING, /* [const char *] without a NUL; max bytes at most, if that is not 0 */
	BODY_U64,    /* [uint64_t] min to max; max 0 stands for the largest */
	BODY_BOOL,   /* [bool] */
	BODY_NUMBER, /* [double] finite; min to max, if max is not 0 */
	BODY_WORD,   /* [int] the value of one of .words */
	BODY_OBJECT, /* [a structure] by .table, of which it has room here */
	BODY_ARRAY,  /* [struct body_array] of structures of .size by .table, or of strings */
	BODY_ANY,    /* [struct json_object *] any value; lives as long as the reply */
};

struct body_word {
	const char *name;
	int value;
};

/* Tables end with a name of NULL, and have 64 rows at most. */
struct body_field {
	const char *name;
	enum body_type type;
	size_t offset;
	uint64_t min, max; /* an array: how many elements at most, 0 for any number */
	const struct body_word *words;
	const struct body_field *table;
	size_t size;
	bool required, nullable;
	bool any_case; /* BODY_WORD: letters are compared without their case */
	/* The name of the type in sentences: "u8"; NULL: by .type. */
	const char *called;
};

struct body_array {
	void *items; /* structures, or const char * */
	size_t n;
};

/* Returns whether member number @row of a table was given to the structure whose first member is
 * @given. */
static inline bool body_given(uint64_t given, unsigned int row)
{
	return given >> row & 1;
}

/**
 * Takes the object that @text is into @into, which holds the defaults. Strings, arrays and others
 * point into what belongs to @r. Returns 0, or -EINVAL with @r answered, @into being of no use then.
 */
int body_take(struct reply *r, const char *text, size_t len, const struct body_field *table,
	      void *into);

#endif
