/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap replay: halt-polling policies over a trace of halts, and the making of such traces.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <json-c/json.h>

#include "cli/cmd.h"
#include "cli/files.h"
#include "cli/replay/replay.h"
#include "cli/wrap.h"

#define MAX_POLICIES  16
#define LONGEST_LABEL 14

enum format { FORMAT_DEFAULT, FORMAT_CSV, FORMAT_TABLE, FORMAT_JSON };

struct replay_cfg {
	struct replay_policy policies[MAX_POLICIES];
	unsigned n_policies;
	int format;
	uint64_t price_ns, exit_price_ns, halts, seed;
	bool guest_polls;
	struct replay_guest_params guest;
	struct generate generate;
};

/* The policy that traces are about: their format has its parameters. */
#define DEFAULT_POLICY CATNAP_POLICY_KERNEL

static int set_halt_poll(struct opts *o, const struct opt_arg *arg, void *cfg)
{
	struct replay_cfg *c = cfg;
	struct replay_policy p = {.label = arg->text};

	if (c->n_policies == MAX_POLICIES)
		return opt_fail(o, arg, "is one too many: expected at most %d", MAX_POLICIES);
	opt_policy_init(&p.params, DEFAULT_POLICY);
	if (opt_halt_poll(o, arg, &p.params, &p.learned))
		return -EINVAL;
	c->policies[c->n_policies++] = p;
	return 0;
}

static int set_generate(struct opts *o, const struct opt_arg *arg, void *cfg)
{
	return generate_parse(o, arg, &((struct replay_cfg *)cfg)->generate);
}

static int set_guest(struct opts *o, const struct opt_arg *arg, void *cfg)
{
	struct replay_cfg *c = cfg;

	c->guest_polls = true;
	return replay_guest_params_parse(o, arg, &c->guest);
}

static const struct opt_word formats[] = {
	{"csv", FORMAT_CSV}, {"json", FORMAT_JSON}, {"table", FORMAT_TABLE}, {NULL, 0}};

#define AT(member) offsetof(struct replay_cfg, member)

static const struct opt_def options[] = {
	{.f = {.name = "halt-poll", .type = OPT_CALL, .set = set_halt_poll},
	 .form = "policy=adaptive|kernel|fixed|always|off,max=TIME,grow=N,grow-start=TIME,shrink=N,"
		 "bias=latency|balanced|power",
	 .help = "The policy and its parameters. May be given several times, to compare.",
	 .def = "kernel,max=200us,grow=2,grow-start=10us,shrink=2; adaptive,max=1ms,bias=balanced",
	 .repeat = true,
	 .list = true},
	{.f = {.name = "price", .type = OPT_TIME, .offset = AT(price_ns), .max = 10000000000},
	 .form = "TIME",
	 .help = "What one sleep is worth in time polled, and the latency it adds. Policy adaptive "
		 "and a learned max are decided by it.",
	 .def = "50us"},
	{.f = {.name = "guest", .type = OPT_CALL, .set = set_guest},
	 .form = "ns=TIME|kernel,grow=N,grow-start=TIME,shrink=N,allow-shrink=on|off,"
		 "host=off|break-even|learned",
	 .help = "The guest polls first, by the rule of Linux's haltpoll governor; a policy sees "
		 "what is left of a halt. Without ns its parameters come from the prices, as "
		 "catnap "
		 "run makes them; ns=kernel: Linux's own (200us). host: whether it polls for the "
		 "rest: never, for the price of a sleep, or as it has learned (kernel: never).",
	 .def = "the guest does not poll; allow-shrink=on, host=learned; with ns: grow=2, "
		"grow-start=50us, shrink=2",
	 .list = true},
	{.f = {.name = "exit-price",
	       .type = OPT_TIME,
	       .offset = AT(exit_price_ns),
	       .max = 10000000000},
	 .form = "TIME",
	 .help = "With --guest: what one HLT that leaves the guest costs, beside the sleep.",
	 .def = "1us"},
	{.f = {.name = "format", .type = OPT_WORD, .offset = AT(format), .words = formats},
	 .form = "csv|table|json",
	 .help = "csv: a row for each halt; with several policies, a row for each policy. table: a "
		 "comparison for people. json: the summary.",
	 .def = "csv; table with several policies"},
	{.f = {.name = "generate", .type = OPT_CALL, .set = set_generate},
	 .form = "KIND[,KEY=VALUE...]",
	 .help = "Writes a trace to standard output instead of reading one.",
	 .list = true},
	{.f = {.name = "halts", .type = OPT_U64, .offset = AT(halts), .max = UINT64_MAX},
	 .form = "N",
	 .help = "How many halts to generate.",
	 .def = "10000"},
	{.f = {.name = "seed", .type = OPT_U64, .offset = AT(seed), .max = UINT64_MAX},
	 .form = "N",
	 .help = "Another seed, another trace; the same seed, the same trace.",
	 .def = "1"},
	{.f = {.name = NULL}},
};

