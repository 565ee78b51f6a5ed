/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workload linux: Linux at work. Each cell is a load, and each round boots a guest that runs it; the
 * guest takes the times, and checks each result. With --exits KVM's counters are read around it.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cpuid.h>

#include "cli/bench/linux.h"
#include "cli/bench/memcached.h"
#include "cli/bench/net.h"
#include "cli/bench/workload.h"
#include "cli/wrap.h"

/* By which the slowest host comes to its end. */
#define BOOT_NS (UINT64_C(300) * 1000000000)
#define LOAD_NS (UINT64_C(240) * 1000000000)
#define EACH_NS (UINT64_C(10) * 1000000) /* more, for an operation */

#define MAX_CHECKS 64

static const struct linux_load {
	const char *name, *title;
	const char *words;	/* on the command line, before the number of operations */
	bool disk, net, served; /* served: it is asked from here, at a rate */
} loads[] = {
	{"boot", "process start to init", "run=sleep sleep=0 #=", false, false},
	{"pipe", "a byte through a pipe to another CPU and back", "run=pipe rounds=", false, false},
	{"timer", "lateness of sleeps of 1 ms on each CPU",
	 "run=timer interval_us=1000 samples=", false, false},
	{"read", "4 KiB read from a disk, one at a time",
	 "run=read pattern=1 disk=/dev/vda reads=", true, false},
	{"tcp", "64 bytes there and back by TCP", "run=tcp requests=", false, true},
	{"udp", "64 bytes there and back by UDP", "run=udp requests=", false, true},
	{"hack", "a message among 4 senders and 4 receivers, as hackbench",
	 "run=hack messages=", false, false},
	{"sched", "a thread woken, two for each CPU, as schbench", "run=sched wakes=", false,
	 false},
	{"fork", "a process that ends at once", "run=fork forks=", false, false},
	{"memcached", "requests, one of ten a set", "run=memcached #=", false, true, true},
};

#define LOADS ((int)(sizeof(loads) / sizeof(loads[0])))
#define BOOT  0 /* the first of them */

_Static_assert(LOADS == BENCH_LINUX_LOADS, "a bit of bench_cfg.loads for each");

/* The cell's own[], of loads whose times the guest takes. */
enum { P90, P99, MOST };

/* Requests in a second, where --rate says nothing. */
static const uint32_t rates[] = {1000, 2000, 5000, 10000, 20000};

int bench_linux_load(const char *name)
{
	for (int i = 0; i < LOADS; i++)
		if (strcmp(loads[i].name, name) == 0)
			return i;
	return -1;
}

bool bench_linux_asked(const struct bench_cfg *cfg)
{
	bool asked = false;

	for (int i = 0; i < LOADS; i++)
		asked |= loads[i].served && (!cfg->loads || cfg->loads >> i & 1);
	return asked;
}

const char *bench_linux_load_name(int load)
{
	return load < LOADS ? loads[load].name : NULL;
}

/* -- one round -------------------------------------------------------------------------------- */

/* What the guest has said of its load. */
struct told {
	uint64_t p50_ns, p90_ns, p99_ns, max_ns;
	uint64_t checked;
	bool done;
};

/* What is measured from outside. */
struct outside {
	struct bench_exit_counters counters;
	struct bench_exits exits;
	uint64_t cpu_ns, wall_ns;
};

/* A round and what belongs to it. */
struct round {
	struct bench_run *run;
	const struct linux_load *load;
	struct bench_linux_guest guest;
	struct bench_echo *echo; /* NULL: no network */
	struct told told;
	struct outside before;
};

static uint64_t cpu_ns(const struct round *r)
{
	uint64_t ns = bench_linux_cpu_ns(&r->guest);

	/* The other end of the network is no part of a VM. */
	return r->echo && !r->guest.there ? ns - bench_echo_cpu_ns(r->echo) : ns;
}

static void counting_begins(struct round *r)
{
	struct outside *o = &r->before;

	if (r->run->cfg->exits) {
		bench_exits_open(&o->counters, bench_linux_pid(&r->guest));
		bench_exits_read(&o->exits, &o->counters);
	}
	o->cpu_ns = cpu_ns(r);
	o->wall_ns = now_ns();
}

