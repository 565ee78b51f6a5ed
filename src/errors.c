/* SPDX-License-Identifier: Apache-2.0 */
/* See errors.h. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "errors.h"

static bool inside_character(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* Puts @whole, of @len bytes, which is too long, where there is room for most of it. What it is
 * about stands in front, and what is wrong with it at the end: the middle is left out. */
static void put_ends(struct error *err, const char *whole, size_t len)
{
	static const char dots[] = "...";
	size_t room = sizeof(err->text) - sizeof(dots), front = room / 2,
	       from = len - (room - front);

	while (front && inside_character(whole[front]))
		front--;
	while (from < len && inside_character(whole[from]))
		from++;
	memcpy(err->text, whole, front);
	memcpy(err->text + front, dots, sizeof(dots) - 1);
	memcpy(err->text + front + sizeof(dots) - 1, whole + from, len - from + 1);
}

/* Puts more behind the @used bytes of what was said. */
__attribute__((format(printf, 3, 0))) static void put(struct error *err, size_t used,
						      const char *fmt, va_list ap)
{
	size_t room = sizeof(err->text) - used;
	char *whole;
	va_list again;
	int len;

	va_copy(again, ap);
	len = vsnprintf(err->text + used, room, fmt, ap);
	if (len >= 0 && (size_t)len >= room) {
		whole = malloc(used + (size_t)len + 1);
		/* Without memory the end is missing. */
		if (whole) {
			memcpy(whole, err->text, used);
			vsnprintf(whole + used, (size_t)len + 1, fmt, again);
			put_ends(err, whole, used + (size_t)len);
			free(whole);
		}
	}
	va_end(again);
}

void error_vset(struct error *err, const char *fmt, va_list ap)
{
	put(err, 0, fmt, ap);
}

void error_set(struct error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_vset(err, fmt, ap);
	va_end(ap);
}

int error_fail(struct error *err, int ret, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_vset(err, fmt, ap);
	va_end(ap);
	return ret;
}

void error_add(struct error *err, const char *fmt, ...)
{
	size_t used = strlen(err->text);
	va_list ap;

	va_start(ap, fmt);
	put(err, used, fmt, ap);
	va_end(ap);
}

int error_errno(struct error *err, int ret, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_vset(err, fmt, ap);
	va_end(ap);
	error_add(err, ": %s", strerror(-ret));
	return ret;
}

int error_prefix(struct error *err, int ret, const char *fmt, ...)
{
	struct error said = *err;
	va_list ap;

	va_start(ap, fmt);
	error_vset(err, fmt, ap);
	va_end(ap);
	error_add(err, "%s", said.text);
	return ret;
}
