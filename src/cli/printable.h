/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text that somebody else has chosen (a guest, a program behind a socket, the one who named a file)
 * on its way to a terminal. Control characters, which a terminal would obey, are shown as \xNN.
 * UTF-8 stays.
 */
#ifndef CLI_PRINTABLE_H
#define CLI_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Copies @text to @buf, cut if it is too long for it. @lines: newlines and tabs stay. Returns
 * @buf. */
char *printable(const char *text, bool lines, char *buf, size_t size);
/* Prints one line on standard error, shown like that and whole, before the VM runs: see log.h for
 * later. A newline at the end of @format is that of the line. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints a JSON document as it came, but for control characters in it, which become \uNNNN. */
void printable_json(const char *text, FILE *out);

#endif
