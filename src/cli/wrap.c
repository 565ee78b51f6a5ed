/* SPDX-License-Identifier: Apache-2.0 */
/* Text broken into lines, see wrap.h. */
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "cli/wrap.h"

/* Prints words from @column on. @inside: something stands before it, to which a space is due. */
static int flow(FILE *out, const char *text, int column, int indent, bool inside)
{
	while (*text) {
		int len = (int)strcspn(text, " ");

		if (inside && column + 1 + len > WRAP_WIDTH) {
			fprintf(out, "\n%*s", indent, "");
			column = indent;
		} else if (inside) {
			fputc(' ', out);
			column++;
		}
		fprintf(out, "%.*s", len, text);
		column += len;
		inside = true;
		text += len;
		text += strspn(text, " ");
	}
	return column;
}

int wrap(FILE *out, const char *text, int column, int indent)
{
	return flow(out, text, column, indent, column > indent);
}

void wrap_line(FILE *out, int indent, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	flow(out, text + strspn(text, " "), fprintf(out, "%*s", (int)strspn(text, " "), ""), indent,
	     false);
	fputc('\n', out);
}
