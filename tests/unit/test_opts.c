/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The option parser: what it takes, and that each refusal says which option, key and value it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <catnap/catnap.h>
#include "cli/opts_guest.h"

struct disk {
	const char *path;
	bool readonly;
	uint32_t queues;
};

struct cfg {
	const char *kernel, *cmdline;
	uint32_t cpus;
	uint64_t memory, timeout, number;
	int color;
	bool quiet, rng;
	double ratio;
	struct disk disks[2];
	unsigned n_disks;
	struct catnap_halt_poll halt_poll;
	int vcpu;
};

#define AT(member) offsetof(struct cfg, member)

static const struct opt_field disk_keys[] = {
	{.name = "path",
	 .type = OPT_STRING,
	 .offset = offsetof(struct disk, path),
	 .required = true},
	{.name = "readonly", .type = OPT_SWITCH, .offset = offsetof(struct disk, readonly)},
	{.name = "queues",
	 .type = OPT_U32,
	 .offset = offsetof(struct disk, queues),
	 .min = 1,
	 .max = 64},
	{.name = NULL},
};

static int set_disk(struct opts *o, const struct opt_arg *arg, void *cfg)
{
	struct cfg *c = cfg;
	struct disk disk = {.queues = 1};

	if (c->n_disks == 2)
		return opt_fail(o, arg, "is one too many: expected at most 2");
	if (opt_keys(o, arg, disk_keys, &disk))
		return -1;
	c->disks[c->n_disks++] = disk;
	return 0;
}

static int set_halt_poll(struct opts *o, const struct opt_arg *arg, void *cfg)
{
	struct cfg *c = cfg;

	struct opt_halt_poll_more more;
	int ret;

	catnap_halt_poll_init(&c->halt_poll);
	ret = opt_halt_poll_vcpu(o, arg, 4, &c->halt_poll, &more);
	if (ret == 0)
		c->vcpu = more.vcpu;
	return ret;
}

static const struct opt_word colors[] = {{"red", 7}, {"green", 8}, {NULL, 0}};

static const struct opt_def options[] = {
	{.f = {.name = "kernel", .type = OPT_STRING, .offset = AT(kernel)},
	 .letter = 'k',
	 .form = "PATH",
	 .help = "The kernel."},
	{.f = {.name = "cmdline", .type = OPT_TEXT, .offset = AT(cmdline)},
	 .form = "STRING",
	 .help = "Its command line."},
	{.f = {.name = "cpus", .type = OPT_U32, .offset = AT(cpus), .min = 1, .max = 64},
	 .form = "N",
	 .help = "How many."},
	{.f = {.name = "memory",
	       .type = OPT_SIZE,
	       .offset = AT(memory),
	       .min = 1 << 20,
	       .max = UINT64_C(1) << 40},
	 .letter = 'm',
	 .form = "SIZE",
	 .help = "How much."},
	{.f = {.name = "timeout", .type = OPT_TIME, .offset = AT(timeout)},
	 .form = "TIME",
	 .help = "How long."},
	{.f = {.name = "number", .type = OPT_U64, .offset = AT(number)},
	 .form = "N",
	 .help = "Any."},
	{.f = {.name = "color", .type = OPT_WORD, .offset = AT(color), .words = colors},
	 .form = "red|green",
	 .help = "Which."},
	{.f = {.name = "quiet", .type = OPT_FLAG, .offset = AT(quiet)},
	 .letter = 'q',
	 .help = "Hush."},
	{.f = {.name = "rng", .type = OPT_SWITCH, .offset = AT(rng)},
	 .form = "on|off",
	 .help = "Dice."},
	{.f = {.name = "ratio", .type = OPT_REAL, .offset = AT(ratio), .max = 10},
	 .form = "X",
	 .help = "A decimal."},
	{.f = {.name = "disk", .type = OPT_CALL, .set = set_disk},
	 .letter = 'd',
	 .form = "path=P[,readonly=on][,queues=N]",
	 .help = "A disk.",
	 .repeat = true,
	 .list = true},
	{.f = {.name = "halt-poll", .type = OPT_CALL, .set = set_halt_poll},
	 .form = "policy=...",
	 .help = "Halt polling.",
	 .list = true},
	{.f = {.name = NULL}},
};

