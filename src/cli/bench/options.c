/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of `catnap bench`. The help on workloads, and which options have an effect in which
 * of them, come from the table of workloads.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "cli/bench/workload.h"
#include "cli/cmd.h"
#include "cli/opts.h"

/* -- values ----------------------------------------------------------------------------------- */

static void append(char *buf, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void append(char *buf, size_t size, const char *fmt, ...)
{
	size_t used = strlen(buf);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + used, size - used, fmt, ap);
	va_end(ap);
}

static int set_mode(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct bench_cfg *cfg = ptr;

	if (cfg->n_modes == BENCH_NAMED)
		return opt_fail(o, arg, "is one too many: expected at most %d", BENCH_NAMED);
	for (unsigned int i = 0; i < cfg->n_modes; i++)
		if (strcmp(cfg->modes[i].name, arg->text) == 0)
			return opt_fail(o, arg, "was given twice");
	if (bench_mode_parse(o, arg, arg->text, &cfg->modes[cfg->n_modes]))
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

static int set_rate(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field number = {.type = OPT_U32, .min = 1, .max = 1000000};
	struct bench_cfg *cfg = ptr;

	if (cfg->n_rates == BENCH_RATES)
		return opt_fail(o, arg, "is one too many: expected at most %d", BENCH_RATES);
	if (opt_value(o, arg, &number, &cfg->rates[cfg->n_rates]))
		return -EINVAL;
	for (unsigned int i = 0; i < cfg->n_rates; i++)
		if (cfg->rates[i] == cfg->rates[cfg->n_rates])
			return opt_fail(o, arg, "was given twice");
	cfg->n_rates++;
	return 0;
}

/* Less than the guest of restore writes to cannot be. */
static int set_memory(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field size = {
		.type = OPT_SIZE, .min = BENCH_LEAST_MEMORY, .max = BENCH_MOST_MEMORY};
	struct bench_cfg *cfg = ptr;
	uint64_t *new = &cfg->sizes[cfg->n_sizes];

	if (cfg->n_sizes == BENCH_SIZES)
		return opt_fail(o, arg, "is one too many: expected at most %d", BENCH_SIZES);
	if (opt_value(o, arg, &size, new))
		return -EINVAL;
	if (*new % BENCH_MEMORY_STEP)
		return opt_fail(o, arg, "is no multiple of 1M");
	for (unsigned int i = 0; i < cfg->n_sizes; i++)
		if (cfg->sizes[i] == *new)
			return opt_fail(o, arg, "was given twice");
	cfg->n_sizes++;
	return 0;
}

static int set_peer(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct bench_cfg *cfg = ptr;

	for (int i = BENCH_PEER_QEMU; i < BENCH_PEERS; i++) {
		if (strcmp(arg->text, bench_peer_name((enum bench_peer)i)) != 0)
			continue;
		if (cfg->peers[i])
			return opt_fail(o, arg, "was given twice");
		cfg->peers[i] = true;
		return 0;
	}
	return opt_fail(o, arg, "is not known: expected qemu or kvmtool");
}

static int set_vcpus(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field number = {.type = OPT_U32, .min = 1, .max = BENCH_MOST_VCPUS};
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

/* Writes the names that @name_of knows, "boot, pipe". Returns @buf. */
static const char *all_names(const char *(*name_of)(int number), char *buf, size_t size)
{
	*buf = '\0';
	for (int i = 0; name_of(i); i++)
		append(buf, size, "%s%s", i ? ", " : "", name_of(i));
	return buf;
}

static int set_load(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	const int load = bench_linux_load(arg->text);
	char all[128];

	if (load < 0)
		return opt_fail(o, arg, "is not a load: expected %s",
				all_names(bench_linux_load_name, all, sizeof(all)));
	((struct bench_cfg *)ptr)->loads |= UINT32_C(1) << load;
	return 0;
}

static int set_disk(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	const int disk = bench_blk_disk(arg->text);
	char all[128];

	if (disk < 0)
		return opt_fail(o, arg, "is not a disk: expected %s",
				all_names(bench_blk_disk_name, all, sizeof(all)));
	((struct bench_cfg *)ptr)->disks |= UINT32_C(1) << disk;
	return 0;
}

static const struct opt_word pins[] = {
	{"on", BENCH_PIN_ON}, {"off", BENCH_PIN_OFF}, {"one", BENCH_PIN_ONE}, {NULL, 0}};

static const struct opt_word arrivals[] = {{"both", BENCH_ARRIVALS_BOTH},
					   {"constant", BENCH_ARRIVALS_CONSTANT},
					   {"random", BENCH_ARRIVALS_RANDOM},
					   {NULL, 0}};

/* -- help ------------------------------------------------------------------------------------- */

#define AT(member) offsetof(struct bench_cfg, member)

/* The places of those whose help names workloads. */
enum {
	MODE,
	GAP,
	RATE,
	STALL,
	ARRIVALS,
	SAMPLES,
	ROUNDS,
	DURATION,
	VCPUS,
	REALTIME,
	SIBLING,
	PROCESS,
	PIN,
	CLONES,
	MEMORY,
	KERNEL,
	INITRAMFS,
	LOAD,
	DISK,
	EXITS,
	JSON,
	HTML,
	PEER
};

static const struct opt_def options[] = {
	[MODE] = {.f = {.name = "mode", .type = OPT_CALL, .set = set_mode},
		  .form = "user:POLICY[:BIAS][/vcpu|/thread]|guest:TIME[/HOST][/vcpu|/thread]|"
			  "kernel:TIME|adaptive[:BIAS][/vcpu|/thread]|pm",
		  .def = "all: user:adaptive user:kernel user:always user:fixed user:off kernel:0 "
			 "kernel:200us",
		  .repeat = true},
	[GAP] = {.f = {.name = "gap", .type = OPT_CALL, .set = set_gap},
		 .form = "TIME",
		 .help = "Time between events, at least 1us. May be given several times.",
		 .repeat = true},
	[RATE] = {.f = {.name = "rate", .type = OPT_CALL, .set = set_rate},
		  .form = "N",
		  .repeat = true},
	[STALL] = {.f = {.name = "stall",
			 .type = OPT_TIME,
			 .offset = AT(stall_ns),
			 .min = 1000,
			 .max = 1000000000},
		   .form = "TIME",
		   .help = "With --rate: the guest is stopped once in each round, for this time. "
			   "What that does must show in the figures."},
	[ARRIVALS] = {.f = {.name = "arrivals",
			    .type = OPT_WORD,
			    .offset = AT(arrivals),
			    .words = arrivals},
		      .form = "constant|random|both",
		      .help = "Gaps all equal, or random around the gap.",
		      .def = "both"},
	[SAMPLES] = {.f = {.name = "samples",
			   .type = OPT_U32,
			   .offset = AT(samples),
			   .min = 1,
			   .max = 100000},
		     .form = "N",
		     .help = "Events in each round.",
		     .def = "1000"},
	[ROUNDS] = {.f = {.name = "rounds",
			  .type = OPT_U32,
			  .offset = AT(rounds),
			  .min = 1,
			  .max = 1000},
		    .form = "N",
		    .help = "How often the modes take turns.",
		    .def = "5"},
	[DURATION] = {.f = {.name = "duration",
			    .type = OPT_TIME,
			    .offset = AT(duration_ns),
			    .min = 1000000,
			    .max = UINT64_C(3600000000000)},
		      .form = "TIME",
		      .def = "2s"},
	[VCPUS] = {.f = {.name = "vcpus", .type = OPT_CALL, .set = set_vcpus},
		   .form = "N",
		   .repeat = true},
	[REALTIME] = {.f = {.name = "realtime", .type = OPT_SWITCH, .offset = AT(realtime)},
		      .form = "on|off",
		      .def = "off"},
	[SIBLING] = {.f = {.name = "sibling", .type = OPT_SWITCH, .offset = AT(sibling)},
		     .form = "on|off",
		     .def = "off"},
	[PROCESS] = {.f = {.name = "process", .type = OPT_CALL, .set = set_process},
		     .form = "KIND[,KEY=VALUE...]",
		     .def = "constant, poisson, bursty, bimodal, pareto,max=100ms, tick",
		     .repeat = true,
		     .list = true},
	[PIN] = {.f = {.name = "pin", .type = OPT_WORD, .offset = AT(pin), .words = pins},
		 .form = "on|off|one",
		 .def = "on"},
	[CLONES] = {.f = {.name = "clones",
			  .type = OPT_U32,
			  .offset = AT(clones),
			  .min = 1,
			  .max = 10000},
		    .form = "N",
		    .def = "none"},
	[MEMORY] = {.f = {.name = "memory", .type = OPT_CALL, .set = set_memory},
		    .form = "SIZE",
		    .def = "128M, 8G",
		    .repeat = true},
	[KERNEL] = {.f = {.name = "kernel", .type = OPT_STRING, .offset = AT(kernel)},
		    .form = "FILE",
		    .def = "that of guest-images/rootfs/build --bench"},
	[INITRAMFS] = {.f = {.name = "initramfs", .type = OPT_STRING, .offset = AT(initramfs)},
		       .form = "FILE",
		       .def = "that of guest-images/rootfs/build --bench"},
	[LOAD] = {.f = {.name = "load", .type = OPT_CALL, .set = set_load},
		  .form = "NAME",
		  .def = "all",
		  .repeat = true},
	[DISK] = {.f = {.name = "disk", .type = OPT_CALL, .set = set_disk},
		  .form = "NAME",
		  .def = "id, tmpfs, direct",
		  .repeat = true},
	[EXITS] = {.f = {.name = "exits", .type = OPT_FLAG, .offset = AT(exits)}},
	[JSON] = {.f = {.name = "json", .type = OPT_STRING, .offset = AT(json)},
		  .form = "FILE|-",
		  .help = "Writes the results as JSON too; with -, instead of the table."},
	[HTML] = {.f = {.name = "html", .type = OPT_STRING, .offset = AT(html)},
		  .form = "FILE|-",
		  .help = "Writes a report with pictures, one page that needs nothing else; with "
			  "-, instead of the table."},
	[PEER] = {.f = {.name = "peer", .type = OPT_CALL, .set = set_peer},
		  .form = "qemu|kvmtool",
		  .repeat = true},
	{.f = {.name = NULL}},
};

#define HELP_SIZE 1024

/* The table of options with all that help says; the strings are in it. */
struct help {
	struct opt_def options[sizeof(options) / sizeof(options[0])];
	struct opt_command command;
	char of[sizeof(options) / sizeof(options[0])][HELP_SIZE];
	char gaps[128], vcpus[128], notes[4096];
};

static void say(struct help *h, unsigned int option, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void say(struct help *h, unsigned int option, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(h->of[option], sizeof(h->of[option]), fmt, ap);
	va_end(ap);
	h->options[option].help = h->of[option];
}

static const char *names(uint32_t options_bits, char *buf, size_t size)
{
	return bench_workload_names(bench_workloads_with(options_bits), ", ", buf, size);
}

/* Writes "20us, 50us, 200us; timer also 1ms". */
static void default_gaps(struct help *h)
{
	append(h->gaps, sizeof(h->gaps), "20us, 50us, 200us");
	for (unsigned int row = 0; row < bench_n_workloads; row++)
		if (bench_workloads[row]->gaps_help)
			append(h->gaps, sizeof(h->gaps), "; %s %s", bench_workloads[row]->name,
			       bench_workloads[row]->gaps_help);
	h->options[GAP].def = h->gaps;
}

/* Writes "neighbour 1, 2, 4; compute 1, 2". */
static void default_vcpus(struct help *h)
{
	for (unsigned int row = 0; row < bench_n_workloads; row++) {
		const struct bench_workload *w = bench_workloads[row];
		const char *between = " ";

		if (!(w->options & BENCH_OPT_VCPUS))
			continue;
		append(h->vcpus, sizeof(h->vcpus), "%s%s", *h->vcpus ? "; " : "", w->name);
		for (unsigned int n = 1; n <= BENCH_VCPUS; n++) {
			if (!(w->vcpus >> n & 1))
				continue;
			append(h->vcpus, sizeof(h->vcpus), "%s%u", between, n);
			between = ", ";
		}
	}
	h->options[VCPUS].def = h->vcpus;
}

static void say_vcpus(struct help *h)
{
	char text[256] = "";

	for (unsigned int row = 0; row < bench_n_workloads; row++)
		if (bench_workloads[row]->options & BENCH_OPT_VCPUS)
			append(text, sizeof(text), "%s: %s; ", bench_workloads[row]->name,
			       bench_workloads[row]->vcpus_help);
	say(h, VCPUS, "%s1 to %d, idle to %d. May be given several times.", text, BENCH_VCPUS,
	    BENCH_MOST_VCPUS);
	default_vcpus(h);
}

static void say_all(struct help *h)
{
	char some[128], others[128];

	say(h, MODE,
	    "A way to halt: in catnap by a policy (adaptive, kernel, always, fixed, off; "
	    "adaptive:latency and adaptive:power: with that bias), or in KVM, polling for this "
	    "time at most, or for a time that is learned (kernel:adaptive); pm: HLT stays in the "
	    "guest; guest:TIME[,KEY=VALUE...] (%s; keys grow, grow-start, shrink, "
	    "allow-shrink): the guest polls before it halts, as Linux's haltpoll, for this time at "
	    "most, and its host (HOST: off, the default, break-even, learned) after that; %s: "
	    "/vcpu, the default of user and guest modes, or /thread, that of kernel modes, runs "
	    "the devices. May be given several times.",
	    names(BENCH_OPT_GUEST, others, sizeof(others)),
	    names(BENCH_OPT_DEVICES, some, sizeof(some)));
	say(h, DURATION, "%s, load memcached, and with --rate: how long each round lasts.",
	    names(BENCH_OPT_DURATION, some, sizeof(some)));
	say(h, REALTIME,
	    "%s: the virtual machines are started in a real-time class; the hog is in the ordinary "
	    "one.",
	    names(BENCH_OPT_REALTIME, some, sizeof(some)));
	say(h, SIBLING,
	    "%s: the hog is on the SMT sibling of the virtual CPUs' processor, and not on it.",
	    names(BENCH_OPT_SIBLING, some, sizeof(some)));
	say(h, RATE,
	    "%s: offers so many events in a second, each when it is due, instead of one after the "
	    "other; latency is from then. 1 to 1000000. May be given several times.",
	    names(BENCH_OPT_RATE, some, sizeof(some)));
	say(h, PROCESS,
	    "%s: an arrival process, in the words of replay's --generate. May be given several "
	    "times.",
	    names(BENCH_OPT_PROCESS, some, sizeof(some)));
	say(h, PIN,
	    "Ties the sender and the vCPUs to processors of their own (%s); one: all threads of "
	    "the guest to one processor (%s).",
	    names(BENCH_OPT_PIN, some, sizeof(some)),
	    names(BENCH_OPT_PIN_ONE, others, sizeof(others)));
	say(h, KERNEL, "%s: the guest's kernel, a stock Debian one with what its modules need.",
	    names(BENCH_OPT_LINUX, some, sizeof(some)));
	say(h, INITRAMFS, "%s: the initramfs for it, with the init of guest-images/rootfs.",
	    names(BENCH_OPT_LINUX, some, sizeof(some)));
	say(h, LOAD,
	    "%s: one of boot, pipe, timer, read, tcp, udp, hack, sched, fork, memcached. May be "
	    "given "
	    "several times.",
	    names(BENCH_OPT_LINUX, some, sizeof(some)));
	say(h, DISK,
	    "%s: one of %s. Those of vhost-user are served by qemu-storage-daemon, on a processor "
	    "of "
	    "its own; with reconnect it is told to cache nothing. May be given several times.",
	    names(BENCH_OPT_DISK, some, sizeof(some)),
	    all_names(bench_blk_disk_name, others, sizeof(others)));
	say(h, EXITS,
	    "%s: counts exits, injected interrupts, signals and context switches of an operation, "
	    "by KVM's own counters.",
	    names(BENCH_OPT_LINUX, some, sizeof(some)));
	say(h, PEER,
	    "Measures another monitor with the same image as well: qemu, its microvm (%s), or "
	    "kvmtool (%s). May be given several times.",
	    names(BENCH_OPT_PEER, some, sizeof(some)),
	    names(BENCH_OPT_LINUX, others, sizeof(others)));
	say(h, CLONES, "%s: so many of one snapshot run at once as well.",
	    names(BENCH_OPT_RESTORE, some, sizeof(some)));
	say(h, MEMORY,
	    "%s: the guest's memory, 128M to 8G. May be given several times: copy and --clones are "
	    "measured with each then, and else with the first.",
	    names(BENCH_OPT_RESTORE, some, sizeof(some)));
	say_vcpus(h);
	default_gaps(h);
}

/* Lists the workloads: a line for each, and further ones below its text. */
static void list_workloads(char *buf, size_t size)
{
	for (unsigned int row = 0; row < bench_n_workloads; row++) {
		const char *line = bench_workloads[row]->help, *name = bench_workloads[row]->name;

		while (*line) {
			int len = (int)strcspn(line, "\n");

			append(buf, size, "  %-9s  %.*s\n", name, len, line);
			line += len + (line[len] == '\n');
			name = "";
		}
	}
}

/* For completion. */
static bool argument(char *const *args, size_t n, struct opt_def *value, char *buf, size_t size)
{
	(void)args;
	(void)n;
	*buf = '\0';
	for (unsigned int row = 0; row < bench_n_workloads; row++)
		append(buf, size, "%s%s", row ? "|" : "", bench_workloads[row]->name);
	value->form = buf;
	return true;
}

static void help_init(struct help *h)
{
	char some[128];

	*h = (struct help){.command = {.name = "bench",
				       .synopsis = "[OPTIONS] [WORKLOAD ...]",
				       .summary = "Measures wake-up latency and processor time on "
						  "this host, halting in user space beside halting "
						  "in the kernel.",
				       .options = h->options,
				       .notes = h->notes,
				       .arg_name = "WORKLOAD",
				       .max_args = bench_n_workloads,
				       .argument = argument}};
	memcpy(h->options, options, sizeof(options));
	say_all(h);
	append(h->notes, sizeof(h->notes), "Workloads (without one: %s):\n",
	       bench_workload_names(bench_workloads_by_default(), " and ", some, sizeof(some)));
	list_workloads(h->notes, sizeof(h->notes));
	append(h->notes, sizeof(h->notes),
	       "\n"
	       "Ctrl-C ends it; what has been measured until then is reported. Exit status: 0 all "
	       "was measured; 1 something could not be; 2 wrong command line; 129, 130 or 143 "
	       "ended by SIGHUP, Ctrl-C or SIGTERM.\n");
}

/* -- the command line as a whole -------------------------------------------------------------- */

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

static void default_sizes(struct bench_cfg *cfg)
{
	cfg->all_of_each_size = cfg->n_sizes > 0;
	if (cfg->n_sizes)
		return;
	cfg->sizes[cfg->n_sizes++] = BENCH_LEAST_MEMORY;
	cfg->sizes[cfg->n_sizes++] = BENCH_MOST_MEMORY;
}

static uint32_t every_workload(void)
{
	uint32_t rows = 0;

	for (unsigned int i = 0; i < bench_n_workloads; i++)
		rows = rows << 1 | 1;
	return rows;
}

static int choose_workloads(struct opts *o, struct bench_cfg *cfg)
{
	char all[256];

	for (unsigned int i = 0; i < o->n_args; i++) {
		const struct bench_workload *w = bench_workload_find(o->args[i]);

		if (!w)
			return opts_fail(o, "\"%.40s\" is not a workload: expected %s", o->args[i],
					 bench_workload_names(every_workload(), " or ", all,
							      sizeof(all)));
		cfg->workloads |= UINT32_C(1) << bench_workload_row(w);
	}
	if (!o->n_args)
		cfg->workloads = bench_workloads_by_default();
	return 0;
}

static int add_peers(struct opts *o, struct bench_cfg *cfg)
{
	for (int i = BENCH_PEER_QEMU; i < BENCH_PEERS; i++) {
		const enum bench_peer peer = (enum bench_peer)i;

		if (!cfg->peers[i])
			continue;
		if (!bench_peer_exists(peer))
			return opts_fail(o, "--peer: %s: %s is not in PATH", bench_peer_name(peer),
					 bench_peer_program(peer));
		cfg->modes[cfg->n_modes++] =
			(struct bench_mode){.name = bench_peer_name(peer), .peer = peer};
	}
	return 0;
}

static int check(struct opts *o, struct bench_cfg *cfg)
{
	if (choose_workloads(o, cfg))
		return -EINVAL;
	if (!opts_given(o, "mode") && bench_modes_default(o, cfg))
		return -EINVAL;
	if (!opts_given(o, "process") && default_processes(o, cfg))
		return -EINVAL;
	default_sizes(cfg);
	if (bench_check_effects(o, cfg))
		return -EINVAL;
	if (cfg->json && cfg->html && strcmp(cfg->json, "-") == 0 && strcmp(cfg->html, "-") == 0)
		return opts_fail(o, "--html: \"-\" is where --json goes already");
	return add_peers(o, cfg);
}

int bench_options(struct opts *o, int argc, char **argv, struct bench_cfg *cfg)
{
	struct help help;
	int status;

	help_init(&help);
	status = opts_command(o, &help.command, argc, argv, cfg);
	if (status < 0 && check(o, cfg) < 0) {
		fprintf(stderr, "%s\n", o->error);
		status = CMD_USAGE;
	}
	o->cmd = NULL;
	return status;
}
