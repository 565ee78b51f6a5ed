/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `catnap bench`: what is measured, in which order, and what is said meanwhile. Modes run in turn
 * within each round, so that what disturbs the host disturbs all of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/bench.h"
#include "cli/cmd.h"
#include "cli/opts.h"
#include "probe_image.h"

/* -- options ---------------------------------------------------------------------------------- */

#define ALL_WORKLOADS ((UINT32_C(1) << BENCH_WORKLOADS) - 1)

static const struct opt_word biases[] = {{"balanced", CATNAP_BIAS_BALANCED},
					 {"latency", CATNAP_BIAS_LATENCY},
					 {"power", CATNAP_BIAS_POWER},
					 {NULL, 0}};

/*
 * user:POLICY, user:adaptive:BIAS or kernel:TIME, and behind a slash who runs the devices. Names
 * are kept as given: they label the results. Without a slash, user modes have the vCPU do it, and
 * kernel modes, the baseline, a thread, as monitors do that leave HLT to KVM.
 */
static int parse_mode(struct opts *o, const struct opt_arg *arg, const char *name,
		      struct bench_mode *mode)
{
	static const struct {
		const char *name;
		uint32_t policy;
	} policies[] = {{"adaptive", CATNAP_POLICY_ADAPTIVE},
			{"kernel", CATNAP_POLICY_KERNEL},
			{"always", CATNAP_POLICY_ALWAYS},
			{"fixed", CATNAP_POLICY_FIXED},
			{"off", CATNAP_POLICY_OFF}};
	static const struct opt_field time = {.type = OPT_TIME32, .max = UINT32_MAX};
	struct opt_arg value = {.option = arg->option, .key = "kernel"};

	char how[48]; /* the name without the slash and what follows */
	const char *slash = strchr(name, '/');
	size_t len = slash ? (size_t)(slash - name) : strlen(name);

	*mode = (struct bench_mode){.name = name, .workloads = ALL_WORKLOADS};
	snprintf(how, sizeof(how), "%.*s", len < sizeof(how) ? (int)len : 0, name);
	mode->io = strncmp(how, "kernel:", 7) == 0 ? CATNAP_IO_THREAD : CATNAP_IO_VCPU;
	if (slash && strcmp(slash, "/vcpu") == 0)
		mode->io = CATNAP_IO_VCPU;
	else if (slash && strcmp(slash, "/thread") == 0)
		mode->io = CATNAP_IO_THREAD;
	else if (slash)
		return opt_fail(o, arg,
				"is not a mode: expected /vcpu or /thread behind the slash");
	if (strncmp(how, "kernel:", 7) == 0) {
		mode->irqchip = CATNAP_IRQCHIP_KERNEL;
		opt_policy_init(&mode->halt_poll, CATNAP_POLICY_KERNEL);
		value.text = how + 7;
		return opt_value(o, &value, &time, &mode->halt_poll.max_ns);
	}
	mode->irqchip = CATNAP_IRQCHIP_USER;
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		if (strncmp(how, "user:", 5) != 0 || strcmp(how + 5, policies[i].name) != 0)
			continue;
		opt_policy_init(&mode->halt_poll, policies[i].policy);
		return 0;
	}
	if (strncmp(how, "user:adaptive:", 14) == 0)
		for (const struct opt_word *bias = biases; bias->name; bias++) {
			if (strcmp(how + 14, bias->name) != 0)
				continue;
			opt_policy_init(&mode->halt_poll, CATNAP_POLICY_ADAPTIVE);
			mode->halt_poll.bias = (uint32_t)bias->value;
			return 0;
		}
	return opt_fail(o, arg,
			"is not a mode: expected user:adaptive[:BIAS], user:kernel, user:always, "
			"user:fixed, user:off or kernel:TIME");
}