static const struct opt_command command = {
	.name = "test",
	.synopsis = "[OPTIONS] [FILE]",
	.summary = "A command.",
	.options = options,
	.arg_name = "FILE",
	.max_args = 1,
};

static struct cfg cfg;
static struct opts opts;

/* Splits @line at '|' and parses it; the result is in cfg and opts. */
static int parse(const char *line)
{
	static char buf[512];
	char *argv[16] = {(char *)"test"}, *rest = buf;
	int argc = 1;

	opts_free(&opts);
	cfg = (struct cfg){.vcpu = -2};
	snprintf(buf, sizeof(buf), "%s", line);
	while (rest && *line)
		argv[argc++] = strsep(&rest, "|");
	return opts_parse(&opts, &command, argc, argv, &cfg);
}

static void takes(const char *line)
{
	if (parse(line))
		fail_msg("%s: refused: %s", line, opts.error);
}

static void refuses(const char *line, const char *error)
{
	char want[OPTS_ERROR_SIZE];

	if (parse(line) == 0)
		fail_msg("%s: taken", line);
	snprintf(want, sizeof(want), "catnap test: %s", error);
	assert_string_equal(opts.error, want);
}

static void forms_of_options(void **state)
{
	takes("");
	assert_null(cfg.kernel);
	takes("--kernel|a");
	assert_string_equal(cfg.kernel, "a");
	assert_true(opts_given(&opts, "kernel"));
	assert_false(opts_given(&opts, "cpus"));
	takes("--kernel=a=b,c");
	assert_string_equal(cfg.kernel, "a=b,c");
	takes("-k|a");
	assert_string_equal(cfg.kernel, "a");
	takes("-ka");
	assert_string_equal(cfg.kernel, "a");
	takes("--cmdline=");
	assert_string_equal(cfg.cmdline, "");
	takes("--cmdline|-q");
	assert_string_equal(cfg.cmdline, "-q");
	assert_false(cfg.quiet);
}

static void arguments(void **state)
{
	takes("f");
	assert_int_equal(opts.n_args, 1);
	assert_string_equal(opts.args[0], "f");
	takes("-|-q");
	assert_string_equal(opts.args[0], "-");
	assert_true(cfg.quiet);
	takes("-q|--|--kernel");
	assert_string_equal(opts.args[0], "--kernel");
	takes("--|-");
	assert_string_equal(opts.args[0], "-");
	refuses("a|b", "\"b\" is one argument too many: expected only FILE");
	takes("--help|--nonsense");
	assert_true(opts.help);
	takes("-h");
	assert_true(opts.help);
}