static void counting_ends(struct round *r, uint64_t operations)
{
	struct bench_cell *c = r->run->cell;
	struct outside *o = &r->before;
	struct bench_exits exits;

	c->wall_ns += now_ns() - o->wall_ns;
	c->cpu_ns += cpu_ns(r) - o->cpu_ns;
	c->events += operations;
	c->has_cpu = true;
	if (r->run->cfg->exits) {
		bench_exits_read(&exits, &o->counters);
		bench_exits_add(&c->exits, &o->exits, &exits);
		bench_exits_close(&o->counters);
	}
}

/* Asks the guest's server, and lets it end. */
static int ask(struct round *r)
{
	struct bench_series round = {0};
	struct bench_memcached m;
	struct bench_offered o;
	struct bench_stall stall;
	int ret;

	bench_offered_init(&o, r->run);
	ret = bench_memcached_open(&m, r->run, o.n);
	if (ret == 0)
		ret = bench_stall_begin(&stall, r->run, r->guest.vm, r->guest.child.pid);
	if (ret == 0) {
		counting_begins(r);
		ret = bench_memcached_ask(&m, &o, &round);
		counting_ends(r, round.n);
		ret = bench_stall_end(&stall, r->run, ret);
	}
	bench_memcached_close(&m);
	bench_linux_go(&r->guest);
	if (ret == 0)
		return bench_keep(r->run, &round);
	bench_series_free(&round);
	return ret;
}

/* Takes what the guest has said under NAME_. Returns 0, or -1 with run->error. */
static int take(struct round *r, const char *key, const char *value)
{
	const struct {
		const char *name;
		uint64_t *to;
	} figures[] = {{"p50_ns", &r->told.p50_ns},
		       {"p90_ns", &r->told.p90_ns},
		       {"p99_ns", &r->told.p99_ns},
		       {"max_ns", &r->told.max_ns},
		       {"checked", &r->told.checked}};
	const size_t len = strlen(r->load->name);
	const uint64_t n = strtoull(value, NULL, 10);

	if (strcmp(key, "error") == 0)
		return bench_fail(r->run, "the guest: %.150s", value);
	if (strcmp(key, "done") == 0) {
		r->told.done = true;
		return strcmp(value, "ok") == 0 ? 0 : bench_fail(r->run, "the load has failed");
	}
	if (strncmp(key, r->load->name, len) != 0 || key[len] != '_')
		return 0;
	key += len + 1;
	if (strcmp(key, "serves") == 0)
		return ask(r);
	if (strcmp(key, "begin") == 0) {
		counting_begins(r);
		bench_linux_go(&r->guest);
	} else if (strcmp(key, "end") == 0) {
		counting_ends(r, n);
		bench_linux_go(&r->guest);
	}
	for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
		if (strcmp(key, figures[i].name) == 0)
			*figures[i].to = n;
	return 0;
}

/* Waits for its init. The figure of load boot is how long that took. */
static int wait_for_init(struct round *r)
{
	const char *key, *value;

	do {
		if (bench_linux_result(r->run, &r->guest, r->guest.begin_ns + BOOT_NS, &key,
				       &value) < 0)
			return -1;
	} while (strcmp(key, "init") != 0);
	if (r->load == &loads[BOOT])
		r->told = (struct told){.p50_ns = now_ns() - r->guest.begin_ns, .checked = 1};
	return 0;
}

static int follow(struct round *r)
{
	const struct bench_cfg *cfg = r->run->cfg;
	const uint64_t deadline =
		now_ns() + LOAD_NS + cfg->samples * EACH_NS + 2 * cfg->duration_ns;
	const char *key, *value;

	while (!r->told.done)
		if (bench_linux_result(r->run, &r->guest, deadline, &key, &value) < 0 ||
		    take(r, key, value) < 0)
			return -1;
	return 0;
}

/* Keeps what the guest has told, if the result of each operation was what it had to be. */
static int keep(struct round *r)
{
	const bool boot = r->load == &loads[BOOT];
	struct bench_cell *c = r->run->cell;
	const struct told *t = &r->told;

	if (r->load->served)
		return 0;
	if (t->checked < (boot ? 1 : r->run->cfg->samples))
		return bench_fail(r->run, "%llu of %u results were right",
				  (unsigned long long)t->checked, r->run->cfg->samples);
	if (bench_series_add(&c->latency, t->p50_ns) < 0 ||
	    bench_series_add(&c->round_p50, t->p50_ns) < 0)
		return bench_fail(r->run, "out of memory");
	if (!boot && (bench_series_add(&c->own[P90], t->p90_ns) < 0 ||
		      bench_series_add(&c->own[P99], t->p99_ns) < 0 ||
		      bench_series_add(&c->own[MOST], t->max_ns) < 0))
		return bench_fail(r->run, "out of memory");
	return 0;
}

