/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The option parser of all commands: a table says which options there are, what they take and where
 *it goes; parsing, --help and error messages all come from that table.
 *
 *	struct disk_cfg { const char *path; bool readonly; uint32_t queues; };
 *	static const struct opt_field disk_keys[] = {
 *		{.name = "path", .type = OPT_STRING, .offset = offsetof(struct disk_cfg, path),
 *		 .required = true},
 *		{.name = "readonly", .type = OPT_SWITCH, .offset = offsetof(struct disk_cfg,
 *readonly)},
 *		{.name = "queues", .type = OPT_U32, .offset = offsetof(struct disk_cfg, queues),
 *		 .min = 1, .max = 64},
 *		{0},
 *	};
 *	static int set_disk(struct opts *o, const struct opt_arg *arg, void *cfg)
 *	{
 *		struct run_cfg *run = cfg;
 *		struct disk_cfg disk = {.queues = 1};
 *
 *		if (run->n_disks == MAX_DISKS)
 *			return opt_fail(o, arg, "too many: expected at most %d", MAX_DISKS);
 *		if (opt_keys(o, arg, disk_keys, &disk))
 *			return -EINVAL;
 *		run->disks[run->n_disks++] = disk;
 *		return 0;
 *	}
 *	static const struct opt_def run_options[] = {
 *		{.f = {.name = "disk", .type = OPT_CALL, .set = set_disk}, .letter = 'd',
 *		 .form = "path=P[,readonly=on]", .help = "A virtio-blk disk.", .repeat = true,
 *		 .list = true},
 *		{.f = {.name = "timeout", .type = OPT_TIME, .offset = offsetof(struct run_cfg,
 *timeout_ns), .min = 1, .max = UINT64_MAX}, .form = "TIME", .help = "Ends the VM.", .def = "none"},
 *		{{0}},
 *	};
 *
 * A value in double quotes may hold commas and anything else, "" being one quote: the quotes are
 * taken out before .set() sees the value, or by opt_keys() from each item of a list. OPT_TEXT is
 * taken as it is.
 *
 * On the command line: --name VALUE, --name=VALUE, -n VALUE, -nVALUE; options and other arguments
 *may be mixed; `--` ends the options; `-` is an argument. -h and --help exist in every command.
 *
 * Errors: functions return 0 or -EINVAL with one line, complete but for the newline, in o->error:
 *	catnap run: --cpus: "0" is out of range: expected 1 to 64
 *	catnap run: --disk: queues: "x" is not a number: expected 1 to 64
 * Nothing but opts_command() and opts_help() prints, and nothing exits.
 */
#ifndef CLI_OPTS_H
#define CLI_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <catnap/poll.h>

struct opts;
struct opt_arg;

/* What a value is; in brackets, the type of the variable that receives it. */
enum opt_type {
	OPT_FLAG,   /* [bool] an option without a value; becomes true (not for keys) */
	OPT_STRING, /* [const char *] any text but an empty one */
	OPT_TEXT,   /* [const char *] any text, quotes and all */
	OPT_U32,    /* [uint32_t] min to max, decimal or 0x hexadecimal */
	OPT_U64,    /* [uint64_t] the same */
	OPT_REAL,   /* [double] decimal, min to max */
	OPT_SIZE,   /* [uint64_t] bytes, min to max; K, M, G, T are powers of 1024 */
	OPT_TIME,   /* [uint64_t] ns, min to max; ns, us, ms, s; only 0 needs no unit */
	OPT_TIME32, /* [uint32_t] the same, for parameters that are u32 ns; max is at most
		       UINT32_MAX */
	OPT_SWITCH, /* [bool] on|off */
	OPT_WORD,   /* [int] one of .words */
	OPT_CALL,   /* .set() decides; it gets the cfg pointer itself, whatever .offset is */
};

struct opt_word {
	const char *name;
	int value;
};

/* A value with a name: an option, or a key inside an option's value. Tables end with a name of
 * NULL. */
struct opt_field {
	const char *name; /* without dashes */
	enum opt_type type;
	size_t offset;	   /* of the variable in the struct that is filled */
	uint64_t min, max; /* both inclusive; max 0 stands for the largest the type holds */
	const struct opt_word *words; /* ends with a name of NULL */
	int (*set)(struct opts *o, const struct opt_arg *arg, void *cfg);
	bool required; /* keys only */
};

struct opt_def {
	struct opt_field f;
	char letter;	  /* the short name, 0: none */
	const char *form; /* the value's form, for --help: "N[,affinity=LIST]"; NULL for a flag */
	const char *help; /* sentences, for --help */
	const char *def;  /* the default, for --help; NULL: none */
	bool repeat;	  /* may be given several times */
	bool list;	  /* OPT_CALL: .set() calls opt_keys(), which takes the quotes out */
};

