/* SPDX-License-Identifier: Apache-2.0 */
/* See printable.h. */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/printable.h"

/* Returns how many bytes the character at @s has, if a terminal just shows it; 0: it does not.
 * Overlong forms, surrogates and C1 controls (U+0080 to U+009F) are none. */
static size_t shown(const unsigned char *s)
{
	static const uint32_t least[] = {0, 0, 0xa0, 0x800, 0x10000};
	size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 1;
	uint32_t c;

	if (n == 1)
		return s[0] >= ' ' && s[0] < 0x7f;
	c = s[0] & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	/* Characters that turn the direction of what follows, or end lines, are no letters
	 * either. */
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ||
	    (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069))
		return 0;
	return n;
}

char *printable(const char *text, bool lines, char *buf, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *s = (const unsigned char *)text;
	size_t used = 0;

	while (*s && used + 5 < size) {
		size_t n = lines && (*s == '\n' || *s == '\t') ? 1 : shown(s);

		if (n) {
			memcpy(buf + used, s, n);
			used += n;
			s += n;
			continue;
		}
		buf[used++] = '\\';
		buf[used++] = 'x';
		buf[used++] = hex[*s >> 4];
		buf[used++] = hex[*s++ & 15];
	}
	buf[used] = '\0';
	return buf;
}

void printable_json(const char *text, FILE *out)
{
	for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
		if ((*s < ' ' && *s != '\n' && *s != '\t') || *s == 0x7f)
			fprintf(out, "\\u%04x", *s);
		else if (*s == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0)
			fprintf(out, "\\u%04x", *++s);
		else
			putc(*s, out);
	}
}

void complain(const char *format, ...)
{
	/* Each byte may become four. */
	char *text = NULL, *line = NULL;
	va_list args;
	int len;

	va_start(args, format);
	len = vasprintf(&text, format, args);
	va_end(args);
	if (len > 0)
		line = malloc(4 * (size_t)len + 6);
	if (!line) {
		fputs("catnap: out of memory\n", stderr);
		if (len >= 0)
			free(text);
		return;
	}
	if (text[len - 1] == '\n')
		text[len - 1] = '\0';
	printable(text, false, line, 4 * (size_t)len + 5);
	fprintf(stderr, "%s\n", line);
	free(line);
	free(text);
}