static int run_guest(struct round *r, const struct bench_linux_images *images,
		     const struct bench_linux_devices *dev)
{
	char words[256];
	int ret;

	snprintf(words, sizeof(words), "%s%u", r->load->words, r->run->cfg->samples);
	if (bench_linux_start(r->run, &r->guest, images, dev, words) < 0)
		return -1;
	ret = wait_for_init(r);
	if (ret == 0)
		ret = follow(r);
	bench_exits_close(&r->before.counters);
	bench_linux_end(&r->guest);
	return ret == 0 ? keep(r) : ret;
}

/* -- what it needs ---------------------------------------------------------------------------- */

/* Fills a file each 8 bytes of which hold their own number. *direct: it can be read past the page
 * cache. Returns its descriptor, or -1 with run->error. */
static int make_disk(struct bench_run *run, char path[BENCH_DISK_PATH], bool *direct)
{
	static uint64_t block[8192];
	int fd = bench_make_disk(run, "/var/tmp", false, path);

	for (uint64_t done = 0; fd >= 0 && done < BENCH_DISK_SIZE; done += sizeof(block)) {
		for (size_t i = 0; i < sizeof(block) / sizeof(block[0]); i++)
			block[i] = done / sizeof(block[0]) + i;
		if (pwrite(fd, block, sizeof(block), (off_t)done) == (ssize_t)sizeof(block))
			continue;
		bench_fail_all(run, "a file in /var/tmp: %s", strerror(errno));
		close(fd);
		return -1;
	}
	/* Not every file system has that. */
	*direct = fd >= 0 && fsync(fd) == 0 && fcntl(fd, F_SETFL, O_DIRECT) == 0;
	return fd;
}

/* Returns whether this KVM emulates a guest's kernel, instruction by instruction. */
static bool is_emulated(void)
{
	struct catnap_check checks[MAX_CHECKS];
	size_t n = catnap_check_host(checks, MAX_CHECKS);

	for (size_t i = 0; i < n && i < MAX_CHECKS; i++)
		if (strcmp(checks[i].name, "kind of KVM") == 0)
			return checks[i].state == CATNAP_CHECK_DEGRADED;
	return false;
}

static int with_network(struct round *r, const struct bench_linux_images *images,
			struct bench_linux_devices *dev)
{
	struct bench_echo echo;
	struct bench_net net;
	int ret = bench_net_open(r->run, &net);

	if (ret < 0)
		return ret;
	ret = bench_echo_start(r->run, &echo);
	if (ret == 0) {
		r->echo = &echo;
		dev->tap = BENCH_TAP;
		ret = run_guest(r, images, dev);
		bench_echo_end(&echo);
	}
	bench_net_close(&net);
	return ret;
}

static int run_linux(struct bench_run *run)
{
	struct round r = {.run = run, .load = &loads[run->cell->what]};
	struct bench_linux_devices dev = {.disk = NULL};
	struct bench_linux_images images;
	char path[BENCH_DISK_PATH];
	int disk = -1, ret;

	if (bench_linux_images(run, &images) < 0)
		return -1;
	if (!run->seed && is_emulated())
		return bench_fail_all(run,
				      "this KVM emulates a guest's kernel, and Linux would not "
				      "come to its end");
	if (r.load->disk) {
		disk = make_disk(run, path, &dev.direct);
		if (disk < 0)
			return -1;
		dev.disk = path;
	}
	ret = r.load->net ? with_network(&r, &images, &dev) : run_guest(&r, &images, &dev);
	if (disk >= 0)
		close(disk);
	return ret;
}

/* -- the workload ----------------------------------------------------------------------------- */

/* Adds a cell for each rate: those given, or else some. Nobody's requests come evenly: so only if that
 * is asked for. */
static int plan_rates(struct bench_plan *p, const struct bench_cell *c)
{
	const struct bench_cfg *cfg = p->cfg;
	const bool constant = cfg->arrivals == BENCH_ARRIVALS_CONSTANT;

	if (cfg->n_rates)
		return bench_plan_rates(p, c, cfg->rates, cfg->n_rates, constant);
	return bench_plan_rates(p, c, rates, sizeof(rates) / sizeof(rates[0]), constant);
}

