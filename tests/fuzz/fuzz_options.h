/* SPDX-License-Identifier: Apache-2.0 */
/* A command with an option of each kind, and what holds of all that it takes and refuses. */
#ifndef TESTS_FUZZ_FUZZ_OPTIONS_H
#define TESTS_FUZZ_FUZZ_OPTIONS_H

#include "fuzz.h"
#include "cli/opts.h"

struct disk {
	const char *path;
	bool readonly;
	uint32_t queues;
	uint64_t size;
};

struct cfg {
	const char *kernel, *cmdline;
	bool quiet, rng;
	uint32_t cpus, window;
	uint64_t number, memory, timeout;
	double ratio;
	int color;
	unsigned disks;
	struct catnap_halt_poll halt_poll;
	int vcpu;
	const char *path; /* of the last disk */
};

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
	{.name = "size", .type = OPT_SIZE, .offset = offsetof(struct disk, size), .min = 512},
	{.name = NULL},
};

static int set_disk(struct opts *o, const struct opt_arg *arg, void *cfg)
{
	struct disk d = {.queues = 1, .size = 512};
	int ret = opt_keys(o, arg, disk_keys, &d);

	if (ret == 0) {
		check(d.path && d.path[0] != '\0');
		check(!strchr(d.path, ',') || strchr(arg->text, '"'));
		check(d.queues >= 1 && d.queues <= 64);
		check(d.size >= 512);
		((struct cfg *)cfg)->disks++;
		((struct cfg *)cfg)->path = d.path;
	}
	return ret;
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

#define AT(member) offsetof(struct cfg, member)

static const struct opt_def options[] = {
	{.f = {.name = "kernel", .type = OPT_STRING, .offset = AT(kernel)},
	 .letter = 'k',
	 .form = "P"},
	{.f = {.name = "cmdline", .type = OPT_TEXT, .offset = AT(cmdline)},
	 .letter = 'c',
	 .form = "S"},
	{.f = {.name = "quiet", .type = OPT_FLAG, .offset = AT(quiet)}, .letter = 'q'},
	{.f = {.name = "rng", .type = OPT_SWITCH, .offset = AT(rng)},
	 .letter = 'r',
	 .form = "on|off"},
	{.f = {.name = "cpus", .type = OPT_U32, .offset = AT(cpus), .min = 1, .max = 64},
	 .letter = 'n',
	 .form = "N"},
	{.f = {.name = "window", .type = OPT_TIME32, .offset = AT(window)},
	 .letter = 'w',
	 .form = "T"},
	{.f = {.name = "number", .type = OPT_U64, .offset = AT(number)},
	 .letter = 'u',
	 .form = "N"},
	{.f = {.name = "memory",
	       .type = OPT_SIZE,
	       .offset = AT(memory),
	       .min = 4096,
	       .max = 1 << 30},
	 .letter = 'm',
	 .form = "SIZE"},
	{.f = {.name = "timeout",
	       .type = OPT_TIME,
	       .offset = AT(timeout),
	       .min = 1,
	       .max = 1000000000},
	 .letter = 't',
	 .form = "TIME"},
	{.f = {.name = "ratio", .type = OPT_REAL, .offset = AT(ratio), .max = 10},
	 .letter = 'x',
	 .form = "X"},
	{.f = {.name = "color", .type = OPT_WORD, .offset = AT(color), .words = colors},
	 .letter = 'o',
	 .form = "red|green"},
	{.f = {.name = "disk", .type = OPT_CALL, .set = set_disk},
	 .letter = 'd',
	 .form = "path=P",
	 .repeat = true,
	 .keys = disk_keys,
	 .list = true},
	{.f = {.name = "halt-poll", .type = OPT_CALL, .set = set_halt_poll},
	 .letter = 'p',
	 .form = "policy=...",
	 .repeat = true,
	 .keys = opt_halt_poll_keys,
	 .list = true},
	{.f = {.name = NULL}},
};

static const struct opt_command command = {
	.name = "test",
	.synopsis = "[OPTIONS] FILE...",
	.summary = "A command.",
	.options = options,
	.arg_name = "FILE",
	.max_args = 3,
};

static void check_error(const char *error)
{
	check(strncmp(error, "catnap test: ", 13) == 0);
	check(strlen(error) > 13 && strlen(error) < OPTS_ERROR_SIZE - 1);
	for (; *error; error++)
		check(*error >= ' ' && *error < 0x7f);
}

static void check_taken(const struct opts *o, const struct cfg *c)
{
	check(o->error[0] == '\0');
	check(o->n_args <= 3 && !o->args[o->n_args]);
	check(!opts_given(o, "cpus") || (c->cpus >= 1 && c->cpus <= 64));
	check(!opts_given(o, "memory") || (c->memory >= 4096 && c->memory <= 1 << 30));
	check(!opts_given(o, "timeout") || (c->timeout >= 1 && c->timeout <= 1000000000));
	check(!opts_given(o, "ratio") || (c->ratio >= 0 && c->ratio <= 10));
	check(!opts_given(o, "color") || c->color == 7 || c->color == 8);
	check(!opts_given(o, "kernel") || c->kernel[0] != '\0');
	if (opts_given(o, "halt-poll")) {
		check(catnap_halt_poll_check(&c->halt_poll) == 0);
		check(c->vcpu >= -1 && c->vcpu < 4);
	}
}

#endif
