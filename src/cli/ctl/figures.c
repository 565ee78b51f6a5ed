/* SPDX-License-Identifier: Apache-2.0 */
/* See figures.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/ctl/figures.h"
#include "cli/printable.h"

/* Writes @n of the unit: three digits or four. */
static const char *scaled(char buf[FIGURE_SIZE], double n, const char *unit)
{
	snprintf(buf, FIGURE_SIZE, "%.*f%s", n < 9.995 ? 2 : n < 99.95 ? 1 : 0, n, unit);
	return buf;
}

const char *show_bytes(char buf[FIGURE_SIZE], uint64_t bytes)
{
	static const char *const units[] = {"", "K", "M", "G", "T", "P", "E"};
	double n = (double)bytes;
	size_t i = 0;

	while (bytes >= 1024 && bytes % 1024 == 0 && i + 1 < sizeof(units) / sizeof(units[0])) {
		bytes /= 1024;
		i++;
	}
	if (bytes < 10000) {
		snprintf(buf, FIGURE_SIZE, "%" PRIu64 "%s", bytes, units[i]);
		return buf;
	}
	for (i = 0; n >= 1023.5 && i + 1 < sizeof(units) / sizeof(units[0]); i++)
		n /= 1024;
	return scaled(buf, n, units[i]);
}

const char *show_ns(char buf[FIGURE_SIZE], uint64_t ns)
{
	if (ns < 1000)
		snprintf(buf, FIGURE_SIZE, "%" PRIu64 "ns", ns);
	else if (ns < 999500)
		return scaled(buf, (double)ns / 1e3, "us");
	else if (ns < 999500000)
		return scaled(buf, (double)ns / 1e6, "ms");
	else
		return scaled(buf, (double)ns / 1e9, "s");
	return buf;
}

const char *show_duration(char buf[FIGURE_SIZE], uint64_t ns)
{
	uint64_t s = ns / 1000000000u;

	if (s < 60)
		snprintf(buf, FIGURE_SIZE, "%" PRIu64 "s", s);
	else if (s < 3600)
		snprintf(buf, FIGURE_SIZE, "%" PRIu64 "m %" PRIu64 "s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(buf, FIGURE_SIZE, "%" PRIu64 "h %" PRIu64 "m", s / 3600, s / 60 % 60);
	else
		snprintf(buf, FIGURE_SIZE, "%" PRIu64 "d %" PRIu64 "h", s / 86400, s / 3600 % 24);
	return buf;
}

const char *show_count(char buf[FIGURE_SIZE], double n)
{
	static const char *const units[] = {"", "k", "M", "G", "T", "P", "E"};
	size_t i = 0;

	if (n < 9999.5) {
		snprintf(buf, FIGURE_SIZE, "%.0f", n);
		return buf;
	}
	for (; n >= 999.5 && i + 1 < sizeof(units) / sizeof(units[0]); i++)
		n /= 1000;
	return scaled(buf, n, units[i]);
}

const char *show_percent(char buf[FIGURE_SIZE], double percent)
{
	snprintf(buf, FIGURE_SIZE, "%.*f%%", percent < 99.95 ? 1 : 0, percent);
	return buf;
}

const char *show_text(char *buf, size_t size, const char *text)
{
	return printable(text ? text : "-", false, buf, size);
}

/* -- tables ----------------------------------------------------------------------------------- */

void table_init(struct table *t, const char *const *heads)
{
	*t = (struct table){.heads = heads};
	while (heads[t->columns])
		t->columns++;
}

void table_add(struct table *t, const char *text)
{
	char shown[1024];

	if (t->cells == t->room) {
		size_t room = t->room ? 2 * t->room : 64;
		char **cell = realloc(t->cell, room * sizeof(*cell));

		t->failed |= !cell;
		if (!cell)
			return;
		t->cell = cell;
		t->room = room;
	}
	t->cell[t->cells] = strdup(show_text(shown, sizeof(shown), text));
	t->failed |= !t->cell[t->cells];
	t->cells += t->cell[t->cells] != NULL;
}

/* Returns how many columns a terminal needs for UTF-8 that printable() has let through. */
static int columns_of(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

/* Prints a cell, with no blanks at the end of a line. */
static void print_cell(const struct table *t, size_t column, const char *text, const int *width)
{
	bool left = t->heads[column][0] == '<', last = column + 1 == t->columns;
	int pad = width[column] - columns_of(text);

	if (left)
		printf("%s%*s", text, last ? 0 : pad, "");
	else
		printf("%*s%s", pad, "", text);
	fputs(last ? "\n" : "  ", stdout);
}

int table_print(struct table *t)
{
	int width[TABLE_COLUMNS] = {0};
	bool failed = t->failed;

	for (size_t i = 0; i < t->columns; i++)
		width[i] = columns_of(t->heads[i] + (t->heads[i][0] == '<'));
	for (size_t i = 0; i < t->cells; i++) {
		int n = columns_of(t->cell[i]);

		if (t->columns && n > width[i % t->columns])
			width[i % t->columns] = n;
	}
	for (size_t i = 0; !failed && t->cells && i < t->columns; i++)
		print_cell(t, i, t->heads[i] + (t->heads[i][0] == '<'), width);
	for (size_t i = 0; i < t->cells; i++) {
		if (!failed && t->columns)
			print_cell(t, i % t->columns, t->cell[i], width);
		free(t->cell[i]);
	}
	free(t->cell);
	*t = (struct table){.heads = t->heads, .columns = t->columns};
	return failed ? -ENOMEM : 0;
}

void print_pair(const char *name, const char *fmt, ...)
{
	va_list ap;

	printf("%-26s ", name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}
