/* SPDX-License-Identifier: Apache-2.0 */
/* The command: listens for a while, says what would be better, and, with --apply, tries it. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/advise/advise.h"
#include "cli/cmd.h"
#include "cli/now.h"
#include "cli/opts.h"
#include "cli/price_file.h"
#include "cli/printable.h"
#include "cli/sleep_price.h"

#define TRACEFS	   "/sys/kernel/tracing"
#define DEBUGFS	   "/sys/kernel/debug"
#define PARAMETERS "/sys/module/kvm/parameters"
#define LOOK_MS	   100 /* trace_pipe need not say when something is there */
/* A change stays if it has brought this part, at least, of what was predicted. */
#define ENOUGH	       0.5
#define USUAL_PRICE_NS 50000

struct bounds {
	uint64_t least_ns, most_ns;
};

struct advise_cfg {
	uint64_t duration_ns, price_ns;
	const char *from, *tracefs, *debugfs, *parameters;
	struct bounds bounds;
	bool json, apply;
};

#define AT(member) offsetof(struct advise_cfg, member)

static const struct opt_field apply_keys[] = {
	{.name = "max",
	 .type = OPT_TIME,
	 .offset = offsetof(struct bounds, most_ns),
	 .max = 1000000000,
	 .required = true,
	 .form = "TIME"},
	{.name = "min",
	 .type = OPT_TIME,
	 .offset = offsetof(struct bounds, least_ns),
	 .max = 1000000000,
	 .form = "TIME"},
	{.name = NULL},
};

static int set_apply(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct advise_cfg *cfg = ptr;

	cfg->apply = true;
	if (opt_keys(o, arg, apply_keys, &cfg->bounds))
		return -EINVAL;
	if (cfg->bounds.least_ns > cfg->bounds.most_ns)
		return opt_fail(o, arg, "has a min above its max");
	return 0;
}

static const struct opt_def options[] = {
	{.f = {.name = "duration",
	       .type = OPT_TIME,
	       .offset = AT(duration_ns),
	       .min = 1000000,
	       .max = UINT64_C(3600000000000)},
	 .form = "TIME",
	 .help = "For how long halts are listened for; with --apply, twice.",
	 .def = "10s"},
	{.f = {.name = "price",
	       .type = OPT_TIME,
	       .offset = AT(price_ns),
	       .min = 1,
	       .max = 10000000000},
	 .form = "TIME",
	 .help = "What one sleep is worth in time polled.",
	 .def = "as catnap check has measured it"},
	{.f = {.name = "apply", .type = OPT_CALL, .set = set_apply},
	 .keys = apply_keys,
	 .help = "Sets the module's halt_poll_ns to what is better, within these bounds, watches, "
		 "and takes it back if that does not help.",
	 .list = true},
	{.f = {.name = "from", .type = OPT_STRING, .offset = AT(from)},
	 .form = "FILE|-",
	 .help = "Takes the halts from a trace of the event kvm_vcpu_wakeup, in tracefs's text, "
		 "instead of listening."},
	{.f = {.name = "json", .type = OPT_FLAG, .offset = AT(json)},
	 .letter = 'j',
	 .help = "Prints it as a JSON document."},
	{.f = {.name = "tracefs", .type = OPT_STRING, .offset = AT(tracefs), .max = ADVISE_FOLDER},
	 .form = "DIR",
	 .help = "Where tracefs is mounted.",
	 .def = TRACEFS},
	{.f = {.name = "debugfs", .type = OPT_STRING, .offset = AT(debugfs), .max = ADVISE_FOLDER},
	 .form = "DIR",
	 .help = "Where debugfs is mounted.",
	 .def = DEBUGFS},
	{.f = {.name = "parameters",
	       .type = OPT_STRING,
	       .offset = AT(parameters),
	       .max = ADVISE_FOLDER},
	 .form = "DIR",
	 .help = "Where module kvm's parameters are.",
	 .def = PARAMETERS},
	{.f = {.name = NULL}},
};

