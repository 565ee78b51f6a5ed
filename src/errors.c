/* SPDX-License-Identifier: Apache-2.0 */
/* See errors.h. */
#include <stdio.h>
#include <string.h>

#include "errors.h"

void error_vset(struct error *err, const char *fmt, va_list ap)
{
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
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
	vsnprintf(err->text + used, sizeof(err->text) - used, fmt, ap);
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