static int set_mode(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct bench_cfg *cfg = ptr;

	if (cfg->n_modes == BENCH_MODES - 1)
		return opt_fail(o, arg, "is one too many: expected at most %d", BENCH_MODES - 1);
	for (unsigned int i = 0; i < cfg->n_modes; i++)
		if (strcmp(cfg->modes[i].name, arg->text) == 0)
			return opt_fail(o, arg, "was given twice");
	if (parse_mode(o, arg, arg->text, &cfg->modes[cfg->n_modes]))
		return -EINVAL;
	cfg->n_modes++;
	return 0;
}

static int set_gap(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field time = {.type = OPT_TIME, .min = 1000, .max = 1000000000};
	struct bench_cfg *cfg = ptr;

	if (cfg->n_gaps == BENCH_GAPS)
		return opt_fail(o, arg, "is one too many: expected at most %d", BENCH_GAPS);
	if (opt_value(o, arg, &time, &cfg->gaps[cfg->n_gaps]))
		return -EINVAL;
	cfg->n_gaps++;
	return 0;
}

static int set_peer(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	if (strcmp(arg->text, "qemu") != 0)
		return opt_fail(o, arg, "is not known: expected qemu");
	((struct bench_cfg *)ptr)->peer_qemu = true;
	return 0;
}

static int set_vcpus(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field number = {.type = OPT_U32, .min = 1, .max = BENCH_VCPUS};
	uint32_t n;

	if (opt_value(o, arg, &number, &n))
		return -EINVAL;
	((struct bench_cfg *)ptr)->vcpus_given = true;
	((struct bench_cfg *)ptr)->vcpus[n] = true;
	return 0;
}

static int set_process(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct bench_cfg *cfg = ptr;
	struct bench_process *p = &cfg->processes[cfg->n_processes];

	if (cfg->n_processes == BENCH_PROCESSES)
		return opt_fail(o, arg, "is one too many: expected at most %d", BENCH_PROCESSES);
	for (unsigned int i = 0; i < cfg->n_processes; i++)
		if (strcmp(cfg->processes[i].label, arg->text) == 0)
			return opt_fail(o, arg, "was given twice");
	if (generate_parse(o, arg, &p->generate))
		return -EINVAL;
	if (strlen(arg->text) >= sizeof(p->label))
		return opt_fail(o, arg, "is too long: expected less than %zu characters",
				sizeof(p->label));
	snprintf(p->label, sizeof(p->label), "%s", arg->text);
	cfg->n_processes++;
	return 0;
}

static const struct opt_word pins[] = {
	{"on", PIN_ON}, {"off", PIN_OFF}, {"one", PIN_ONE}, {NULL, 0}};

static const struct opt_word arrivals[] = {{"both", ARRIVALS_BOTH},
					   {"constant", ARRIVALS_CONSTANT},
					   {"random", ARRIVALS_RANDOM},
					   {NULL, 0}};

#define AT(member) offsetof(struct bench_cfg, member)

