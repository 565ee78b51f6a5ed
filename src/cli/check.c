/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap check`: says what this host offers. */
#include <stdio.h>
#include <string.h>

#include <catnap/catnap.h>
#include "cli/cmd.h"
#include "cli/opts.h"

#define MAX_CHECKS 64
#define WIDTH	   78

static const struct opt_def options[] = {
	{.f = {.name = NULL}},
};

static const struct opt_command command = {
	.name = "check",
	.synopsis = "",
	.summary = "Says what this host offers: KVM, each capability that is used, what its "
		   "absence costs "
		   "and what to do about it.",
	.options = options,
	.notes = "Exit status: 0 a VM can run; 1 it cannot.\n",
};

/* Wraps @text at WIDTH, indented. */
static void print_advice(const char *text)
{
	size_t column = 0;

	while (*text) {
		size_t n = strcspn(text, " ");

		if (column && column + 1 + n > WIDTH - 9) {
			printf("\n");
			column = 0;
		}
		if (column)
			column += (size_t)printf(" %.*s", (int)n, text);
		else
			column = (size_t)printf("         %.*s", (int)n, text) - 9;
		text += n;
		text += strspn(text, " ");
	}
	printf("\n");
}

int cmd_check(int argc, char **argv)
{
	static const char *const states[] = {"ok", "less", "MISSING"};
	struct catnap_check checks[MAX_CHECKS];
	struct opts o;
	size_t n;
	int status = opts_command(&o, &command, argc, argv, NULL);

	opts_free(&o);
	if (status >= 0)
		return status;
	n = catnap_check_host(checks, MAX_CHECKS);
	status = CMD_OK;
	for (size_t i = 0; i < n && i < MAX_CHECKS; i++) {
		printf("%-7s  %-28s %s\n", states[checks[i].state], checks[i].name,
		       checks[i].found);
		if (checks[i].advice[0])
			print_advice(checks[i].advice);
		if (checks[i].state == CATNAP_CHECK_MISSING)
			status = CMD_ERROR;
	}
	return status;
}