static int plan_linux(struct bench_plan *p, const struct bench_workload *w)
{
	int ret = 0;

	for (int i = 0; i < LOADS && ret == 0; i++) {
		const struct bench_cell c = {.workload = w, .what = i};

		if (!p->cfg->loads || p->cfg->loads >> i & 1)
			ret = loads[i].served ? plan_rates(p, &c) : bench_plan_add(p, &c);
	}
	return ret;
}

/* What concerns a guest at all concerns every load; the network and the disk only those that have
 * them. */
static bool fails_alike(const struct bench_cell *a, const struct bench_cell *b)
{
	const struct linux_load *x = &loads[a->what], *y = &loads[b->what];

	return (!x->net || y->net) && (!x->disk || y->disk) && (!x->served || y->served);
}

static void condition(char *buf, size_t size, const struct bench_cell *c)
{
	int n = snprintf(buf, size, "%s: %s", loads[c->what].name, loads[c->what].title);

	if (c->rate && n > 0 && (size_t)n < size)
		snprintf(buf + n, size - (size_t)n, ", %u a second offered, %s", c->rate,
			 c->random ? "at random" : "evenly");
}

static const char *load_name(const struct bench_cell *c)
{
	return loads[c->what].name;
}

static bool own(const struct bench_cell *c, int which, double *value)
{
	*value = (double)bench_series_median(&c->own[which]);
	return c->own[which].n;
}

static bool p90(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return c->rate ? bench_value_p90(r, c, value) : own(c, P90, value);
}

static bool p99(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return c->rate ? bench_value_p99(r, c, value) : own(c, P99, value);
}

static bool most(const struct bench_results *r, struct bench_cell *c, double *value)
{
	if (c->rate)
		return bench_value_max(r, c, value);
	*value = (double)bench_series_quantile(&c->own[MOST], 1);
	return c->own[MOST].n;
}

/* Returns whether this host is no virtual machine itself, by the hypervisor's bit of CPUID. */
static bool is_native(void)
{
	unsigned int a, b, c = 0, d;

	return __get_cpuid(1, &a, &b, &c, &d) && !(c >> 31 & 1);
}

/* Writes a count for an operation in five characters: "0.01", "12.3". */
static void count(FILE *out, const struct bench_cell *c, enum bench_exit kind)
{
	const double each = c->events ? (double)c->exits.n[kind] / (double)c->events : 0;

	if (!c->exits.has[kind])
		fprintf(out, " %7s", "");
	else
		fprintf(out, " %7.*f", each < 99.995 ? 2 : 0, each);
}

static bool has_exits(const struct bench_cell *c)
{
	for (int i = 0; i < BENCH_EXIT_KINDS; i++)
		if (c->exits.has[i])
			return true;
	return false;
}

static void exits_head(FILE *out)
{
	fprintf(out, "\nexits, for one operation\n%-7s %-20s", "load", "mode");
	for (int i = 0; i < BENCH_EXIT_KINDS; i++)
		fprintf(out, " %7s", bench_exit_head((enum bench_exit)i));
	fputc('\n', out);
}

/* Writes what stands in the first column. Returns @buf. */
static const char *short_name(char *buf, size_t size, const struct bench_cell *c)
{
	if (c->rate)
		snprintf(buf, size, "mc/%u", c->rate);
	else
		snprintf(buf, size, "%s", loads[c->what].name);
	return buf;
}

static void print_exits(FILE *out, const struct bench_results *r)
{
	const struct bench_cell *last = NULL;
	char missing[256], name[16];
	bool rate = false;

	for (size_t i = 0; i < r->n; i++) {
		const struct bench_cell *c = &r->cells[i];

		if (strcmp(c->workload->name, "linux") != 0 || !has_exits(c))
			continue;
		if (!last)
			exits_head(out);
		last = c;
		rate |= c->rate != 0;
		fprintf(out, "%-7s %-20s", short_name(name, sizeof(name), c), c->mode->name);
		for (int k = 0; k < BENCH_EXIT_KINDS; k++)
			count(out, c, (enum bench_exit)k);
		fputc('\n', out);
	}
	if (!last)
		return;
	wrap_line(out, 2,
		  "exits: all; user: to user space; hlt: for HLT; signal: to user space for a "
		  "signal; inject: interrupts that KVM injected; switch: context switches of the "
		  "VM's threads");
	if (rate)
		wrap_line(out, 2, "mc/N: memcached, asked N times a second");
	if (*bench_exits_missing(missing, sizeof(missing), &last->exits))
		wrap_line(out, 2, "This host does not tell: %s.", missing);
}

