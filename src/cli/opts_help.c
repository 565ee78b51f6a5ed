/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The help text of a command, out of its option table: two columns, within 80. Forms of values that
 * are too long for the left column stand on lines of their own.
 */
#include <stdbool.h>
#include <string.h>

#include "cli/opts.h"
#include "cli/wrap.h"

#define LEFT 26 /* where the descriptions begin */

/* Pads from @column to @to. */
static void pad(FILE *out, int column, int to)
{
	fprintf(out, "%*s", to > column ? to - column : 0, "");
}

const char *opt_form(const struct opt_def *d, char *buf, size_t size)
{
	bool either = false; /* the one before is one of several */
	size_t used = 0;

	if (!d->keys || d->form)
		return d->form;
	buf[0] = '\0';
	for (const struct opt_field *k = d->keys; k->name; k++) {
		if (!k->form || used >= size)
			continue;
		used += (size_t)snprintf(buf + used, size - used,
					 k->required || k->either ? "%s%s=%s" : "[%s%s=%s]",
					 !used		       ? ""
					 : either && k->either ? "|"
							       : ",",
					 k->name, k->form);
		either = k->either;
	}
	return buf;
}

/* Prints the form of a value, broken after a ',' or a '|' where it is longer than a line. */
static int form(FILE *out, const char *text, int column)
{
	int indent = column;

	while (*text) {
		int len = (int)strcspn(text, ",|");

		len += text[len] != '\0';
		if (column > indent && column + len > WRAP_WIDTH) {
			fputc('\n', out);
			pad(out, 0, indent);
			column = indent;
		}
		fprintf(out, "%.*s", len, text);
		column += len;
		text += len;
	}
	return column;
}

static void one(FILE *out, char letter, const char *name, const char *value, const char *help,
		const char *def)
{
	int column;

	if (letter)
		column = fprintf(out, "  -%c, --%s", letter, name);
	else
		column = fprintf(out, "      --%s", name);
	if (value) {
		fputc(' ', out);
		column = form(out, value, column + 1);
	}
	if (column + 2 > LEFT) {
		fputc('\n', out);
		column = 0;
	}
	pad(out, column, LEFT);
	column = wrap(out, help, LEFT, LEFT);
	if (def) {
		char text[160];

		snprintf(text, sizeof(text), "[%s]", def);
		/* The default stays in one piece if it fits in a line at all. */
		if (column + 1 + (int)strlen(text) > WRAP_WIDTH && column > LEFT) {
			fputc('\n', out);
			pad(out, 0, LEFT);
			column = LEFT;
		}
		wrap(out, text, column, LEFT);
	}
	fputc('\n', out);
}

/* Says once what the words in capitals are, as far as @cmd has them. */
static void kinds(const struct opt_command *cmd, FILE *out)
{
	char buf[OPT_FORM_SIZE];
	bool time = false, size = false, list = false;
	const struct opt_def *d;

	for (d = cmd->options; d->f.name; d++) {
		const char *text = opt_form(d, buf, sizeof(buf));

		time = time || (text && strstr(text, "TIME"));
		size = size || (text && strstr(text, "SIZE"));
		list = list || d->list;
	}
	if (time || size || list)
		fputc('\n', out);
	if (time)
		fputs("TIME: a number and its unit, ns, us, ms or s; 0 needs none.\n", out);
	if (size)
		fputs("SIZE: bytes; K, M, G, T behind the number are powers of 1024.\n", out);
	if (list)
		fputs("A value with commas stands in double quotes: path=\"a,b\"; \"\" in them is "
		      "one.\n",
		      out);
}

/* Prints notes. Each line is a paragraph, but for those that begin with a space, which are as they
 * are. */
static void notes(const char *text, FILE *out)
{
	fputc('\n', out);
	while (*text) {
		int len = (int)strcspn(text, "\n");

		if (*text == ' ' || *text == '\n')
			fprintf(out, "%.*s\n", len, text);
		else
			wrap_line(out, 0, "%.*s", len, text);
		text += len;
		text += *text == '\n';
	}
}

void opts_help(const struct opt_command *cmd, FILE *out)
{
	const struct opt_def *d;
	char buf[OPT_FORM_SIZE];

	fprintf(out, "Usage: catnap %s %s\n\n", cmd->name, cmd->synopsis);
	wrap(out, cmd->summary, 0, 0);
	fprintf(out, "\n\nOptions [defaults]:\n");
	for (d = cmd->options; d->f.name; d++)
		one(out, d->letter, d->f.name, opt_form(d, buf, sizeof(buf)), d->help, d->def);
	one(out, 'h', "help", NULL, "Prints this and exits.", NULL);
	kinds(cmd, out);
	if (cmd->notes)
		notes(cmd->notes, out);
}