static const struct opt_def options[] = {
	{.f = {.name = "mode", .type = OPT_CALL, .set = set_mode},
	 .form = "user:POLICY[:BIAS]|kernel:TIME[/vcpu|/thread]",
	 .help = "A way to halt: in catnap by a policy (adaptive, kernel, always, fixed, off; "
		 "adaptive:latency and adaptive:power: with that bias), or in KVM, "
		 "polling for "
		 "this time at most; blk, echo, compute: /vcpu, the default of user modes, or "
		 "/thread, that "
		 "of "
		 "kernel modes, runs the devices. May be given several times.",
	 .def = "all: user:adaptive user:kernel user:always user:fixed user:off kernel:0 "
		"kernel:200us",
	 .repeat = true},
	{.f = {.name = "gap", .type = OPT_CALL, .set = set_gap},
	 .form = "TIME",
	 .help = "Time between events, at least 1us. May be given several times.",
	 .def = "20us, 50us, 200us; timer also 1ms; neighbour 200us; compute 1ms",
	 .repeat = true},
	{.f = {.name = "arrivals", .type = OPT_WORD, .offset = AT(arrivals), .words = arrivals},
	 .form = "constant|random|both",
	 .help = "Gaps all equal, or random around the gap.",
	 .def = "both"},
	{.f = {.name = "samples", .type = OPT_U32, .offset = AT(samples), .min = 1, .max = 100000},
	 .form = "N",
	 .help = "Events in each round.",
	 .def = "1000"},
	{.f = {.name = "rounds", .type = OPT_U32, .offset = AT(rounds), .min = 1, .max = 1000},
	 .form = "N",
	 .help = "How often the modes take turns.",
	 .def = "5"},
	{.f = {.name = "duration",
	       .type = OPT_TIME,
	       .offset = AT(duration_ns),
	       .min = 1000000,
	       .max = UINT64_C(3600000000000)},
	 .form = "TIME",
	 .help = "idle, neighbour: how long each round lasts.",
	 .def = "2s"},
	{.f = {.name = "vcpus", .type = OPT_CALL, .set = set_vcpus},
	 .form = "N",
	 .help = "neighbour: how many virtual CPUs are on the hog's processor; compute: how many "
		 "the guest has; 1 to 4. May be given several times.",
	 .def = "neighbour 1, 2, 4; compute 1, 2",
	 .repeat = true},
	{.f = {.name = "realtime", .type = OPT_SWITCH, .offset = AT(realtime)},
	 .form = "on|off",
	 .help = "neighbour: the virtual machines are started in a real-time class; the hog is in "
		 "the ordinary one.",
	 .def = "off"},
	{.f = {.name = "process", .type = OPT_CALL, .set = set_process},
	 .form = "KIND[,KEY=VALUE...]",
	 .help = "mix: an arrival process, as catnap replay --generate takes it. May be given "
		 "several times.",
	 .def = "constant, poisson, bursty, bimodal, pareto,max=100ms, tick",
	 .repeat = true,
	 .list = true},
	{.f = {.name = "pin", .type = OPT_WORD, .offset = AT(pin), .words = pins},
	 .form = "on|off|one",
	 .help = "Ties the sender and the vCPUs to processors of their own (event, timer, ipi, "
		 "idle, mix, compute); one: all threads of the guest to one processor (blk, echo).",
	 .def = "on"},
	{.f = {.name = "json", .type = OPT_STRING, .offset = AT(json)},
	 .form = "FILE|-",
	 .help = "Writes the results as JSON too; with -, instead of the table."},
	{.f = {.name = "html", .type = OPT_STRING, .offset = AT(html)},
	 .form = "FILE|-",
	 .help = "Writes a report with pictures, one page that needs nothing else; with -, instead "
		 "of the table."},
	{.f = {.name = "peer", .type = OPT_CALL, .set = set_peer},
	 .form = "qemu",
	 .help = "Measures QEMU's microvm with the same image: timer, ipi, start, memory, blk, "
		 "echo."},
	{.f = {.name = NULL}},
};

static const struct opt_command command = {
	.name = "bench",
	.synopsis = "[OPTIONS] [WORKLOAD ...]",
	.summary = "Measures wake-up latency and processor time on this host, halting in user "
		   "space beside "
		   "halting in the kernel.",
	.options = options,
	.notes =
		"Workloads (without one: event, timer, ipi, idle, start and memory):\n"
		"  event      another thread signals the vCPU: signal to the first instruction\n"
		"             of the guest's handler\n"
		"  timer      the guest arms its APIC timer and halts: lateness\n"
		"  ipi        two vCPUs wake each other: round trip\n"
		"  idle       processor time of a guest that does nothing, and of one with a\n"
		"             250 Hz tick\n"
		"  start      process start to the guest's first output\n"
		"  memory     private memory beyond the guest's own\n"
		"  blk        4 KiB reads, one at a time\n"
		"  echo       packets to the guest and back; needs root\n"
		"  neighbour  what a thread that computes loses to vCPUs on its processor\n"
		"  mix        event, with arrival processes\n"
		"  compute    completion to interrupt in a guest that computes on all its vCPUs\n"
		"\n"
		"Ctrl-C ends it; what has been measured until then is reported. Exit status: 0 all "
		"was measured; 1 something could not be; 2 wrong command line; 129, 130 or 143 "
		"ended by SIGHUP, Ctrl-C or SIGTERM.\n",
	.arg_name = "WORKLOAD",
	.max_args = BENCH_WORKLOADS,
};