static void summary(FILE *out, const struct bench_results *r)
{
	print_exits(out, r);
	if (!is_native())
		wrap_line(out, 0,
			  "linux: this host is a virtual machine itself, so the times are not "
			  "worth anything; what is counted is.");
}

static void summary_json(struct json_object *root, const struct bench_results *r)
{
	json_object_object_add(root, "native", json_object_new_boolean(is_native()));
}

/* Gives a count for an operation. */
static bool each(const struct bench_cell *c, enum bench_exit kind, double *value)
{
	return c->exits.has[kind] && bench_cell_each(c, c->exits.n[kind], value);
}

static bool exits(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return each(c, BENCH_EXITS, value);
}

static bool user_exits(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return each(c, BENCH_EXITS_USER, value);
}

static bool halt_exits(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return each(c, BENCH_EXITS_HALT, value);
}

static bool signal_exits(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return each(c, BENCH_EXITS_SIGNAL, value);
}

static bool injections(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return each(c, BENCH_INJECTIONS, value);
}

static bool switches(const struct bench_results *r, struct bench_cell *c, double *value)
{
	return each(c, BENCH_SWITCHES, value);
}

static const struct bench_column columns[] = {
	{"p50 us", "p50", 8, BENCH_NS, .value = bench_value_p50},
	{"p90", "p90", 7, BENCH_NS, .value = p90},
	{"p99", "p99", 7, BENCH_NS, .value = p99},
	{"max", "max", 7, BENCH_NS, .value = most},
	BENCH_CPU_COLUMN,
	{.head = NULL},
};

static const struct bench_column rate_columns[] = {
	BENCH_RATE_COLUMNS,
	BENCH_CPU_COLUMN,
	{.head = NULL},
};

static const struct bench_member condition_members[] = {
	{"load", .text = load_name},
	{.name = NULL},
};

static const struct bench_member members[] = {
	{"p50_ns", .whole = bench_value_p50},
	{"p90_ns", .whole = p90},
	{"p99_ns", .whole = p99},
	{"max_ns", .whole = most},
	{"round_p50_ns", .rounds = bench_round_medians},
	BENCH_CPU_MEMBER,
	{"exits", .real = exits},
	{"user_exits", .real = user_exits},
	{"halt_exits", .real = halt_exits},
	{"signal_exits", .real = signal_exits},
	{"injections", .real = injections},
	{"context_switches", .real = switches},
	{"rate", .whole = bench_value_rate},
	{"handled_per_s", .real = bench_value_handled},
	{"p999_ns", .whole = bench_value_p999},
	{.name = NULL},
};

static const struct bench_bars bars = {.bar = bench_bar_of_median,
				       .caption = bench_caption_of_medians};

static const char *const modes[] = {"user:adaptive", "guest:200us/learned", "kernel:200us/vcpu",
				    "kernel:200us", NULL};

const struct bench_workload bench_workload_linux = {
	.name = "linux",
	.title = "Linux at work",
	.help = "Linux at work: boot, pipe, timers, disk, TCP, UDP, messages,\n"
		"threads, fork, memcached; needs root and images, which\n"
		"guest-images/rootfs/build makes",
	.about =
		"Linux with two virtual CPUs at work. The guest takes the times itself, and checks "
		"each result; the figures are the medians of the rounds. Its memcached is asked "
		"from here, at a rate: those times are from when a request was due.",
	.options = BENCH_OPT_SAMPLES | BENCH_OPT_PEER | BENCH_OPT_DEVICES | BENCH_OPT_GUEST |
		   BENCH_OPT_LINUX | BENCH_OPT_RATE | BENCH_OPT_DURATION | BENCH_OPT_ARRIVALS,
	.modes = modes,
	.own_clock = true,
	.plan = plan_linux,
	.condition = condition,
	.run = run_linux,
	.fails_alike = fails_alike,
	.columns = columns,
	.rate_columns = rate_columns,
	.condition_members = condition_members,
	.members = members,
	.bars = &bars,
	.summary = summary,
	.summary_json = summary_json,
};