static const char notes[] =
	"Traces:\n"
	"  FILE (- is standard input) begins with a line that names its columns, the\n"
	"  first few of these, in this order. Times are in ns; an empty field is the\n"
	"  default.\n"
	"    halt_ns           how long the halt was\n"
	"    valid             0: the wake-up was not a valid one [1]\n"
	"    allowed           0: the host may not poll, since the guest has switched\n"
	"                      that off, and --guest-halt-poll host= did not overrule\n"
	"                      it [1]\n"
	"    gave_way_ns       others were to have the processor from then on: the poll\n"
	"                      ends there; 0: it was not begun [they were not]. May be\n"
	"                      left out\n"
	"    max_after, grow_after, grow_start_after, shrink_after\n"
	"                      the parameter becomes this before the end of this halt is\n"
	"                      learned from, and stays so [unchanged]\n"
	"\n"
	"Output:\n"
	"  csv rows are halt_ns,window_before,poll_ns,waited,window_after. The window\n"
	"  before is the one after the cap on entry; policy always has a window of\n"
	"  18446744073709551615. With one policy, a summary follows on standard error.\n"
	"    window_before     for how long this halt may be polled\n"
	"    poll_ns           for how long it was\n"
	"    waited            1: it slept all the same\n"
	"    window_after      what the policy has learned from it\n"
	"    guest_poll_ns     with --guest: for how long the guest polled before it\n"
	"  table columns:\n"
	"    polled, failed    time polled, and the part of it in halts that then slept\n"
	"    sleeps            halts that slept\n"
	"    latency, p99      what sleeping added to a wake-up, mean and percentile\n"
	"    cost              the time polled and the price for each sleep; with\n"
	"                      --guest on either side, and the price for each exit\n"
	"    ratio             the cost over the optimum, the sum of min(halt_ns, price)\n"
	"\n"
	"Kinds of --generate [defaults]:\n"
	"  constant   gap=TIME [100us], jitter=PER CENT [0]\n"
	"  poisson    mean=TIME [100us]\n"
	"  bursty     burst=N [20] halts of mean gap=TIME [20us], the last of them of\n"
	"             mean pause=TIME [2ms]\n"
	"  bimodal    a=TIME [20us], b=TIME [1ms], share=PER CENT of a [50],\n"
	"             jitter=PER CENT [10]\n"
	"  pareto     min=TIME [10us], alpha=X [1.5], max=TIME [10s]\n"
	"  tick       period=TIME [4ms], with network events of mean net=TIME [500us]\n"
	"\n"
	"Example:\n"
	"  catnap replay --generate poisson,mean=20us --halts 100000 |\n"
	"    catnap replay --halt-poll kernel --halt-poll fixed,max=50us -\n";

static const struct opt_command command = {
	.name = "replay",
	.synopsis = "[OPTIONS] FILE|-",
	.summary =
		"Runs halt-polling policies over a trace of halts, to see how long they would have "
		"polled and how often slept. Or makes a trace: see --generate.",
	.options = options,
	.notes = notes,
	.arg_name = "FILE",
	.max_args = 1,
};