/* Modes that are measured if none is given, and in which workloads. */
static int default_modes(struct opts *o, struct bench_cfg *cfg)
{
	const uint32_t neighbour = UINT32_C(1) << BENCH_NEIGHBOUR, mix = UINT32_C(1) << BENCH_MIX,
		       compute = UINT32_C(1) << BENCH_COMPUTE, others = ALL_WORKLOADS & ~compute;
	const struct {
		const char *name;
		uint32_t workloads;
	} modes[] = {{"user:adaptive", ALL_WORKLOADS},
		     {"user:adaptive/thread", compute},
		     {"user:adaptive:latency", neighbour | mix},
		     {"user:adaptive:power", neighbour | mix},
		     {"user:kernel", others},
		     {"user:always", others},
		     {"user:fixed", others & ~neighbour},
		     {"user:off", others},
		     {"kernel:0", others & ~neighbour},
		     {"kernel:200us/vcpu", compute},
		     {"kernel:200us", ALL_WORKLOADS}};
	struct opt_arg none = {.option = "mode", .text = ""};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (parse_mode(o, &none, modes[i].name, &cfg->modes[cfg->n_modes]))
			return -EINVAL;
		cfg->modes[cfg->n_modes++].workloads = modes[i].workloads;
	}
	return 0;
}

static int default_processes(struct opts *o, struct bench_cfg *cfg)
{
	/* A sender that spins for 10 s, as a Pareto tail may want, measures little. */
	static const char *const processes[] = {"constant", "poisson",		"bursty",
						"bimodal",  "pareto,max=100ms", "tick"};

	for (size_t i = 0; i < sizeof(processes) / sizeof(processes[0]); i++) {
		struct opt_arg arg = {.option = "process", .text = processes[i]};

		if (set_process(o, &arg, cfg))
			return -EINVAL;
	}
	return 0;
}

static int check(struct opts *o, struct bench_cfg *cfg)
{
	for (unsigned int i = 0; i < o->n_args; i++) {
		enum bench_workload w = 0;

		while (w < BENCH_WORKLOADS && strcmp(o->args[i], workload_name(w)) != 0)
			w++;
		if (w == BENCH_WORKLOADS)
			return opts_fail(
				o,
				"\"%.40s\" is not a workload: expected event, timer, ipi, idle, "
				"start, memory, blk, echo, neighbour, mix or compute",
				o->args[i]);
		cfg->workloads[w] = true;
	}
	for (int w = 0; w < BENCH_BLK && !o->n_args; w++)
		cfg->workloads[w] = true;
	if (!opts_given(o, "mode") && default_modes(o, cfg))
		return -EINVAL;
	if (!opts_given(o, "process") && default_processes(o, cfg))
		return -EINVAL;
	if (!opts_given(o, "vcpus"))
		cfg->vcpus[1] = cfg->vcpus[2] = cfg->vcpus[4] = true;
	if (bench_check_effects(o, cfg))
		return -EINVAL;
	if (cfg->json && cfg->html && strcmp(cfg->json, "-") == 0 && strcmp(cfg->html, "-") == 0)
		return opts_fail(o, "--html: \"-\" is where --json goes already");
	if (cfg->peer_qemu) {
		if (!bench_peer_exists())
			return opts_fail(o, "--peer: qemu-system-x86_64 is not in PATH");
		cfg->modes[cfg->n_modes++] = (struct bench_mode){.name = "qemu", .peer = true};
	}
	return 0;
}

/* -- measuring -------------------------------------------------------------------------------- */

struct bench {
	const struct bench_cfg *cfg;
	struct bench_outputs *outputs;
	struct cell *cells;
	size_t n;
	uint32_t tsc_khz;
	const struct bench_stop *stop;
	bool progress;
	int failures;
};

