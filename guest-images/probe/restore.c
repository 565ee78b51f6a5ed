/* SPDX-License-Identifier: Apache-2.0 */
/* See restore.h, and probe.h for what a host sees of it. */
#include "restore.h"
#include "hot.h"
#include "layout.h"
#include "probe.h"
#include "serial.h"
#include "user.h"
#include "x86.h"

#define PAGE	  UINT64_C(4096)
#define STEP	  7919 /* a prime: each page comes once */
#define LSR	  (COM1 + 5)
#define LSR_INPUT 1
#define WORK	  500 /* rounds of two instructions */

_Static_assert(PROBE_SPAN_GPA + PROBE_SPAN_MAX * PAGE == 1 << 30, "");

struct span {
	uint64_t pages, span;
};

static volatile uint64_t *word(uint64_t page)
{
	return (volatile uint64_t *)(uintptr_t)(PROBE_SPAN_GPA + page * PAGE);
}

static void fill(void *arg)
{
	const struct span *s = arg;

	for (uint64_t page = 0; page < s->span; page++)
		*word(page) = page + 1;
}

/* Writes a letter, in user mode. */
static void say(char letter)
{
	const struct user_op op = {kernel_out, COM1, (uint8_t)letter, 0};
	uint64_t ignored;

	user_call(&op, &ignored);
}

static void answer(void *arg)
{
	const struct span *s = arg;
	int good = 1;

	__asm__ volatile("mov %0, %%ecx\n"
			 "1:\tdec %%ecx\n\tjnz 1b"
			 :
			 : "i"(WORK)
			 : "ecx", "cc");
	say('i');
	for (uint64_t i = 0; i < s->pages; i++) {
		uint64_t page = i * STEP % s->span;

		good &= *word(page) == page + 1;
	}
	say(good ? 't' : 'x');
}

void restore_run(uint64_t pages, uint64_t span)
{
	struct span s = {pages, span};

	user_open_memory();
	user_open_below(PROBE_SPAN_GPA + span * PAGE);
	user_run(0, fill, &s);
	put_str("probe: ready");
	put_end();
	for (;;) {
		while (!(inb(LSR) & LSR_INPUT))
			;
		inb(COM1);
		outb(COM1, 'r');
		user_run(0, answer, &s);
	}
}
