/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why something failed, in one sentence for people: it names the option, the file or the member of
 * a structure, and what was expected. The caller has room for it and shows it; a function that has
 * one among its arguments fills it whenever it fails, or says when it does not.
 *
 * Open to every room of the library: it knows nothing but libc.
 */
#ifndef ERRORS_H
#define ERRORS_H

#include <stdarg.h>
#include <stdbool.h>

struct error {
	char text[256]; /* without newline; "": nothing was said */
};

/* Returns whether something was said. */
static inline bool error_is_set(const struct error *err)
{
	return err->text[0] != '\0';
}

/* Says what went wrong. Of text that does not fit, the middle is left out: the end of a sentence
 * says what is wrong, behind a path however long. */
void error_set(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Says what went wrong, and returns @ret. */
int error_fail(struct error *err, int ret, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Says what was being done, and behind a colon what @ret means, a negative errno value. Returns
 * @ret. */
int error_errno(struct error *err, int ret, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Adds to what was said, behind it. */
void error_add(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts the same in front of it: of what it is said. Returns @ret. */
int error_prefix(struct error *err, int ret, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Does what error_set() does, for functions that are called with a format themselves. */
void error_vset(struct error *err, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

#endif