static void numbers(void **state)
{
	takes("--cpus|64");
	assert_int_equal(cfg.cpus, 64);
	takes("--cpus|0x10");
	assert_int_equal(cfg.cpus, 16);
	takes("--number|18446744073709551615");
	assert_true(cfg.number == UINT64_MAX);
	takes("--number|0xffffffffffffffff");
	assert_true(cfg.number == UINT64_MAX);
	takes("--ratio|1.25");
	assert_true(cfg.ratio > 1.249 && cfg.ratio < 1.251);
	refuses("--cpus|0", "--cpus: \"0\" is out of range: expected 1 to 64");
	refuses("--cpus|65", "--cpus: \"65\" is out of range: expected 1 to 64");
	refuses("--cpus|4294967297", "--cpus: \"4294967297\" is out of range: expected 1 to 64");
	refuses("--cpus|99999999999999999999",
		"--cpus: \"99999999999999999999\" is out of range: expected 1 to 64");
	refuses("--cpus|2x", "--cpus: \"2x\" is not a number: expected 1 to 64");
	refuses("--cpus|+2", "--cpus: \"+2\" is not a number: expected 1 to 64");
	refuses("--cpus|-2", "--cpus: \"-2\" is not a number: expected 1 to 64");
	refuses("--cpus| 2", "--cpus: \" 2\" is not a number: expected 1 to 64");
	refuses("--cpus|0x", "--cpus: \"0x\" is not a number: expected 1 to 64");
	refuses("--cpus=", "--cpus: \"\" is empty: expected a value");
	refuses("--number|18446744073709551616",
		"--number: \"18446744073709551616\" is out of range: expected a number below 2^64");
	refuses("--ratio|1e3", "--ratio: \"1e3\" is not a decimal number: expected 0 to 10");
	refuses("--ratio|nan", "--ratio: \"nan\" is not a decimal number: expected 0 to 10");
	refuses("--ratio|.", "--ratio: \".\" is not a decimal number: expected 0 to 10");
	refuses("--ratio|10.1", "--ratio: \"10.1\" is out of range: expected 0 to 10");
}

static void sizes_and_times(void **state)
{
	takes("-m|2G");
	assert_true(cfg.memory == UINT64_C(2) << 30);
	takes("-m1024k");
	assert_int_equal(cfg.memory, 1 << 20);
	takes("-m1T");
	assert_true(cfg.memory == UINT64_C(1) << 40);
	takes("--timeout|3s");
	assert_true(cfg.timeout == UINT64_C(3000000000));
	takes("--timeout|200us");
	assert_int_equal(cfg.timeout, 200000);
	takes("--timeout|7ns");
	assert_int_equal(cfg.timeout, 7);
	takes("--timeout|0");
	assert_int_equal(cfg.timeout, 0);
	refuses("--timeout|7",
		"--timeout: \"7\" has no unit: expected ns, us, ms or s after the number, "
		"as in 500ns, 200us, 5ms or 1s");
	refuses("-m|4096", "--memory: \"4096\" is out of range: expected 1M to 1T");
	refuses("-m|17592186044416M",
		"--memory: \"17592186044416M\" is out of range: expected 1M to 1T");
	refuses("-m|1GB",
		"--memory: \"1GB\" is not a size: expected 1M to 1T, as in 4096, 64K, 512M "
		"or 2G");
	refuses("-m|G",
		"--memory: \"G\" is not a size: expected 1M to 1T, as in 4096, 64K, 512M or 2G");
	refuses("--timeout|1m",
		"--timeout: \"1m\" is not a time: expected a time below 2^64 ns, as in "
		"500ns, 200us, 5ms or 1s");
	refuses("--timeout|18446744074s",
		"--timeout: \"18446744074s\" is out of range: expected a time below 2^64 ns");
}

static void words_and_switches(void **state)
{
	takes("--color|green|--rng=on");
	assert_int_equal(cfg.color, 8);
	assert_true(cfg.rng);
	refuses("--color|blue", "--color: \"blue\" is unknown: expected red or green");
	refuses("--rng|yes", "--rng: \"yes\" is unknown: expected on or off");
	refuses("--quiet=1", "--quiet: takes no value: expected --quiet alone");
	refuses("--help=1", "--help: takes no value: expected --help alone");
}

static void wrong_options(void **state)
{
	refuses("--cpu|1", "--cpu: unknown option: expected --cpus?");
	refuses("--mem|1", "--mem: unknown option: expected --memory?");
	refuses("--zzzz", "--zzzz: unknown option: expected one of those in catnap test --help");
	refuses("--=x", "--: unknown option: expected one of those in catnap test --help");
	refuses("-z", "-z: unknown option: expected one of those in catnap test --help");
	refuses("--kernel", "--kernel: the value is missing: expected --kernel PATH");
	refuses("--kernel|--cpus|1", "--kernel: the value is missing: expected --kernel PATH");
	takes("--kernel=--cpus");
	refuses("--cpus|1|--cpus|1", "--cpus: given twice: expected once");
	refuses("-k|a|--kernel=b", "--kernel: given twice: expected once");
	refuses("--cpus|1\n2", "--cpus: \"1\\x0a2\" is not a number: expected 1 to 64");
}