static int measure(struct bench_run *run)
{
	switch (run->cell->workload) {
	case BENCH_EVENT:
		return bench_event(run);
	case BENCH_TIMER:
	case BENCH_IPI:
		return run->cell->mode->peer ? bench_peer(run) : bench_guest_samples(run);
	case BENCH_IDLE:
		return bench_idle(run);
	case BENCH_START:
		return bench_start(run);
	case BENCH_MEMORY:
		return bench_memory(run);
	case BENCH_BLK:
		return bench_blk(run);
	case BENCH_ECHO:
		return bench_echo(run);
	case BENCH_NEIGHBOUR:
		return bench_neighbour(run);
	case BENCH_MIX:
		return bench_mix(run);
	case BENCH_COMPUTE:
		return bench_compute(run);
	case BENCH_WORKLOADS:
		break;
	}
	return -1;
}

/* One that does not depend on the mode is said once, and not tried again. */
static void failed(struct bench *b, struct cell *c, const struct bench_run *run)
{
	const char *mode = run->for_all ? "" : c->mode->name;

	c->failed = true;
	b->failures++;
	for (size_t i = 0; run->for_all && i < b->n; i++)
		if (b->cells[i].workload == c->workload &&
		    (b->cells[i].disk == DISK_DIRECT) == (c->disk == DISK_DIRECT))
			b->cells[i].failed = true;
	fprintf(stderr, "%scatnap bench: %s%s%s: %s\n", b->progress ? "\r\033[K" : "",
		workload_name(c->workload), *mode ? " " : "", mode, run->error);
}

static void one_run(struct bench *b, struct cell *c, uint32_t round)
{
	struct bench_run run = {
		.cfg = b->cfg, .stop = b->stop, .cell = c, .tsc_khz = b->tsc_khz, .seed = round};

	if (c->failed || bench_stop_number(b->stop))
		return;
	if (b->progress)
		fprintf(stderr, "\r\033[Kround %u of %u: %s %s", round + 1, b->cfg->rounds,
			workload_name(c->workload), c->mode->name);
	if (measure(&run) < 0 && !bench_stopped(&run))
		failed(b, c, &run);
}

static void run_all(struct bench *b)
{
	/* Condition by condition; in each, rounds in which every mode has its turn, another one
	 * first in each: what comes first in a process finds the host as it was left, and is not as
	 * the others are. */
	for (size_t first = 0, last; first < b->n; first = last) {
		for (last = first;
		     last < b->n && cell_same_condition(&b->cells[first], &b->cells[last]);)
			last++;
		for (uint32_t round = 0; round < b->cfg->rounds; round++)
			for (size_t i = 0, n = last - first; i < n; i++)
				one_run(b, &b->cells[first + (round + i) % n], round);
	}
	if (b->progress)
		fprintf(stderr, "\r\033[K");
}

static int report(struct bench *b, double load)
{
	struct bench_results r = {.cfg = b->cfg,
				  .cells = b->cells,
				  .n = b->n,
				  .tsc_khz = b->tsc_khz,
				  .kvm_run_ns = catnap_host_kvm_run_ns(),
				  .load = load,
				  .interrupted = bench_stop_number(b->stop)};

	return bench_outputs_write(b->outputs, &r);
}

/* Whether a VM can be made with this interrupt controller; if not, @error says why. */
static bool vm_can_be_made(uint32_t irqchip, char *error, size_t size)
{
	struct catnap_vm_config cfg;
	struct catnap_vm *vm;

	catnap_vm_config_init(&cfg);
	cfg.memory_size = GUEST_MEMORY;
	cfg.irqchip = irqchip;
	cfg.kernel_data = probe_image;
	cfg.kernel_size = probe_image_size;
	if (catnap_vm_create(&cfg, &vm) < 0) {
		snprintf(error, size, "%s", catnap_vm_last_error(NULL));
		return false;
	}
	catnap_vm_destroy(&vm);
	return true;
}

