// SPDX-License-Identifier: Apache-2.0
/* catnap-disk: a verifying disk load, and the checker of what it leaves behind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk.h"

static int usage(FILE *f)
{
	fputs("Usage: catnap-disk load DISK [seed=N] [workers=N] [seconds=N]\n"
	      "       catnap-disk check IMAGE LOG\n"
	      "\n"
	      "load, in a guest: random writes, reads, discards and flushes on the whole of DISK,\n"
	      "which must be all zeroes, for so many seconds (10), by so many processes (4). It "
	      "says\n"
	      "each flush that has returned.\n"
	      "check, on the host: holds the image against what load has said (LOG is the guest's\n"
	      "console). Status 0: all that was flushed is there; 1: it is not.\n",
	      f);
	return f == stdout ? 0 : 2;
}

static int number(const char *text, double min, double max, double *n)
{
	char *end;

	*n = strtod(text, &end);
	if (end == text || *end || !(*n >= min && *n <= max)) {
		fprintf(stderr, "catnap-disk: \"%s\": expected %g to %g\n", text, min, max);
		return -1;
	}
	return 0;
}

static int load_main(int argc, char **argv)
{
	struct load_options o = {.path = argv[0], .seed = 1, .workers = 4, .seconds = 10};
	double n;

	for (int i = 1; i < argc; i++) {
		const char *value = strchr(argv[i], '=');
		int bad = -1;

		if (value && !strncmp(argv[i], "seed=", 5)) {
			bad = number(value + 1, 0, 1e15, &n);
			o.seed = bad ? 0 : (uint64_t)n;
		} else if (value && !strncmp(argv[i], "workers=", 8)) {
			bad = number(value + 1, 1, WORKERS_MAX, &n);
			o.workers = bad ? 0 : (uint32_t)n;
		} else if (value && !strncmp(argv[i], "seconds=", 8)) {
			bad = number(value + 1, 0.1, 1e6, &n);
			o.seconds = n;
		} else {
			fprintf(stderr, "catnap-disk: \"%s\": unknown\n", argv[i]);
		}
		if (bad)
			return 2;
	}
	return load(&o);
}

int main(int argc, char **argv)
{
	if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")))
		return usage(stdout);
	if (argc >= 3 && !strcmp(argv[1], "load"))
		return load_main(argc - 2, argv + 2);
	if (argc == 4 && !strcmp(argv[1], "check"))
		return check(argv[2], argv[3]);
	return usage(stderr);
}
