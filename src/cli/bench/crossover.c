/* SPDX-License-Identifier: Apache-2.0 */
/* From prices to the crossover; see crossover.h. */
#include <string.h>

#include "cli/bench/crossover.h"
#include "cli/bench/workload.h"

static const struct {
	const char *name, *title;
} prices[BENCH_PRICES] = {
	[BENCH_PRICE_CPUID] = {"cpuid", "CPUID: an exit that KVM handles"},
	[BENCH_PRICE_MSR] = {"msr", "an MSR that KVM handles, read"},
	[BENCH_PRICE_PORT] = {"port", "a port: to user space and back"},
	[BENCH_PRICE_APIC] = {"apic", "a local APIC register, read"},
	[BENCH_PRICE_EOI] = {"eoi", "EOI, without PV EOI"},
	[BENCH_PRICE_ARM] = {"timer", "the APIC timer, armed"},
	[BENCH_PRICE_IRQ] = {"interrupt", "an IPI to itself, until its EOI"},
	[BENCH_PRICE_IRQ_PV] = {"interrupt_pv", "the same with PV EOI"},
	[BENCH_PRICE_HALT] = {"hlt", "the same, and a HLT that it ends"},
	[BENCH_PRICE_IPI] = {"ipi", "an IPI to a vCPU that halts, sent"},
	[BENCH_PRICE_LATE] = {"timer_wake", "lateness of a timer that ends a halt"},
	[BENCH_PRICE_LATE_OF_TWO] = {"timer_wake_of_two", "the same, two vCPUs, no PV EOI"},
	[BENCH_PRICE_WAKE] = {"wake", "a signal that ends a halt, to handler"},
	[BENCH_PRICE_WAKE_OF_TWO] = {"wake_of_two", "the same, two vCPUs, no PV EOI"},
	[BENCH_PRICE_SEND] = {"wake_send", "of one vCPU, its sender's part"},
	[BENCH_PRICE_KICK] = {"kick", "a signal to a vCPU that runs, sent"},
	[BENCH_PRICE_KVM_RUN] = {"kvm_run", "KVM_RUN that returns at once (median)"},
	[BENCH_PRICE_SIGNAL] = {"signal", "a signal to a thread that runs, sent"},
	[BENCH_PRICE_FUTEX] = {"futex", "futex wake of a thread that sleeps"},
	[BENCH_PRICE_EVENTFD] = {"eventfd", "a write to an eventfd, waited for"},
};

const char *const bench_crossover_modes[] = {"user:adaptive", "user:off", "kernel:200us",
					     "kernel:0", NULL};

static const struct {
	const char *name;
	int price;
} extras[BENCH_EXTRAS] = {
	[BENCH_EXTRA_IRQ] = {"interrupt", BENCH_PRICE_IRQ_PV},
	[BENCH_EXTRA_IPI] = {"ipi", BENCH_PRICE_IPI},
	[BENCH_EXTRA_TIMER] = {"timer", BENCH_PRICE_ARM},
};

const char *bench_price_name(int what)
{
	return prices[what].name;
}

const char *bench_price_title(int what)
{
	return prices[what].title;
}

bool bench_price_of_host(int what)
{
	return what >= BENCH_PRICE_KVM_RUN;
}

int bench_extra_price(enum bench_extra extra)
{
	return extras[extra].price;
}

const char *bench_extra_name(enum bench_extra extra)
{
	return extras[extra].name;
}

enum bench_better bench_lines_cross(const struct bench_lines *l, double *at)
{
	double gain = l->kernel - l->user, each = l->user_each - l->kernel_each;

	*at = 0;
	if (gain >= 0 && each <= 0)
		return BENCH_BETTER_USER;
	if (gain <= 0 && each >= 0)
		return BENCH_BETTER_KERNEL;
	*at = gain / each;
	return gain > 0 ? BENCH_BETTER_USER_BELOW : BENCH_BETTER_USER_ABOVE;
}

const char *bench_better_text(char *buf, size_t size, const struct bench_lines *l)
{
	double at;
	const enum bench_better better = bench_lines_cross(l, &at);
	const int decimals = at < 99.995 ? 2 : 0;

	switch (better) {
	case BENCH_BETTER_USER:
		snprintf(buf, size, "user");
		break;
	case BENCH_BETTER_KERNEL:
		snprintf(buf, size, "kernel");
		break;
	case BENCH_BETTER_USER_BELOW:
		snprintf(buf, size, "user below %.*f", decimals, at);
		break;
	case BENCH_BETTER_USER_ABOVE:
		snprintf(buf, size, "user above %.*f", decimals, at);
		break;
	}
	return buf;
}

/* Gives the median of a price in a mode. */
static bool price(const struct bench_results *r, const char *mode, int what, double *ticks)
{
	for (size_t i = 0; i < r->n; i++) {
		struct bench_cell *c = &r->cells[i];

		if (strcmp(c->workload->name, "prices") == 0 && c->what == what &&
		    strcmp(c->mode->name, mode) == 0)
			return !bench_cell_empty(c) && bench_value_p50(r, c, ticks);
	}
	return false;
}

/* Returns the price of a halt in the guest in which that of @extra is measured. */
static int halt_beside(int halt, enum bench_extra extra)
{
	if (extra != BENCH_EXTRA_IPI)
		return halt;
	return halt == BENCH_PRICE_LATE ? BENCH_PRICE_LATE_OF_TWO : BENCH_PRICE_WAKE_OF_TWO;
}

bool bench_crossover(const struct bench_results *r, int halt, bool polls, enum bench_extra extra,
		     struct bench_lines *l)
{
	const char *user = polls ? "user:adaptive" : "user:off";
	const char *kernel = polls ? "kernel:200us" : "kernel:0";

	halt = halt_beside(halt, extra);
	return price(r, user, halt, &l->user) && price(r, kernel, halt, &l->kernel) &&
	       price(r, user, extras[extra].price, &l->user_each) &&
	       price(r, kernel, extras[extra].price, &l->kernel_each);
}

bool bench_irqchip_choice(const struct bench_results *r, bool several, bool *user)
{
	const enum bench_extra beside = several ? BENCH_EXTRA_IPI : BENCH_EXTRA_TIMER;
	struct bench_lines by_thread, by_timer, timer;
	double in_user, in_kernel;

	if (!bench_crossover(r, BENCH_PRICE_WAKE, true, beside, &by_thread) ||
	    !bench_crossover(r, BENCH_PRICE_LATE, true, beside, &by_timer) ||
	    !bench_crossover(r, BENCH_PRICE_LATE, true, BENCH_EXTRA_TIMER, &timer))
		return false;
	in_user = (by_thread.user + by_timer.user) / 2 + timer.user_each;
	in_kernel = (by_thread.kernel + by_timer.kernel) / 2 + timer.kernel_each;
	if (several) {
		in_user += by_timer.user_each;
		in_kernel += by_timer.kernel_each;
	}
	*user = in_user < in_kernel;
	return true;
}