static void keys(void **state)
{
	takes("-d|a.img,readonly=on,queues=4|--disk=queues=2,path=./x=y");
	assert_int_equal(cfg.n_disks, 2);
	assert_string_equal(cfg.disks[0].path, "a.img");
	assert_true(cfg.disks[0].readonly);
	assert_int_equal(cfg.disks[0].queues, 4);
	assert_string_equal(cfg.disks[1].path, "./x=y");
	takes("-d|./x=y");
	assert_string_equal(cfg.disks[0].path, "./x=y");
	refuses("-d|a|-d|b|-d|c", "--disk: \"c\" is one too many: expected at most 2");
	refuses("-d|a,queues=0", "--disk: queues: \"0\" is out of range: expected 1 to 64");
	refuses("-d|a,queues=", "--disk: queues: \"\" is empty: expected a value");
	refuses("-d|path=", "--disk: path: \"\" is empty: expected a value");
	refuses("-d|a,b", "--disk: \"b\" is not key=value: expected a key such as readonly=");
	refuses("-d|a,readonly=on,readonly=on",
		"--disk: readonly: \"on\" is a second value: expected readonly once");
	refuses("-d|a,path=b", "--disk: path: \"b\" is a second value: expected path once");
	refuses("-d|a,cache=on",
		"--disk: \"cache\" is an unknown key: expected path, readonly or queues");
	refuses("-d|readonly=on", "--disk: \"readonly=on\" has no path: expected path=...");
	refuses("-d|a,", "--disk: \"a,\" has an empty item: expected key=value,key=value");
	refuses("--disk=", "--disk: \"\" is empty: expected path=...");
}

/* Tests the use of double quotes in a list. */
static void quotes_in_lists(void **state)
{
	static const struct {
		const char *value, *path;
		uint32_t queues;
	} taken[] = {
		{"\"a,b\"", "a,b", 1},
		{"path=\"a,b\"", "a,b", 1},
		{"path=\"a,b\",queues=2", "a,b", 2},
		{"queues=2,path=\"a,b\"", "a,b", 2},
		{"\"a,queues=3\",queues=2", "a,queues=3", 2},
		{"queues=\"2\",path=a", "a", 2},
		/* Any part of a value; the rest of it may follow. */
		{"path=/x/\"a,b\"/c", "/x/a,b/c", 1},
		{"path=\"a,\"\",b\"", "a,\",b", 1},
		/* One that is meant. */
		{"path=\"a\"\"b\"", "a\"b", 1},
		{"path=\"\"\"\"", "\"", 1},
		{"path=\"\"\"a\"\"\"", "\"a\"", 1},
		{"path=a\"\"b", "ab", 1},
		/* Quoted text is no key. */
		{"\"path=x\"", "path=x", 1},
		{"\"path\"=x", "path=x", 1},
		{"\"a=b,c\"", "a=b,c", 1},
		{"path=\" [a] \\ 'b' \",queues=1", " [a] \\ 'b' ", 1},
	};
	static const struct {
		const char *value, *error;
	} refused[] = {
		{"path=\"a", "--disk: \"path=\"a\" has a double quote"},
		{"path=a\"", "--disk: \"path=a\"\" has a double quote"},
		{"\"", "--disk: \"\"\" has a double quote"},
		{"\"\"\"", "--disk: \"\"\"\"\" has a double quote"},
		{"path=\"a,queues=2", "--disk: \"path=\"a,queues=2\" has a double quote"},
		{"a,queues=\"2", "--disk: \"a,queues=\"2\" has a double quote"},
		{"\"a\",cache=1,queues=\"", "has a double quote"},
		{"path=\"\"", "--disk: path: \"\" is empty"},
		{"\"\"", "--disk: path: \"\" is empty"},
		{"\"a\",\"queues=2\"", "--disk: \"queues=2\" is not key=value"},
		{"\"a\",", "--disk: \"\"a\",\" has an empty item"},
		{"\"a\",,queues=2", "--disk: \"\"a\",,queues=2\" has an empty item"},
		{"a,queues=\"2,3\"", "--disk: queues: \"2,3\" is not a number"},
	};
	char line[128];

	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		snprintf(line, sizeof(line), "-d|%s", taken[i].value);
		takes(line);
		assert_string_equal(cfg.disks[0].path, taken[i].path);
		assert_int_equal(cfg.disks[0].queues, taken[i].queues);
	}
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		snprintf(line, sizeof(line), "-d|%s", refused[i].value);
		assert_int_not_equal(parse(line), 0);
		if (!strstr(opts.error, refused[i].error))
			fail_msg("%s: %s", line, opts.error);
	}
	takes("--halt-poll|\"kernel\",max=\"50us\"");
	assert_int_equal(cfg.halt_poll.policy, CATNAP_POLICY_KERNEL);
	assert_int_equal(cfg.halt_poll.max_ns, 50000);
}

