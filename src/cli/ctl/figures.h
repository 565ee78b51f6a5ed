/* SPDX-License-Identifier: Apache-2.0 */
/* Figures and tables for people: short, aligned, at most 80 columns where they can be. */
#ifndef CLI_CTL_FIGURES_H
#define CLI_CTL_FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <json-c/json.h>

#define FIGURE_SIZE 32

/* Write a figure into @buf and return it. */
const char *show_bytes(char buf[FIGURE_SIZE], uint64_t bytes);	 /* 512, 1.5K, 256M */
const char *show_ns(char buf[FIGURE_SIZE], uint64_t ns);	 /* 850ns, 12.3us, 4.5ms, 1.2s */
const char *show_duration(char buf[FIGURE_SIZE], uint64_t ns);	 /* 42s, 3m 12s, 5h 2m, 3d 4h */
const char *show_count(char buf[FIGURE_SIZE], double n);	 /* 999, 12.3k, 4.56M: 6 columns */
const char *show_percent(char buf[FIGURE_SIZE], double percent); /* 0.0%, 99.9%, 100% */
/* Writes "-" for NULL; else the text as printable() shows it, at most @size - 1 bytes. */
const char *show_text(char *buf, size_t size, const char *text);

#define TABLE_COLUMNS 16

/* A table is filled cell by cell, and printed when all its columns' widths are known. */
struct table {
	const char *const *heads; /* '<' before a name: its column is flush left */
	size_t columns, cells, room;
	char **cell; /* the rows, one after the other */
	bool failed; /* no memory */
};

/* Begins a table. @heads ends with NULL, has at most TABLE_COLUMNS, and stays the caller's. */
void table_init(struct table *t, const char *const *heads);
void table_add(struct table *t, const char *text); /* the next cell; copied as show_text() has it */
/* Prints it, with a line of heads if there are rows, and gives all back. 0 or -ENOMEM. */
int table_print(struct table *t);

/* Prints a line of a list of names and values. */
void print_pair(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