struct opt_command {
	const char *name;     /* "run" */
	const char *synopsis; /* what follows `catnap run` in the usage line */
	const char *summary;  /* a sentence or two */
	const struct opt_def *options;
	const char *notes;    /* printed as it is after the options; NULL: none */
	const char *arg_name; /* "FILE": what the arguments that are no options are; NULL: none */
	unsigned min_args, max_args;
};

#define OPTS_ERROR_SIZE 512

/* The state of one parse. Not to be copied. */
struct opts {
	const struct opt_command *cmd;
	char **args; /* those that are no options; args[n_args] is NULL; the strings are argv's */
	unsigned n_args;
	bool help; /* --help was given: nothing after it has been looked at */
	char error[OPTS_ERROR_SIZE];
	/* private */
	bool *seen;
	struct opt_chunk *chunks;
};

/* Where a value came from, so that an error can say so. */
struct opt_arg {
	const char *option; /* "disk" */
	const char *key;    /* "queues", or NULL: the whole value of the option */
	const char *text;   /* the value */
};

/**
 * Parses argv[1] and on into @cfg, which holds the defaults. 0 or -EINVAL (o->error says why).
 * Either way opts_free(o) must follow, and not before the last use of a string that a key has put
 * into @cfg.
 */
int opts_parse(struct opts *o, const struct opt_command *cmd, int argc, char **argv, void *cfg);
void opts_free(struct opts *o);

/** The same for a command: prints --help and errors. Returns -1 to go on, or the exit status. */
int opts_command(struct opts *o, const struct opt_command *cmd, int argc, char **argv, void *cfg);

/** Was the option @name (long name) given? */
bool opts_given(const struct opts *o, const char *name);
/** Sets one option by its long name, as from a configuration file. 0 or -EINVAL. */
int opts_set(struct opts *o, const char *name, const char *value, void *cfg);
/** Prints the help text. */
void opts_help(const struct opt_command *cmd, FILE *out);

/**
 * For .set() of an option that is a .list: parses "key=value,...", where the first key's name may
 * be left out, into @dst.
 */
int opt_keys(struct opts *o, const struct opt_arg *arg, const struct opt_field *keys, void *dst);
/** The same, and which keys there were: bit n of *@given is keys[n]. */
int opt_keys_given(struct opts *o, const struct opt_arg *arg, const struct opt_field *keys,
		   void *dst, uint64_t *given);
/** For .set() of a .list: its first item alone, without quotes and without @key=. NULL: an error.
 */
const char *opt_first(struct opts *o, const struct opt_arg *arg, const char *key);
/** For .set(): parses the whole value as @field says; of @field the name and offset do not matter.
 */
int opt_value(struct opts *o, const struct opt_arg *arg, const struct opt_field *field, void *dst);
/** For .set(): stores an error, `"value" ` and then the text given; returns -EINVAL. */
int opt_fail(struct opts *o, const struct opt_arg *arg, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/** An error that is not about one value: `catnap run: ` and then the text given; returns -EINVAL.
 */
int opts_fail(struct opts *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/**
 * For .set(): policy=...,max=...,grow=...,grow-start=...,shrink=...,bias=... over what @params
 * holds. A default max follows the policy. A key that has no effect with the policy is an error.
 */
int opt_halt_poll(struct opts *o, const struct opt_arg *arg, struct catnap_halt_poll *params);
/* What there is besides the parameters. */
struct opt_halt_poll_more {
	int vcpu;	    /* -1: for all */
	bool policy;	    /* one was named */
	const char *tuning; /* a key that is neither policy nor max; NULL: none was given */
};
/**
 * The same with three further keys, cpu-max=N%, group=on|off and vcpu=0 to @n_vcpus - 1. The number
 * of vCPUs may be given later on the command line: then pass the largest possible and check at the
 * end.
 */
int opt_halt_poll_vcpu(struct opts *o, const struct opt_arg *arg, uint32_t n_vcpus,
		       struct catnap_halt_poll *params, struct opt_halt_poll_more *more);
/** @policy with its defaults, max among them. */
void opt_policy_init(struct catnap_halt_poll *params, uint32_t policy);
/** "kernel" for CATNAP_POLICY_KERNEL and so on; NULL for none of them. */
const char *opt_policy_name(uint32_t policy);

/** Copies @text into @buf for a message: one line, printable, shortened if need be. Returns @buf.
 */
const char *opt_printable(const char *text, char *buf, size_t size);

#endif
