/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All processors interrupt each other at once, and answer by an interrupt. One that is requested
 * twice before it is taken counts once, so each sender waits for the answer, halted, before it
 * sends again; one that is lost, or a halt that misses its wake-up, hangs the test.
 */
#include "lib/guest.h"

#define TOKEN	     0x3e
#define ANSWER	     0x3f
#define VECTOR(from) (uint8_t)(0x40 + 0x10 * ((from)&7))

static uint32_t cpus, rounds;
static volatile uint32_t got[CPUS_MAX][CPUS_MAX]; /* [to][from] */
static volatile uint32_t go, done;

static void on_ipi(struct frame *f)
{
	uint32_t from = ((uint32_t)f->vector - 0x40) / 0x10;

	got[apic_id()][from]++;
	eoi();
	apic_ipi(from, ICR_ASSERT | ANSWER);
}

static void on_answer(struct frame *f)
{
	eoi();
}

static void work(uint32_t id)
{
	for (uint32_t i = 1; i <= rounds; i++) {
		uint32_t to = (id + 1 + i % (cpus - 1)) % cpus, before;

		cli();
		before = got[to][id];
		apic_ipi(to, ICR_ASSERT | VECTOR(id));
		while (got[to][id] == before) {
			sti_hlt();
			cli();
		}
		check(got[to][id] == before + 1);
	}
	__atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
}

/* Halts between rounds: a token goes round, and each passes it on and halts. */
static volatile uint32_t token_holder, laps;

static void ring(uint32_t id)
{
	for (;;) {
		cli();
		while (token_holder != id) {
			sti_hlt();
			cli();
		}
		if (id == 0)
			laps++;
		if (laps > rounds) {
			if (id == 0)
				return;
			token_holder = 0;
			apic_ipi(0, ICR_ASSERT | TOKEN);
			return;
		}
		token_holder = (id + 1) % cpus;
		apic_ipi((id + 1) % cpus, ICR_ASSERT | TOKEN);
	}
}

static void ap(uint32_t id)
{
	while (!go)
		;
	work(id);
	sti(); /* the others still send */
	while (done < cpus)
		;
	ring(id);
}

void test(void)
{
	cpus = (uint32_t)arg_number("cpus", 2);
	rounds = (uint32_t)arg_number("rounds", 100);
	check(cpus >= 2 && cpus <= 8);
	for (uint32_t i = 0; i < cpus; i++)
		handlers[VECTOR(i)] = on_ipi;
	handlers[ANSWER] = on_answer;
	handlers[TOKEN] = on_answer;
	apic_enable();
	for (uint32_t id = 1; id < cpus; id++)
		start_ap(id, ap, AP_PAGE);
	go = 1;
	work(0);
	sti();
	while (done < cpus)
		;
	for (uint32_t from = 0; from < cpus; from++) {
		uint32_t sum = 0;

		for (uint32_t to = 0; to < cpus; to++)
			sum += got[to][from];
		check(sum == rounds);
	}
	ring(0);
	put_value("laps", laps);
}