/* And elsewhere: the same, but for a text that is somebody else's. */
static void quotes_elsewhere(void **state)
{
	takes("--kernel|\"a,b\"");
	assert_string_equal(cfg.kernel, "a,b");
	takes("--kernel=a,b");
	assert_string_equal(cfg.kernel, "a,b");
	takes("-k/x/\"a\"\"b,c\"");
	assert_string_equal(cfg.kernel, "/x/a\"b,c");
	takes("--cpus|\"3\"|-m\"2M\"|--rng|\"on\"|--color|\"red\"|--timeout|\"5s\"");
	assert_int_equal(cfg.cpus, 3);
	assert_int_equal(cfg.memory, 2 << 20);
	assert_true(cfg.timeout == UINT64_C(5000000000));
	takes("--cmdline|a=\"b c\" d=\"e");
	assert_string_equal(cfg.cmdline, "a=\"b c\" d=\"e");
	takes("a\"b");
	assert_string_equal(opts.args[0], "a\"b");
	refuses("--kernel|\"\"", "--kernel: \"\" is empty: expected a value");
	refuses("--kernel|a\"b",
		"--kernel: \"a\"b\" has a double quote that is not closed: expected a "
		"pair, and \"\" in it for one that is meant");
	takes("--kernel|\"x,y\"");
	assert_string_equal(cfg.kernel, "x,y");
}