/* ---- output ---- */

static char *put_u64(char *to, uint64_t value)
{
	char digits[20];
	int n = 0;

	do {
		digits[n++] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	while (n)
		*to++ = digits[--n];
	return to;
}

/* Prints a row, without printf(): a million of these have to be quick. */
static void print_row(const struct replay_halt *h, const struct replay_sim_row *row, bool guest)
{
	char text[5 * 21 + 3], *to = text;

	to = put_u64(to, h->halt_ns);
	*to++ = ',';
	to = put_u64(to, row->window_before);
	*to++ = ',';
	to = put_u64(to, row->poll_ns);
	*to++ = ',';
	*to++ = row->waited ? '1' : '0';
	*to++ = ',';
	to = put_u64(to, row->window_after);
	if (guest) {
		*to++ = ',';
		to = put_u64(to, row->guest_poll_ns);
	}
	*to++ = '\n';
	fwrite_unlocked(text, 1, (size_t)(to - text), stdout);
}

/* Writes a time for people: four digits and a unit. */
static const char *show_time(double ns, char buf[16])
{
	static const char *const units[] = {"ns", "us", "ms", "s"};
	unsigned u = 0;

	/* From 999.95 on it would be printed as 1000.0. */
	while (ns >= 999.95 && u + 1 < sizeof(units) / sizeof(units[0])) {
		ns /= 1000;
		u++;
	}
	if (ns >= 1e6)
		snprintf(buf, 16, "%.3g%s", ns, units[u]);
	else
		snprintf(buf, 16, "%.*f%s", u == 0 || ns == 0 ? 0 : ns < 10 ? 2 : 1, ns, units[u]);
	return buf;
}

static const char *show_ratio(const struct replay_sim *s, char buf[16])
{
	double ratio = replay_sim_ratio(s);

	if (ratio < 0)
		snprintf(buf, 16, "-");
	else
		snprintf(buf, 16, ratio < 1e6 ? "%.3f" : "%.3g", ratio);
	return buf;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void print_summary(const struct replay_sim *s, FILE *out)
{
	char a[16], b[16], c[16], d[16];

	fprintf(out, "policy              %s\n", s->label);
	fprintf(out, "halts               %" PRIu64 "\n", s->halts);
	if (s->guest_polls) {
		fprintf(out, "polled by the guest %s\n", show_time((double)s->guest_poll_ns, a));
		fprintf(out, "exits               %" PRIu64 " (%.1f %%), at %s\n", s->exits,
			percent(s->exits, s->halts), show_time((double)s->exit_price_ns, b));
	}
	fprintf(out, "total poll time     %s\n", show_time((double)s->poll_ns, a));
	fprintf(out, "failed poll time    %s (%.1f %%)\n", show_time((double)s->failed_poll_ns, a),
		percent(s->failed_poll_ns, s->poll_ns));
	fprintf(out, "missed wake-ups     %" PRIu64 " (%.1f %%)\n", s->sleeps,
		percent(s->sleeps, s->halts));
	fprintf(out, "added latency       mean %s, p50 %s, p90 %s, p99 %s\n",
		show_time(replay_sim_latency_mean(s), a),
		show_time((double)replay_sim_latency_percentile(s, 50), b),
		show_time((double)replay_sim_latency_percentile(s, 90), c),
		show_time((double)replay_sim_latency_percentile(s, 99), d));
	fprintf(out, "cost                %s, at %s a sleep\n", show_time((double)s->cost_ns, a),
		show_time((double)s->price_ns, b));
	fprintf(out, "offline optimum     %s\n", show_time((double)s->optimum_ns, a));
	fprintf(out, "cost over optimum   %s\n", show_ratio(s, a));
	if (s->learner.limit)
		fprintf(out, "learned limit       %s, changed %" PRIu64 " times\n",
			show_time((double)s->now.max_ns, a), s->learner.changes);
}

static void print_table(const struct replay_sim *sims, unsigned n)
{
	char a[16], b[16], c[16], d[16], e[16], f[16];
	int width = 6;
	unsigned i;

	/* A longer one has a line of its own: the table fits a terminal of 80 columns. */
	for (i = 0; i < n; i++) {
		int len = (int)strlen(sims[i].label);

		if (len > width && len <= LONGEST_LABEL)
			width = len;
	}
	printf("%" PRIu64 " halts, %s a sleep, optimum %s\n\n", sims[0].halts,
	       show_time((double)sims[0].price_ns, a), show_time((double)sims[0].optimum_ns, b));
	printf("%-*s %8s %8s %9s %8s %8s %8s %8s\n", width, "policy", "polled", "failed", "sleeps",
	       "latency", "p99", "cost", "ratio");
	for (i = 0; i < n; i++) {
		const struct replay_sim *s = &sims[i];

		printf("%-*s", width, s->label);
		if ((int)strlen(s->label) > width)
			printf("\n%*s", width, "");
		printf(" %8s %8s %9" PRIu64 " %8s %8s %8s %8s\n", show_time((double)s->poll_ns, a),
		       show_time((double)s->failed_poll_ns, b), s->sleeps,
		       show_time(replay_sim_latency_mean(s), c),
		       show_time((double)replay_sim_latency_percentile(s, 99), d),
		       show_time((double)s->cost_ns, e), show_ratio(s, f));
	}
	putchar('\n');
	wrap_line(stdout, 2,
		  "polled: time polled in all halts; failed: of that, in halts that slept "
		  "all the same");
	wrap_line(stdout, 2,
		  "sleeps: halts that slept; latency, p99: what sleeping added to a "
		  "halt's wake-up, mean and 99th percentile");
	if (sims[0].guest_polls)
		wrap_line(stdout, 2,
			  "cost: the time polled, by the guest as well, %s for each sleep, and %s "
			  "for each exit; what the guest polled: see --format csv",
			  show_time((double)sims[0].price_ns, a),
			  show_time((double)sims[0].exit_price_ns, b));
	else
		wrap_line(stdout, 2, "cost: the time polled, and %s for each sleep",
			  show_time((double)sims[0].price_ns, a));
	wrap_line(stdout, 2,
		  "ratio: the cost over the optimum, which is the least for one who knows "
		  "each halt in advance; 1 is the best");
}

/* Writes the maximum as it was given. */
static const char *show_max(const struct replay_sim *s, char buf[16])
{
	if (s->learner.limit)
		return "learned";
	snprintf(buf, 16, "%" PRIu32, s->first.max_ns);
	return buf;
}

static void print_policies_csv(const struct replay_sim *sims, unsigned n)
{
	unsigned i;

	printf("policy,halts,poll_ns,failed_poll_ns,sleeps,cost_ns,optimum_ns,ratio,"
	       "max_ns,grow,grow_start_ns,shrink%s\n",
	       sims[0].guest_polls ? ",guest_poll_ns,exits,exit_price_ns" : "");
	for (i = 0; i < n; i++) {
		const struct replay_sim *s = &sims[i];
		double ratio = replay_sim_ratio(s);
		char text[32] = "", max[16];

		if (ratio >= 0)
			snprintf(text, sizeof(text), "%.6f", ratio);
		printf("%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
		       ",%s,%s,%" PRIu32 ",%" PRIu32 ",%" PRIu32,
		       opt_policy_name(s->first.policy), s->halts, s->poll_ns, s->failed_poll_ns,
		       s->sleeps, s->cost_ns, s->optimum_ns, text, show_max(s, max), s->first.grow,
		       s->first.grow_start_ns, s->first.shrink);
		if (s->guest_polls)
			printf(",%" PRIu64 ",%" PRIu64 ",%" PRIu64, s->guest_poll_ns, s->exits,
			       s->exit_price_ns);
		putchar('\n');
	}
}

static struct json_object *json_real(double value)
{
	char text[32];

	snprintf(text, sizeof(text), "%.6f", value);
	return json_object_new_double_s(value, text);
}

static struct json_object *json_policy(const struct replay_sim *s)
{
	static const unsigned percents[] = {50, 90, 99};
	struct json_object *o = json_object_new_object();
	double ratio = replay_sim_ratio(s);
	unsigned i;

#define ADD(key, value) json_object_object_add(o, key, json_object_new_uint64(value))
	json_object_object_add(o, "policy",
			       json_object_new_string(opt_policy_name(s->first.policy)));
	ADD("halts", s->halts);
	ADD("poll_ns", s->poll_ns);
	ADD("failed_poll_ns", s->failed_poll_ns);
	ADD("sleeps", s->sleeps);
	ADD("cost_ns", s->cost_ns);
	ADD("optimum_ns", s->optimum_ns);
	json_object_object_add(o, "ratio", ratio < 0 ? NULL : json_real(ratio));
	json_object_object_add(o, "latency_mean_ns", json_real(replay_sim_latency_mean(s)));
	for (i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
		char key[32];

		snprintf(key, sizeof(key), "latency_p%u_ns", percents[i]);
		ADD(key, replay_sim_latency_percentile(s, percents[i]));
	}
	ADD("price_ns", s->price_ns);
	if (s->guest_polls) {
		ADD("guest_poll_ns", s->guest_poll_ns);
		ADD("exits", s->exits);
		ADD("exit_price_ns", s->exit_price_ns);
	}
	if (s->learner.limit) {
		json_object_object_add(o, "max_ns", json_object_new_string("learned"));
		ADD("limit_ns", s->now.max_ns);
		ADD("limit_changes", s->learner.changes);
	} else {
		ADD("max_ns", s->first.max_ns);
	}
	ADD("grow", s->first.grow);
	ADD("grow_start_ns", s->first.grow_start_ns);
	ADD("shrink", s->first.shrink);
#undef ADD
	return o;
}

static int print_json(const struct replay_sim *sims, unsigned n)
{
	struct json_object *top = json_object_new_object(), *list = json_object_new_array();
	const char *text;
	unsigned i;

	for (i = 0; i < n; i++)
		json_object_array_add(list, json_policy(&sims[i]));
	json_object_object_add(top, "policies", list);
	text = json_object_to_json_string_ext(top,
					      JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED);
	if (text)
		puts(text);
	json_object_put(top);
	return text ? 0 : -ENOMEM;
}

static int fail(const char *what)
{
	fprintf(stderr, "catnap replay: %s\n", what);
	return CMD_ERROR;
}

static int fail_output(int err)
{
	cmd_end_by_sigpipe();
	fprintf(stderr, "catnap replay: standard output: %s\n", cmd_stdout_error(err));
	return CMD_ERROR;
}

/* ---- the command ---- */

/* Runs all policies over the trace; prints a row for each halt if @rows. */
static int simulate(struct replay_trace *t, struct replay_sim *sims, unsigned n, bool rows)
{
	struct replay_halt h;
	struct replay_sim_row row;
	unsigned i;
	int ret;

	if (rows)
		printf("halt_ns,window_before,poll_ns,waited,window_after%s\n",
		       sims[0].guest_polls ? ",guest_poll_ns" : "");
	while ((ret = replay_trace_next(t, &h)) > 0) {
		for (i = 0; i < n; i++)
			replay_sim_halt(&sims[i], &h, &row);
		if (!rows)
			continue;
		print_row(&h, &row, sims[0].guest_polls);
		if (ferror_unlocked(stdout))
			return fail_output(errno);
	}
	if (fflush(stdout) || ferror(stdout))
		return fail_output(errno);
	return ret < 0 ? fail(t->error) : CMD_OK;
}

static int report(const struct replay_sim *sims, unsigned n, int format)
{
	if (format == FORMAT_JSON) {
		if (print_json(sims, n))
			return fail(strerror(ENOMEM));
	} else if (format == FORMAT_TABLE) {
		print_table(sims, n);
	} else if (n > 1) {
		print_policies_csv(sims, n);
	} else {
		print_summary(&sims[0], stderr);
	}
	return CMD_OK;
}

static int replay(const struct replay_cfg *c, const char *path)
{
	struct replay_sim sims[MAX_POLICIES];
	struct replay_trace t;
	const struct replay_sim_setting setting = {.price_ns = c->price_ns,
						   .exit_price_ns = c->exit_price_ns,
						   .guest = c->guest_polls ? &c->guest : NULL};
	int format = c->format, status;
	unsigned n = 0;

	if (format == FORMAT_DEFAULT)
		format = c->n_policies > 1 ? FORMAT_TABLE : FORMAT_CSV;
	if (replay_trace_open(&t, path) < 0)
		return fail(t.error);
	for (; n < c->n_policies; n++) {
		int ret = replay_sim_create(&sims[n], &c->policies[n], &setting);

		if (ret < 0) {
			status = fail(strerror(-ret));
			goto out;
		}
	}
	status = simulate(&t, sims, n, format == FORMAT_CSV && n == 1);
	if (status == CMD_OK)
		status = report(sims, n, format);
out:
	while (n > 0)
		replay_sim_destroy(&sims[--n]);
	replay_trace_close(&t);
	return status;
}

/* Compares the files: the trace must not grow while it is read, nor be written over. Returns a
 * status. */
static int compare_files(const char *path)
{
	struct files files;
	int status;

	files_init(&files, "replay");
	files_add(&files, "FILE", strcmp(path, "-") == 0 ? "/dev/stdin" : path, FILE_READ);
	status = files_check(&files);
	files_free(&files);
	return status;
}

static int generate(const struct replay_cfg *c)
{
	generate_write(&c->generate, c->halts, c->seed, stdout);
	if (ferror(stdout) || fflush(stdout))
		return fail_output(errno);
	return CMD_OK;
}

/* Refuses options that belong to the other use of the command: they would have no effect. */
static int check_use(struct opts *o)
{
	static const char *const reading[] = {"halt-poll", "price", "format", "guest",
					      "exit-price"};
	static const char *const making[] = {"halts", "seed"};
	bool make = opts_given(o, "generate");
	unsigned i;

	for (i = 0; make && i < sizeof(reading) / sizeof(reading[0]); i++) {
		if (opts_given(o, reading[i]))
			return opts_fail(
				o, "--%s: has no effect with --generate: expected a trace to read",
				reading[i]);
	}
	for (i = 0; !make && i < sizeof(making) / sizeof(making[0]); i++) {
		if (opts_given(o, making[i]))
			return opts_fail(o, "--%s: has no effect here: expected --generate as well",
					 making[i]);
	}
	if (opts_given(o, "exit-price") && !opts_given(o, "guest"))
		return opts_fail(o, "--exit-price: has no effect here: expected --guest as well");
	if (make && o->n_args)
		return opts_fail(o, "both --generate and FILE: expected one of them");
	if (!make && !o->n_args)
		return opts_fail(o, "FILE is missing: expected a trace, or - for standard input");
	return 0;
}

int cmd_replay(int argc, char **argv)
{
	struct replay_cfg cfg = {
		.price_ns = 50000, .exit_price_ns = 1000, .halts = 10000, .seed = 1};
	struct opts o;
	int status;

	replay_guest_params_init(&cfg.guest);
	status = opts_command(&o, &command, argc, argv, &cfg);

	if (status < 0 && check_use(&o)) {
		fprintf(stderr, "%s\n", o.error);
		status = CMD_USAGE;
	}
	if (status < 0 && opts_given(&o, "generate")) {
		status = generate(&cfg);
	} else if (status < 0) {
		if (cfg.n_policies == 0) {
			opt_policy_init(&cfg.policies[0].params, DEFAULT_POLICY);
			cfg.policies[0].label = opt_policy_name(DEFAULT_POLICY);
			cfg.n_policies = 1;
		}
		status = compare_files(o.args[0]);
		if (status == CMD_OK)
			status = replay(&cfg, o.args[0]);
	}
	opts_free(&o);
	return status;
}
