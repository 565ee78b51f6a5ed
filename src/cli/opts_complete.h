/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells shells that complete the command line what may stand in a word of it: out of the same
 * tables as --help. `catnap [COMMAND] --complete WORD...` prints it; the last WORD is the one that
 * is being written, and those before it come first.
 *
 * A line for each candidate. One that ends with '=' goes on. A line ":file" says that
 * the rest, from the last '=' or ',' on, is a file's name.
 */
#ifndef CLI_OPTS_COMPLETE_H
#define CLI_OPTS_COMPLETE_H

#include <stdio.h>

#include "cli/opts.h"

/* Prints what may stand there. @n is at least 1. */
void opts_complete(const struct opt_command *cmd, char *const *words, size_t n, FILE *out);

#endif
