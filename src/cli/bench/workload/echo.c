/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload echo: a packet to the guest and back, over a TAP. The guest tells how long its own part
 * of each took: from its handler to its doorbell.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/bench/io.h"
#include "cli/bench/net.h"
#include "cli/bench/offered.h"
#include "cli/bench/polling.h"
#include "cli/bench/workload.h"

/* With --rate: the number of the first packet, and after how long one that has not come back is
 * lost. */
#define FIRST_OFFERED 100000
#define LOST_NS	      UINT64_C(500000000)

/* The cell's own[]. */
enum { SHARE }; /* the guest's own part of each */

/* Sends until the first comes back: its driver may not have been ready for those before. */
static int first_back(struct bench_run *run, struct bench_io_guest *g, int sock)
{
	struct bench_frame frame;

	for (uint32_t tries = 0;; tries++) {
		bench_frame_init(&frame, tries);
		if (bench_frame_send(sock, &frame) == 0 &&
		    bench_frame_receive(sock, tries, 100) == 0)
			return 0;
		if (tries == 100 || bench_io_ended(g) || bench_stopped(run))
			return bench_fail(run, "the guest sends no packet back");
	}
}

/* Stops the guest, which looks at that word after each packet. */
static int stop_guest(struct bench_run *run, struct bench_io_guest *g, int sock)
{
	struct bench_frame frame;

	bench_frame_init(&frame, 0);
	g->shared->stop = 1;
	bench_frame_send(sock, &frame);
	return bench_io_wait(run, g, &g->shared->done, 1, BENCH_IO_PATIENCE_NS, "stop");
}

static int echo_samples(struct bench_run *run, struct bench_io_guest *g, int sock)
{
	uint32_t samples = run->cfg->samples, total = samples + BENCH_IO_WARMUP;
	struct bench_polling before = {.polls = 0}, after;
	struct bench_series round = {0};
	uint64_t cpu = 0, wall = 0, sent, back;
	struct bench_frame frame;
	int ret = bench_io_wait(run, g, &g->shared->magic, PROBE_MAGIC, BENCH_IO_PATIENCE_NS,
				"start");

	if (ret == 0)
		ret = first_back(run, g, sock);
	for (uint32_t n = 0; n < total && ret == 0; n++) {
		if (n == BENCH_IO_WARMUP) {
			bench_polling_read(&before, g->shared, g->vm, 1);
			bench_io_begin(g);
			cpu = bench_io_cpu_ns(g);
			wall = now_ns();
		}
		bench_sleep(run, run->cell->gap_ns);
		if (bench_stopped(run))
			break;
		bench_frame_init(&frame, 1000 + n);
		sent = now_ns();
		ret = bench_frame_send(sock, &frame);
		if (ret == 0)
			ret = bench_frame_receive(sock, 1000 + n, 5000);
		back = now_ns();
		if (ret < 0)
			ret = bench_fail(run, "a packet did not come back: %s", strerror(-ret));
		else if (n >= BENCH_IO_WARMUP && bench_series_add(&round, back - sent) < 0)
			ret = bench_fail(run, "out of memory");
	}
	if (ret == 0 && !round.n)
		ret = bench_nothing(run);
	if (ret == 0) {
		bench_polling_read(&after, g->shared, g->vm, 1);
		bench_polling_add(&run->cell->polling, &before, &after);
		bench_io_account(g, run->cell, bench_io_cpu_ns(g) - cpu, now_ns() - wall, round.n);
		ret = stop_guest(run, g, sock);
	}
	for (uint32_t i = 0; i < round.n / 2 && ret == 0; i++)
		if (bench_series_add(&run->cell->own[SHARE],
				     bench_to_ns(run, bench_io_samples(g)[i])) < 0)
			ret = bench_fail(run, "out of memory");
	if (ret == 0)
		return bench_keep(run, &round);
	bench_series_free(&round);
	return -1;
}

/* Of those that were offered. */
struct flight {
	uint64_t *due; /* of each, in ns of the clock; 0: not there yet, or back */
	uint32_t n;
};

/* Takes what has come back. -errno. */
static int take_back(struct bench_run *run, int sock, struct flight *f, struct bench_series *round)
{
	uint32_t number;
	uint64_t now;
	int ret;

	while ((ret = bench_frame_take(sock, &number)) == 0) {
		number -= FIRST_OFFERED;
		if (number >= f->n || !f->due[number])
			continue;
		now = now_ns();
		if (bench_series_add(round, now - f->due[number]) < 0)
			return -ENOMEM;
		f->due[number] = 0;
	}
	return ret == -EAGAIN ? 0 : ret;
}

/* Sends each when it is due, whatever has come back by then. */
static int offer(struct bench_run *run, int sock, struct bench_offered *o, struct flight *f,
		 struct bench_series *round)
{
	uint64_t start = now_ns(), due, last = start;
	struct bench_frame frame;
	int ret = 0;