static const char *family(const struct bench_mode *mode)
{
	return mode->irqchip == CATNAP_IRQCHIP_USER ? "user" : "kernel";
}

/* What a mode could not do without is looked for once, before all else, and said once. Cells of
 * modes that cannot run have failed; -1: so have all. */
static int look_at_host(struct bench *b)
{
	char error[2][256] = {"", ""};
	bool can[2] = {false, false};
	size_t failed = 0;

	b->tsc_khz = catnap_host_tsc_khz();
	for (size_t i = 0; i < 2; i++)
		can[i] = vm_can_be_made(i ? CATNAP_IRQCHIP_KERNEL : CATNAP_IRQCHIP_USER, error[i],
					sizeof(error[i]));
	if (!can[0] && !can[1] && strcmp(error[0], error[1]) == 0) {
		fprintf(stderr, "catnap bench: %s\n", error[0]);
		return -1;
	}
	if (!b->tsc_khz) {
		fprintf(stderr, "catnap bench: this host's TSC is not invariant: it cannot be "
				"measured by it\n");
		return -1;
	}
	for (size_t i = 0; i < b->n; i++) {
		size_t kind = b->cells[i].mode->irqchip == CATNAP_IRQCHIP_KERNEL;

		if (b->cells[i].mode->peer || can[kind])
			continue;
		if (*error[kind])
			fprintf(stderr, "catnap bench: no %s: mode can run: %s\n",
				family(b->cells[i].mode), error[kind]);
		error[kind][0] = '\0';
		b->cells[i].failed = true;
		failed++;
	}
	b->failures += failed != 0;
	return failed && failed == b->n ? -1 : 0;
}

static int measure_and_report(struct bench *b)
{
	int status = CMD_OK, number;
	double load = 0;

	if (getloadavg(&load, 1) < 1)
		load = -1;
	run_all(b);
	number = bench_stop_number(b->stop);
	if (number)
		fprintf(stderr, "catnap bench: ended by %s: what has been measured follows\n",
			bench_stop_name(number));
	if (report(b, load) != CMD_OK || b->failures)
		status = CMD_ERROR;
	return number ? 128 + number : status;
}

static int bench(const struct bench_cfg *cfg, struct bench_outputs *outputs)
{
	struct bench_stop stop;
	struct bench b = {
		.cfg = cfg, .outputs = outputs, .stop = &stop, .progress = isatty(STDERR_FILENO)};
	int status = CMD_ERROR, ret;

	if (bench_plan(cfg, &b.cells, &b.n) < 0) {
		fprintf(stderr, "catnap bench: out of memory\n");
		goto out;
	}
	if (look_at_host(&b) < 0)
		goto out;
	ret = bench_stop_begin(&stop);
	if (ret < 0) {
		fprintf(stderr, "catnap bench: %s\n", strerror(-ret));
		goto out;
	}
	status = measure_and_report(&b);
	bench_stop_end(&stop);
out:
	for (size_t i = 0; i < b.n; i++) {
		series_free(&b.cells[i].latency);
		series_free(&b.cells[i].signal);
		series_free(&b.cells[i].share);
		series_free(&b.cells[i].round_p50);
		series_free(&b.cells[i].progress);
		series_free(&b.cells[i].alone);
		series_free(&b.cells[i].hog_cpu);
	}
	free(b.cells);
	return status;
}

int cmd_bench(int argc, char **argv)
{
	struct bench_cfg cfg = {
		.samples = 1000, .rounds = 5, .duration_ns = 2000000000, .pin = PIN_ON};
	struct bench_outputs outputs;
	struct opts o;
	int status = opts_command(&o, &command, argc, argv, &cfg);

	if (status < 0) {
		if (check(&o, &cfg) < 0) {
			fprintf(stderr, "%s\n", o.error);
			status = CMD_USAGE;
		} else {
			status = bench_outputs_open(&outputs, &cfg);
			if (status == CMD_OK)
				status = bench(&cfg, &outputs);
			bench_outputs_close(&outputs);
		}
	}
	opts_free(&o);
	return status;
}
