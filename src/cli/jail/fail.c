/* SPDX-License-Identifier: Apache-2.0 */
/* The line that a step of a jail leaves when it fails. */
#include <stdarg.h>
#include <stdio.h>

#include "cli/jail/jail.h"
#include "cli/printable.h"

int jail_fail(const char *format, ...)
{
	char text[4096], shown[4096];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	complain("catnap jail: %s\n", printable(text, false, shown, sizeof(shown)));
	return -1;
}