	for (uint32_t i = 0; i < o->n && ret == 0 && !bench_stopped(run); i++) {
		due = start + bench_offered_next(o);
		while (ret == 0 && now_ns() < due)
			ret = take_back(run, sock, f, round);
		f->due[i] = due;
		f->n = i + 1;
		bench_frame_init(&frame, FIRST_OFFERED + i);
		/* A queue that is full loses it, and that is counted. */
		if (ret == 0)
			ret = bench_frame_send(sock, &frame);
		ret = ret == -ENOBUFS || ret == -EAGAIN ? 0 : ret;
		last = due;
	}
	while (ret == 0 && round->n < f->n && now_ns() < last + LOST_NS)
		ret = take_back(run, sock, f, round);
	return ret;
}

static int offered_samples(struct bench_run *run, struct bench_io_guest *g, int sock)
{
	struct bench_polling before = {.polls = 0}, after;
	struct bench_series round = {0};
	struct flight f = {.n = 0};
	struct bench_stall stall;
	struct bench_offered o;
	uint64_t cpu, wall;
	int ret = bench_io_wait(run, g, &g->shared->magic, PROBE_MAGIC, BENCH_IO_PATIENCE_NS,
				"start");

	bench_offered_init(&o, run);
	if (ret == 0)
		ret = first_back(run, g, sock);
	if (ret < 0)
		return -1;
	f.due = calloc(o.n, sizeof(*f.due));
	if (!f.due)
		return bench_fail(run, "out of memory");
	if (bench_stall_begin(&stall, run, g->vm, g->child.pid) < 0) {
		free(f.due);
		return -1;
	}
	bench_polling_read(&before, g->shared, g->vm, 1);
	bench_io_begin(g);
	cpu = bench_io_cpu_ns(g);
	wall = now_ns();
	ret = offer(run, sock, &o, &f, &round);
	wall = now_ns() - wall;
	if (ret < 0)
		ret = bench_fail(run, "packets: %s", strerror(-ret));
	ret = bench_stall_end(&stall, run, ret);
	free(f.due);
	if (ret == 0 && !round.n)
		ret = bench_nothing(run);
	if (ret == 0) {
		bench_polling_read(&after, g->shared, g->vm, 1);
		bench_polling_add(&run->cell->polling, &before, &after);
		bench_io_account(g, run->cell, bench_io_cpu_ns(g) - cpu, wall, round.n);
		run->cell->missed += f.n - round.n;
		ret = stop_guest(run, g, sock);
	}
	if (ret == 0)
		return bench_keep(run, &round);
	bench_series_free(&round);
	return -1;
}

static int run_echo(struct bench_run *run)
{
	struct bench_io_devices dev = {.tap = BENCH_TAP};
	struct bench_net net;
	struct bench_io_guest g;
	char cmdline[256];
	int ret = bench_net_open(run, &net), sock;

	if (ret < 0)
		return ret;
	snprintf(
		cmdline, sizeof(cmdline),
		"workload=echo drain=%d samples=%u warmup=%u tsc_khz=%u ecam=%llu pv_eoi=1 print=0 "
		"exit=%d",
		run->cell->rate != 0, run->cfg->samples, BENCH_IO_WARMUP, run->tsc_khz,
		(unsigned long long)BENCH_ECAM, EXIT_PORT);
	ret = bench_io_start(run, &g, &dev, cmdline);
	if (ret == 0) {
		sock = bench_net_socket(run, &net);
		if (sock >= 0)
			ret = run->cell->rate ? offered_samples(run, &g, sock)
					      : echo_samples(run, &g, sock);
		else
			ret = -1;
		ret = bench_io_end(run, &g, ret);
		if (sock >= 0)
			close(sock);
	}
	bench_net_close(&net);
	return ret;
}

static bool net(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return bench_value_net(c, bench_series_quantile(&c->own[SHARE], 0.5), value);
}

static const uint64_t gaps[] = {20000, 50000, 200000, 0};

static const struct bench_column columns[] = {
	BENCH_LATENCY_COLUMNS("us", BENCH_NS),
	BENCH_NET_COLUMN(net),
	BENCH_CPU_COLUMN,
	{.head = NULL},
};

static const struct bench_column rate_columns[] = {
	BENCH_RATE_COLUMNS,
	{"lost", "lost", 4, BENCH_COUNT, .value = bench_value_lost,
	 .note = "lost: packets that were dropped, or not back within 500 ms"},
	BENCH_CPU_COLUMN,
	{.head = NULL},
};

static const struct bench_member members[] = {
	BENCH_LATENCY_MEMBERS, {"net_p50_ns", .whole = net}, BENCH_CPU_MEMBER,
	BENCH_WAKE_MEMBERS,    BENCH_RATE_MEMBERS,	     {.name = NULL},
};

const struct bench_workload bench_workload_echo = {
	.name = "echo",
	.title = "a packet to the guest and back",
	.help = "packets to the guest and back; needs root",
	.about = "A packet to the guest and back, over a TAP device. “Net” is without the "
		 "guest’s own share.",
	.options = BENCH_OPT_GUEST | BENCH_OPT_GAP | BENCH_OPT_SAMPLES | BENCH_OPT_PEER |
		   BENCH_OPT_DEVICES | BENCH_OPT_PIN_ONE | BENCH_OPT_RATE | BENCH_OPT_DURATION,
	.gaps = gaps,
	.plan = bench_plan_load,
	.condition = bench_gap_condition,
	.run = run_echo,
	.columns = columns,
	.rate_columns = rate_columns,
	.members = members,
};
