/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a JSON document. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <catnap/poll.h>

#include "cli/json_out.h"

void add_u64(struct json_object *o, const char *name, uint64_t value)
{
	json_object_object_add(o, name, json_object_new_uint64(value));
}

void add_text(struct json_object *o, const char *name, const char *text)
{
	if (text)
		json_object_object_add(o, name, json_object_new_string(text));
}

void add_window(struct json_object *o, uint64_t ns)
{
	json_object_object_add(o, "window_ns",
			       ns == CATNAP_WINDOW_FOREVER ? NULL : json_object_new_uint64(ns));
}

int json_write(struct json_object *root, FILE *out)
{
	int ret, err;

	errno = 0;
	ret = fprintf(out, "%s\n",
		      json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
								   JSON_C_TO_STRING_NOSLASHESCAPE));
	if (fflush(out) != 0)
		ret = -1;
	err = errno;
	json_object_put(root);
	errno = err;
	return ret < 0 ? -1 : 0;
}

static char *text_of(struct json_object *root, int form, size_t *len)
{
	const char *text = json_object_to_json_string_length(root, form, len);
	char *copy = text ? malloc(*len + 1) : NULL;

	if (copy) {
		memcpy(copy, text, *len);
		copy[(*len)++] = '\n';
	}
	json_object_put(root);
	return copy;
}

char *json_line(struct json_object *root, size_t *len)
{
	return text_of(root, JSON_C_TO_STRING_PLAIN, len);
}

char *json_document(struct json_object *root, size_t *len)
{
	return text_of(root, JSON_C_TO_STRING_PRETTY, len);
}