static void halt_poll(void **state)
{
	takes("--halt-poll|kernel,max=50us,grow=3,grow-start=1us,shrink=0");
	assert_int_equal(cfg.halt_poll.policy, CATNAP_POLICY_KERNEL);
	assert_int_equal(cfg.halt_poll.max_ns, 50000);
	assert_int_equal(cfg.halt_poll.grow, 3);
	assert_int_equal(cfg.halt_poll.grow_start_ns, 1000);
	assert_int_equal(cfg.halt_poll.shrink, 0);
	assert_int_equal(cfg.vcpu, -1);
	takes("--halt-poll|vcpu=3,policy=always");
	assert_int_equal(cfg.halt_poll.policy, CATNAP_POLICY_ALWAYS);
	assert_int_equal(cfg.vcpu, 3);
	takes("--halt-poll|max=4294967295ns");
	assert_true(cfg.halt_poll.max_ns == UINT32_MAX);
	refuses("--halt-poll|vcpu=4", "--halt-poll: vcpu: \"4\" is out of range: expected 0 to 3");
	refuses("--halt-poll|max=4294967296ns",
		"--halt-poll: max: \"4294967296ns\" is out of range: expected 0 to 4294967295 ns");
	refuses("--halt-poll|max=5s",
		"--halt-poll: max: \"5s\" is out of range: expected 0 to 4294967295 ns");
	refuses("--halt-poll|adaptiv", "--halt-poll: policy: \"adaptiv\" is unknown: expected "
				       "adaptive, kernel, fixed, always or off");
	refuses("--halt-poll|tea=3",
		"--halt-poll: \"tea\" is an unknown key: expected policy, "
		"max, grow, grow-start, shrink, bias, cpu-max, vcpu, group or spin");
	takes("--halt-poll|group=on");
	assert_int_equal(cfg.halt_poll.group, 1);
	takes("--halt-poll|kernel");
	assert_int_equal(cfg.halt_poll.group, 0);
	refuses("--halt-poll|group=2", "--halt-poll: group: \"2\" is unknown: expected on or off");
	takes("--halt-poll|cpu-max=5%");
	assert_int_equal(cfg.halt_poll.cpu_max, 500);
	takes("--halt-poll|cpu-max=0.25");
	assert_int_equal(cfg.halt_poll.cpu_max, 25);
	takes("--halt-poll|cpu-max=0.001%");
	assert_int_equal(cfg.halt_poll.cpu_max, 1);
	refuses("--halt-poll|cpu-max=101%", "--halt-poll: cpu-max: \"101%\" is not a percentage: "
					    "expected 0% to 100%");
	refuses("--halt-poll|cpu-max=%",
		"--halt-poll: cpu-max: \"%\" is not a percentage: expected 0% to 100%");
	refuses("--halt-poll|cpu-max=",
		"--halt-poll: cpu-max: \"\" is not a percentage: expected 0% to 100%");
	refuses("--halt-poll|bias=low",
		"--halt-poll: bias: \"low\" is unknown: expected latency, balanced or power");
	/* The default of max is the policy's. */
	takes("--halt-poll|adaptive,bias=power");
	assert_int_equal(cfg.halt_poll.policy, CATNAP_POLICY_ADAPTIVE);
	assert_int_equal(cfg.halt_poll.bias, CATNAP_BIAS_POWER);
	assert_int_equal(cfg.halt_poll.max_ns, CATNAP_ADAPTIVE_MAX_NS);
	takes("--halt-poll|max=200us,policy=adaptive");
	assert_int_equal(cfg.halt_poll.max_ns, 200000);
	takes("--halt-poll|vcpu=0,bias=latency");
	assert_int_equal(cfg.halt_poll.bias, CATNAP_BIAS_LATENCY);
	assert_int_equal(cfg.halt_poll.policy, CATNAP_POLICY_ADAPTIVE);
	assert_int_equal(cfg.halt_poll.max_ns, CATNAP_ADAPTIVE_MAX_NS);
	takes("--halt-poll|fixed");
	assert_int_equal(cfg.halt_poll.max_ns, CATNAP_KERNEL_MAX_NS);
	takes("--halt-poll|kernel,max=3ms");
	assert_int_equal(cfg.halt_poll.max_ns, 3000000);
	assert_string_equal(opt_policy_name(CATNAP_POLICY_OFF), "off");
	assert_null(opt_policy_name(99));
}

/* As from a configuration file. */
struct guest_poll {
	uint32_t ns, grow, grow_start_ns, shrink;
	int allow_shrink, host;
};

static const struct opt_field guest_poll_keys[] = {
	{.name = "ns", .type = OPT_TIME32, .offset = offsetof(struct guest_poll, ns)},
	OPT_GUEST_POLL_KEYS(struct guest_poll, GUEST_POLL_MAX),
	OPT_GUEST_POLL_HOST(struct guest_poll),
	{.name = NULL},
};

/* "" if @text is taken into @g, else the error. */
static const char *guest_poll_error(char *text, struct guest_poll *g, uint64_t *given)
{
	const struct opt_arg arg = {.option = "guest", .text = text};
	static const struct opt_command cmd = {.name = "test", .options = options};
	static char error[OPTS_ERROR_SIZE];
	struct opts o = {.cmd = &cmd};

	opt_keys_given(&o, &arg, guest_poll_keys, g, given);
	snprintf(error, sizeof(error), "%s", o.error);
	opts_free(&o);
	return error;
}

