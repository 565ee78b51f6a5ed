// SPDX-License-Identifier: Apache-2.0
/*
 * Counts what happens while a workload runs: interrupts between CPUs, timer interrupts, stolen
 * time, as the guest sees them. A program that counts from outside does so where a workload holds,
 * before and after it:
 *
 *     settle=0     asleep for so many seconds
 *     go=TTY       until a line comes from there
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

#define STEAL	    8  /* the column of /proc/stat */
#define MS_PER_TICK 10 /* there */

/* Returns for how long the CPUs of this guest had to wait for the host's, in ms. */
static long steal_ms(void)
{
	char text[512], *at = NULL, *word;
	int column = 0;

	if (!read_line("/proc/stat", text, sizeof(text)))
		return -1;
	for (word = strtok_r(text, " ", &at); word; word = strtok_r(NULL, " ", &at))
		if (column++ == STEAL)
			return strtol(word, NULL, 10) * MS_PER_TICK;
	return -1;
}

void hold(void)
{
	const char *go = option("go", NULL);
	int fd = go ? open(go, O_RDONLY | O_NOCTTY | O_CLOEXEC) : -1;
	char line[128];

	sleep(option_number("settle", 0));
	if (!go)
		return;
	if (fd < 0 || read(fd, line, sizeof(line)) < 0)
		complain("%s: %s", go, strerror(errno));
	close(fd);
}

static void look(struct counts *c)
{
	c->res = interrupts("RES");
	c->loc = interrupts("LOC");
	c->cal = interrupts("CAL");
	c->steal_ms = steal_ms();
	c->ns = now_ns();
}

static void say(const struct counts *c, const char *what, long n)
{
	char key[64];

	snprintf(key, sizeof(key), "%s_%s", c->name, what);
	result(key, "%ld", n);
}

void counts_begin(struct counts *c, const char *name, long rounds)
{
	c->name = name;
	c->rounds = rounds;
	/* A program outside counts between this line and that of the end: nothing happens around
	 * them. */
	say(c, "begin", rounds);
	hold();
	look(c);
}

void counts_end(const struct counts *c)
{
	struct counts now = *c;

	look(&now);
	say(c, "rounds", c->rounds);
	say(c, "end", c->rounds);
	hold();
	say(c, "round_ns", (now.ns - c->ns) / (c->rounds ? c->rounds : 1));
	/* Linux wakes a CPU by either, as the caches that the two share have it. */
	say(c, "ipis", now.res - c->res + now.cal - c->cal);
	say(c, "res", now.res - c->res);
	say(c, "cal", now.cal - c->cal);
	say(c, "loc", now.loc - c->loc);
	say(c, "steal_ms", now.steal_ms - c->steal_ms);
}