static const struct opt_command command = {
	.name = "advise",
	.synopsis = "[OPTIONS]",
	.summary = "Says what KVM's halt polling costs and saves the virtual machines of this "
		   "host, whoever runs them, and which halt_poll_ns would be better.",
	.options = options,
	.notes = "It needs root's rights, tracefs and debugfs.\n\n"
		 "Exit status: 0 it has been said (and done); 1 something could not be; 2 wrong "
		 "command line; 129, 130 or 143 ended by SIGHUP, Ctrl-C or SIGTERM.\n",
};

/* -- listening -------------------------------------------------------------------------------- */

struct advise {
	const struct advise_cfg *cfg;
	struct advise_vms vms;
	struct advise_found found;
	int signals, number; /* signalfd, -1: they end the process; and what came */
};

/* Takes all that is there. -errno. */
static int take(struct advise *a, struct advise_trace *t)
{
	struct advise_halt halt;
	int ret;

	while ((ret = advise_trace_next(t, &halt)) > 0)
		advise_vms_add(&a->vms, &halt);
	return ret;
}

static void look_for_signal(struct advise *a)
{
	struct signalfd_siginfo info;

	if (read(a->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
		a->number = (int)info.ssi_signo;
}

static int listen_until(struct advise *a, struct advise_trace *t, uint64_t end)
{
	struct pollfd p[] = {{.fd = a->signals, .events = POLLIN}};
	int ret = take(a, t);

	while (ret == 0 && !a->number && !t->at_end && now_ns() < end) {
		if (poll(p, 1, LOOK_MS) > 0)
			look_for_signal(a);
		ret = take(a, t);
	}
	return ret;
}

static int listen_to_kernel(struct advise *a, char error[ADVISE_ERROR])
{
	struct advise_trace t;
	uint64_t begin;
	int ret = advise_trace_open(&t, a->cfg->tracefs, error);

	if (ret < 0)
		return ret;
	advise_vms_count(&a->vms, a->cfg->debugfs, false);
	begin = now_ns();
	ret = listen_until(a, &t, begin + a->cfg->duration_ns);
	a->found.lasted_ns = now_ns() - begin;
	advise_vms_count(&a->vms, a->cfg->debugfs, true);
	if (ret < 0)
		snprintf(error, ADVISE_ERROR, "trace_pipe: %s", strerror(-ret));
	a->found.lost = t.lost;
	advise_trace_close(&t);
	return ret;
}

/* Returns how long it lasted at least: as long as the halts of the vCPU that has halted longest. */
static uint64_t longest(const struct advise_vms *all)
{
	uint64_t most = 0;

	for (size_t i = 0; i < all->n; i++)
		for (const struct advise_thread *t = all->v[i].threads; t; t = t->next) {
			uint64_t sum = 0;

			for (size_t n = 0; n < t->n; n++)
				sum += t->halts[n] >> 2;
			most = sum > most ? sum : most;
		}
	return most;
}

static int read_file(struct advise *a, char error[ADVISE_ERROR])
{
	struct advise_trace t;
	int ret = advise_trace_file(&t, a->cfg->from, error);

	if (ret < 0)
		return ret;
	ret = listen_until(a, &t, UINT64_MAX);
	if (ret < 0)
		snprintf(error, ADVISE_ERROR, "%.200s: %s", a->cfg->from, strerror(-ret));
	if (ret == 0 && t.other && !t.told) {
		snprintf(error, ADVISE_ERROR,
			 "%.160s: no line is of halts: expected the event kvm_vcpu_wakeup, in the "
			 "text of tracefs",
			 a->cfg->from);
		ret = -EINVAL;
	}
	a->found.lasted_ns = longest(&a->vms);
	a->found.lost = t.lost;
	advise_trace_close(&t);
	return ret;
}

/* -- what follows ----------------------------------------------------------------------------- */

static void add_cost(struct advise_cost *sum, const struct advise_cost *c)
{
	sum->polled_ns += c->polled_ns;
	sum->in_vain_ns += c->in_vain_ns;
	sum->sleeps += c->sleeps;
	sum->found += c->found;
	sum->cost_ns += c->cost_ns;
}

static int try_limits(struct advise_found *f, const struct advise_vm *vm, struct advise_tried *t)
{
	int ret = 0;

	for (size_t i = 0; i <= ADVISE_LIMITS && ret == 0; i++) {
		struct advise_rule rule = f->rule;

		if (i < ADVISE_LIMITS)
			rule.max_ns = advise_limits[i];
		ret = advise_model(vm, &rule, f->price_ns, &t->cost[i]);
		add_cost(&f->all.cost[i], &t->cost[i]);
	}
	return ret;
}

static int try_all(struct advise *a)
{
	struct advise_found *f = &a->found;
	int ret = 0;

	f->vms = &a->vms;
	f->vm = calloc(a->vms.n + 1, sizeof(*f->vm));
	f->all = (struct advise_tried){.cost = {{0}}};
	if (!f->vm)
		return -ENOMEM;
	for (size_t i = 0; i < a->vms.n && ret == 0; i++)
		ret = try_limits(f, &a->vms.v[i], &f->vm[i]);
	return ret;
}

static void forget(struct advise *a)
{
	free(a->found.vm);
	a->found.vm = NULL;
	advise_vms_free(&a->vms);
}

static int find_out(struct advise *a, char error[ADVISE_ERROR])
{
	int ret = a->cfg->from ? read_file(a, error) : listen_to_kernel(a, error);

	if (ret < 0)
		return ret;
	ret = try_all(a);
	if (ret < 0)
		snprintf(error, ADVISE_ERROR, "out of memory");
	return ret;
}

/* -- trying it -------------------------------------------------------------------------------- */

/* Sums up the price that is paid now: time polled by KVM, and its sleeps. */
static void paid(const struct advise *a, bool *counted, double *polled, double *per_halt)
{
	uint64_t ns = 0, halts = 0, sleeps = 0;
	bool each;

	*counted = true;
	for (size_t i = 0; i < a->vms.n; i++) {
		const struct advise_vm *vm = &a->vms.v[i];

		if (!vm->halts)
			continue;
		ns += advise_vm_polled(vm, &each);
		*counted &= each;
		halts += vm->halts;
		for (const struct advise_thread *t = vm->threads; t; t = t->next)
			for (size_t n = 0; n < t->n; n++)
				sleeps += t->halts[n] >> 1 & 1;
	}
	*polled = (double)ns * 1e9 / (double)a->found.lasted_ns;
	*per_halt = halts ? ((double)ns + (double)(sleeps * a->found.price_ns)) / (double)halts : 0;
}

/* Sets the limit, listens again, and takes it back unless it has helped. */
static int try_it(struct advise *a, struct advise_applied *done, char error[ADVISE_ERROR])
{
	const struct advise_tried *all = &a->found.all;
	const size_t best = advise_best(&a->found, all);
	const double predicted =
		1 - (double)all->cost[best].cost_ns / (double)all->cost[ADVISE_LIMITS].cost_ns;
	char ignored[ADVISE_ERROR];
	bool counted;
	int ret;

	paid(a, &done->counted, &done->polled_before, &done->cost_before);
	done->polled_expected =
		(double)advise_expected(&a->found, best) * 1e9 / (double)a->found.lasted_ns;
	done->before_ns = a->found.rule.max_ns;
	done->now_ns = advise_limits[best];
	ret = advise_limit_write(a->cfg->parameters, done->now_ns, error);
	if (ret < 0)
		return ret;
	done->set = true;
	forget(a);
	a->found.rule.max_ns = done->now_ns;
	ret = find_out(a, error);
	if (ret == 0) {
		paid(a, &counted, &done->polled_now, &done->cost_now);
		done->counted &= counted;
		done->lasted_ns = a->found.lasted_ns;
		done->kept = !a->number && done->cost_now > 0 &&
			     done->cost_now <= (1 - ENOUGH * predicted) * done->cost_before;
	}
	if (done->kept)
		return 0;
	if (advise_limit_write(a->cfg->parameters, done->before_ns, ret < 0 ? ignored : error) < 0)
		ret = ret < 0 ? ret : -EIO;
	return ret;
}

static int apply(struct advise *a, struct advise_applied *done, char error[ADVISE_ERROR])
{
	if (a->number || !advise_worth(&a->found, &a->found.all))
		return 0;
	return try_it(a, done, error);
}

/* -- the command ------------------------------------------------------------------------------ */

static uint64_t price(const struct advise_cfg *cfg)
{
	struct price_file file;
	uint32_t measured;

	if (cfg->price_ns)
		return cfg->price_ns;
	price_file_read(&file);
	if (file.known.sleep_ns)
		return file.known.sleep_ns;
	measured = cfg->from ? 0 : sleep_price_measure();
	return measured ? measured : USUAL_PRICE_NS;
}

static int begin_signals(struct advise *a)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	a->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return a->signals < 0 ? -errno : 0;
}

static int advise(struct advise *a)
{
	static const struct advise_rule linux_rule = {200000, 2, 10000, 2};
	struct advise_applied done = {.set = false};
	const struct advise_cfg *cfg = a->cfg;
	char error[ADVISE_ERROR] = "";
	int ret = 0;

	a->found.rule = linux_rule;
	if (!cfg->from || cfg->parameters)
		ret = advise_rule_read(&a->found.rule, cfg->parameters, error);
	if (ret == 0)
		ret = find_out(a, error);
	if (ret == 0 && !cfg->json)
		advise_print(stdout, &a->found);
	if (ret == 0 && cfg->json && !cfg->apply)
		advise_json(stdout, &a->found, NULL);
	if (ret == 0 && cfg->apply) {
		ret = apply(a, &done, error);
		/* Even if something went wrong, what was changed is said. */
		if (cfg->json && (ret == 0 || done.set))
			advise_json(stdout, &a->found, &done);
		else if (!cfg->json && (ret == 0 || done.set))
			advise_print_applied(stdout, &done);
	}
	if (ret < 0)
		complain("catnap advise: %s\n", error);
	return ret < 0 ? CMD_ERROR : CMD_OK;
}

static int check(struct opts *o, struct advise_cfg *cfg)
{
	if (cfg->from && (cfg->apply || opts_given(o, "duration") || opts_given(o, "tracefs") ||
			  opts_given(o, "debugfs")))
		return opts_fail(o, "--from: a file has its time and place: expected no --apply, "
				    "--duration, --tracefs or --debugfs");
	if (!cfg->from && !cfg->parameters)
		cfg->parameters = PARAMETERS;
	return 0;
}

int cmd_advise(int argc, char **argv)
{
	struct advise_cfg cfg = {.duration_ns = UINT64_C(10000000000),
				 .tracefs = TRACEFS,
				 .debugfs = DEBUGFS,
				 .bounds = {.most_ns = UINT32_MAX}};
	struct advise a = {.cfg = &cfg, .signals = -1};
	struct opts o;
	int status = opts_command(&o, &command, argc, argv, &cfg), ret;

	if (status < 0 && check(&o, &cfg) < 0) {
		fprintf(stderr, "%s\n", o.error);
		status = CMD_USAGE;
	}
	if (status < 0) {
		a.found.least_ns = (uint32_t)cfg.bounds.least_ns;
		a.found.most_ns = (uint32_t)cfg.bounds.most_ns;
		a.vms.live = !cfg.from;
		a.found.price_ns = price(&cfg);
		/* Who reads a file has nothing to put back: a signal ends that as it is. */
		ret = cfg.from ? 0 : begin_signals(&a);
		if (ret < 0)
			fprintf(stderr, "catnap advise: signalfd: %s\n", strerror(-ret));
		status = ret < 0 ? CMD_ERROR : advise(&a);
		if (a.number && status == CMD_OK)
			status = 128 + a.number;
		forget(&a);
		if (a.signals >= 0)
			close(a.signals);
	}
	opts_free(&o);
	return status;
}