/* The keys that run, bench and replay share, and that their numbers are as in the table. */
static void guest_polling(void **state)
{
	struct guest_poll g = {.ns = GUEST_POLL_UNSET, .allow_shrink = -1, .host = -1};
	char all[] = "grow=3,grow-start=4294967294ns,shrink=0,allow-shrink=off,host=break-even";
	char none[] = "host=learned", large[] = "grow=4294967295", word[] = "allow-shrink=yes";
	char host[] = "host=on";
	uint64_t given;

	assert_string_equal(guest_poll_error(all, &g, &given), "");
	assert_int_equal(given, 0x3e);
	assert_true(g.ns == GUEST_POLL_UNSET && g.grow_start_ns == GUEST_POLL_MAX);
	assert_int_equal(g.grow, 3);
	assert_int_equal(g.shrink, 0);
	assert_int_equal(g.allow_shrink, 0);
	assert_int_equal(g.host, CATNAP_AFTER_GUEST_BREAK_EVEN);
	assert_string_equal(guest_poll_error(none, &g, &given), "");
	assert_int_equal(given, 0x20);
	assert_int_equal(g.host, CATNAP_AFTER_GUEST_LEARNED);
	/* Which stands for what was not given. */
	assert_non_null(strstr(guest_poll_error(large, &g, &given), "expected 0 to 4294967294"));
	assert_non_null(strstr(guest_poll_error(word, &g, &given), "expected on or off"));
	assert_non_null(
		strstr(guest_poll_error(host, &g, &given), "expected off, break-even or learned"));
}

static void by_name(void **state)
{
	takes("");
	assert_int_equal(opts_take(&opts, opts_find(&opts, "cpus"), "3", &cfg), 0);
	assert_int_equal(cfg.cpus, 3);
	assert_true(opts_given(&opts, "cpus"));
	assert_int_equal(opts.n_given, 1);
	assert_string_equal(opts.given[0].text, "3");
	assert_int_not_equal(opts_take(&opts, opts_find(&opts, "cpus"), "2", &cfg), 0);
	assert_string_equal(opts.error, "catnap test: --cpus: given twice: expected once");
	takes("");
	assert_int_not_equal(opts_take(&opts, opts_find(&opts, "cpus"), "0", &cfg), 0);
	assert_string_equal(opts.error,
			    "catnap test: --cpus: \"0\" is out of range: expected 1 to 64");
	assert_null(opts_find(&opts, "nope"));
}

/* Each option is there, and no line is wider than a terminal. */
static void help(void **state)
{
	const struct opt_def *d;
	char *text = NULL, *line, *rest;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	opts_help(&command, out);
	fclose(out);
	for (d = options; d->f.name; d++) {
		char name[40];

		snprintf(name, sizeof(name), "--%s", d->f.name);
		assert_non_null(strstr(text, name));
		assert_non_null(strstr(text, d->help));
	}
	for (rest = text; (line = strsep(&rest, "\n"));)
		assert_true(strlen(line) < 80);
	free(text);
}

static int end(void **state)
{
	opts_free(&opts);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms_of_options),
		cmocka_unit_test(arguments),
		cmocka_unit_test(numbers),
		cmocka_unit_test(sizes_and_times),
		cmocka_unit_test(words_and_switches),
		cmocka_unit_test(wrong_options),
		cmocka_unit_test(keys),
		cmocka_unit_test(quotes_in_lists),
		cmocka_unit_test(quotes_elsewhere),
		cmocka_unit_test(halt_poll),
		cmocka_unit_test(guest_polling),
		cmocka_unit_test(by_name),
		cmocka_unit_test(help),
	};

	return cmocka_run_group_tests(tests, NULL, end);
}
