/* SPDX-License-Identifier: Apache-2.0 */
/* Modes in which the guest polls; see polling.h. */
#include <string.h>

#include "cli/bench/polling.h"

void bench_polling_cmdline(const struct bench_mode *mode, uint32_t tsc_khz, char *cmdline,
			   size_t size)
{
	const struct bench_haltpoll *p = &mode->guest;
	size_t used = strlen(cmdline);

	if (!mode->polls)
		return;
	snprintf(cmdline + used, size - used,
		 " haltpoll=1 tsc_khz=%u guest_halt_poll_ns=%u guest_halt_poll_grow=%u "
		 "guest_halt_poll_grow_start=%u guest_halt_poll_shrink=%u "
		 "guest_halt_poll_allow_shrink=%d",
		 tsc_khz, p->ns, p->grow, p->grow_start_ns, p->shrink, p->allow_shrink);
}

static uint64_t load(const volatile uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void read_guest(struct bench_polling *p, const volatile struct probe_idle *idle)
{
	p->polls += load(&idle->polls);
	p->found += load(&idle->found);
	p->ticks += load(&idle->polled_ticks);
	p->ipis_saved += load(&idle->ipis_saved);
	p->ipis_sent += load(&idle->ipis_sent);
}

void bench_polling_read(struct bench_polling *p, const volatile struct probe_shared *shared,
			struct catnap_vm *vm, uint32_t vcpus)
{
	*p = (struct bench_polling){.polls = 0};
	for (uint32_t i = 0; i < PROBE_POLLERS; i++)
		read_guest(p, &shared->idle[i]);
	for (uint32_t i = 0; vm && i < vcpus; i++) {
		struct catnap_vcpu_stats s = {.size = sizeof(s)};

		catnap_vm_get_stats(vm, i, &s);
		p->hlt_exits += s.exits_hlt;
		p->host_polls += s.after_guest_attempted;
		p->host_found += s.after_guest_successful;
		p->contended += s.after_guest_contended;
	}
}

void bench_polling_add(struct bench_polling *sum, const struct bench_polling *before,
		       const struct bench_polling *after)
{
	sum->polls += after->polls - before->polls;
	sum->found += after->found - before->found;
	sum->ticks += after->ticks - before->ticks;
	sum->hlt_exits += after->hlt_exits - before->hlt_exits;
	sum->host_polls += after->host_polls - before->host_polls;
	sum->host_found += after->host_found - before->host_found;
	sum->contended += after->contended - before->contended;
	sum->ipis_saved += after->ipis_saved - before->ipis_saved;
	sum->ipis_sent += after->ipis_sent - before->ipis_sent;
}

/* -- what is shown ---------------------------------------------------------------------------- */

bool bench_polling_among(const struct bench_cell *cells, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (cells[i].mode->polls && !cells[i].workload->own_clock &&
		    !bench_cell_empty(&cells[i]))
			return true;
	return false;
}

#define COUNT(member)                                                                          \
	static bool member(const struct bench_results *r, struct bench_cell *c, double *value) \
	{                                                                                      \
		*value = (double)c->polling.member;                                            \
		return c->mode->polls;                                                         \
	}

COUNT(polls)
COUNT(found)
COUNT(hlt_exits)
COUNT(host_polls)
COUNT(host_found)
COUNT(contended)
COUNT(ipis_saved)
COUNT(ipis_sent)

static bool percent(uint64_t part, uint64_t whole, double *value)
{
	*value = whole ? 100.0 * (double)part / (double)whole : 0;
	return whole;
}

static bool found_percent(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return percent(c->polling.found, c->polling.polls, value) && c->mode->polls;
}

/* Gives the wake-ups saved, which are only where vCPUs wake each other. */
static bool saved_percent(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return percent(c->polling.ipis_saved, c->polling.ipis_saved + c->polling.ipis_sent,
		       value) &&
	       c->mode->polls;
}

/* Gives the time that the guest polled, for each event, in ns. */
static bool event_polled(const struct bench_results *r, struct bench_cell *c, double *value)
{
	*value = c->events && r->tsc_khz
			 ? (double)c->polling.ticks * 1e6 / r->tsc_khz / (double)c->events
			 : 0;
	return c->events && c->mode->polls;
}

const struct bench_column bench_polling_columns[] = {
	{"polls", "polls", 7, BENCH_COUNT, .value = polls},
	{"found%", "found %", 6, BENCH_NUMBER, 1, found_percent},
	{"us/ev", "polled/event", 6, BENCH_NS, .value = event_polled},
	{"HLTs", "HLT exits", 7, BENCH_COUNT, .value = hlt_exits},
	{"host", "host polls", 7, BENCH_COUNT, .value = host_polls},
	{"found", "host found", 7, BENCH_COUNT, .value = host_found},
	{"IPIs saved%", "IPIs saved %", 11, BENCH_NUMBER, 1, saved_percent},
	{.head = NULL},
};

const struct bench_member bench_polling_members[] = {
	{"polls", .whole = polls},
	{"found", .whole = found},
	{"poll_ns_per_event", .whole = event_polled},
	{"hlt_exits", .whole = hlt_exits},
	{"host_polls", .whole = host_polls},
	{"host_found", .whole = host_found},
	{"contended", .whole = contended},
	{"ipis_saved", .whole = ipis_saved},
	{"ipis_sent", .whole = ipis_sent},
	{.name = NULL},
};

const char bench_polling_note[] =
	"guest: how often the guest polled, in how many of those something came, and how long it "
	"polled for each event; exits by HLT, how many of those halts its host polled for "
	"then, and how many of these did not sleep; wake-ups of another vCPU by a write to "
	"memory, of all";
