/* SPDX-License-Identifier: Apache-2.0 */
/* Text for terminals of 80 columns. */
#ifndef CLI_WRAP_H
#define CLI_WRAP_H

#include <stdio.h>

#define WRAP_WIDTH 79

/* Prints @text from @column on, broken at spaces, each further line indented by @indent. Returns
 * the column. */
int wrap(FILE *out, const char *text, int column, int indent);
/* Writes a paragraph with its newline; @indent is for all lines but the first. */
void wrap_line(FILE *out, int indent, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
