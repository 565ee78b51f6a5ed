/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The option parser of all commands: a table says which options there are, what they take and where
 * it goes; parsing, --help and error messages all come from that table.
 *
 *	struct disk_cfg { const char *path; bool readonly; uint32_t queues; };
 *	static const struct opt_field disk_keys[] = {
 *		{.name = "path", .type = OPT_STRING, .offset = offsetof(struct disk_cfg, path),
 *		 .required = true},
 *		{.name = "readonly", .type = OPT_SWITCH,
 *		 .offset = offsetof(struct disk_cfg, readonly)},
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
 *		{.f = {.name = "timeout", .type = OPT_TIME,
 *		       .offset = offsetof(struct run_cfg, timeout_ns), .min = 1, .max = UINT64_MAX},
 *		 .form = "TIME", .help = "Ends the VM.", .def = "none"},
 *		{{0}},
 *	};
 *
 * A value in double quotes may hold commas and anything else, "" being one quote: the quotes are
 * taken out before .set() sees the value, or by opt_keys() from each item of a list. OPT_TEXT is
 * taken as it is.
 *
 * On the command line: --name VALUE, --name=VALUE, -n VALUE, -nVALUE; options and other arguments
 * may be mixed; `--` ends the options; `-` is an argument. -h and --help exist in every command.
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

/* The type of a value; in brackets, the type of the variable that receives it. */
enum opt_type {
	OPT_FLAG,   /* [bool] an option without a value; becomes true (not for keys) */
	OPT_STRING, /* [const char *] any text but an empty one, max bytes at most if that is not 0 */
	OPT_TEXT,   /* [const char *] any text, quotes and all */
	OPT_U32,    /* [uint32_t] min to max, decimal or 0x hexadecimal */
	OPT_U64,    /* [uint64_t] the same */
	OPT_REAL,   /* [double] decimal, min to max */
	OPT_SIZE,   /* [uint64_t] bytes, min to max; K, M, G, T are powers of 1024 */
	OPT_TIME,   /* [uint64_t] ns, min to max; ns, us, ms, s; only 0 needs no unit */
	OPT_TIME32, /* [uint32_t] the same, for parameters that are u32 ns; max is at most
		       UINT32_MAX */
	OPT_SWITCH, /* [bool] on|off; [int] the value that .words has for it, if there are any */
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
	bool either;   /* keys only: one at least of those that say so is needed; .set() checks */
	const char *form; /* keys only: the value's form, for --help; NULL: the key is not shown */
};

struct opt_def {
	struct opt_field f;
	char letter;	  /* the short name, 0: none */
	const char *form; /* the value's form, for --help: "N[,affinity=LIST]"; NULL for a flag */
	/* Of a list: those that .set() gives to opt_keys(). Without a form it is made of theirs. */
	const struct opt_field *keys;
	const char *help; /* sentences, for --help */
	const char *def;  /* the default, for --help; NULL: none */
	/* Another option that says the same: given on the command line, it stands for this one. */
	const char *other;
	bool repeat; /* may be given several times */
	bool list;   /* OPT_CALL: .set() calls opt_keys(), which takes the quotes out */
};

struct opt_command {
	const char *name;     /* "run" */
	const char *synopsis; /* the words behind `catnap run` in the usage line */
	const char *summary;  /* a sentence or two */
	const struct opt_def *options;
	const char *notes;    /* printed as it is after the options; NULL: none */
	const char *arg_name; /* "FILE": what the arguments that are no options are; NULL: none */
	unsigned min_args, max_args;
	/* For completion: what may follow @n arguments, as the value of an option: the form and the
	 * keys of *@value, whose text may be in @buf. False: nothing. NULL: a file. */
	bool (*argument)(char *const *args, size_t n, struct opt_def *value, char *buf,
			 size_t size);
};

#define OPTS_ERROR_SIZE 512
#define OPT_FORM_SIZE	256 /* for opt_form() */

/* An option with the text that was given for it; NULL for a flag. */
struct opt_given {
	const struct opt_def *def;
	const char *text;
};

/* The state of one parse. Not to be copied. */
struct opts {
	const struct opt_command *cmd;
	char **args; /* those that are no options; args[n_args] is NULL; the strings are argv's */
	unsigned n_args;
	bool help; /* --help was given: nothing after it has been looked at */
	char error[OPTS_ERROR_SIZE];
	/* The options that have been taken, in that order. */
	struct opt_given *given;
	size_t n_given;
	/* Returns what is said in an error before an option, or its @key, that no command line has
	 * given; NULL: they come from the command line. */
	const char *(*place)(void *ctx, const char *key);
	void *place_ctx;
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

/** Does the same for a command, and prints --help and errors. Returns -1 to go on, or the exit
 * status. */
int opts_command(struct opts *o, const struct opt_command *cmd, int argc, char **argv, void *cfg);

/** Returns whether the option @name (long name) was given. */
bool opts_given(const struct opts *o, const char *name);
/** Returns the form of an option's value: its own, or that of its keys, "path=PATH[,queues=N]", in
 * @buf perhaps; NULL for a flag. */
const char *opt_form(const struct opt_def *d, char *buf, size_t size);
/** Returns the option of a long name; NULL: there is none. */
const struct opt_def *opts_find(const struct opts *o, const char *name);
/** Takes the option @d with @text, as from the command line; NULL for a flag. 0 or -EINVAL. */
int opts_take(struct opts *o, const struct opt_def *d, const char *text, void *cfg);
/** Stores an error: no option has the long name @name, and which may have been meant. Returns
 * -EINVAL. */
int opts_fail_unknown(struct opts *o, const char *name);
/** Stores an error: @option has no key @given, it has @keys. Returns -EINVAL. */
int opts_fail_unknown_key(struct opts *o, const char *option, const char *given,
			  const struct opt_field *keys);
/** Prints the help text. */
void opts_help(const struct opt_command *cmd, FILE *out);

/**
 * Parses "key=value,...", where the first key's name may be left out, into @dst. For .set() of an
 * option that is a .list.
 */
int opt_keys(struct opts *o, const struct opt_arg *arg, const struct opt_field *keys, void *dst);
/** Does the same, and tells which keys there were: bit n of *@given is keys[n]. */
int opt_keys_given(struct opts *o, const struct opt_arg *arg, const struct opt_field *keys,
		   void *dst, uint64_t *given);
/** Returns its first item alone, without quotes and without @key=. NULL: an error. For .set() of a
 * .list. */
const char *opt_first(struct opts *o, const struct opt_arg *arg, const char *key);
/** Checks that each double quote of a list that is no option's value has another. Returns 0 or
 * -EINVAL. */
int opt_check_quotes(struct opts *o, const struct opt_arg *arg);
/**
 * Takes the quotes out of @text, in place, up to its end or to a @stop that is in none. In quotes
 * everything is text, and "" is one quote. *@value is where the value begins in key=value, NULL if
 * there is no key, whose name and '=' are never in quotes. Returns what follows @stop, NULL if
 * there is none.
 */
char *opt_unquote(char *text, char stop, char **value);
/** Parses the whole value as @field says; of @field the name and offset do not matter. For
 * .set(). */
int opt_value(struct opts *o, const struct opt_arg *arg, const struct opt_field *field, void *dst);
/** Stores an error, `"value" ` and then the text given. Returns -EINVAL. For .set(). */
int opt_fail(struct opts *o, const struct opt_arg *arg, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/** Stores an error that is not about one value: `catnap run: ` and then the text given. Returns
 * -EINVAL. */
int opts_fail(struct opts *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/**
 * Takes policy=...,max=...,grow=...,grow-start=...,shrink=...,bias=... over what @params holds. For
 * .set(). A default max follows the policy. A key that has no effect with the policy is an error.
 * *@learned: kernel,max=learned was given, for which bias has an effect as well.
 */
int opt_halt_poll(struct opts *o, const struct opt_arg *arg, struct catnap_halt_poll *params,
		  bool *learned);
/* The keys of a VM's --halt-poll. */
extern const struct opt_field opt_halt_poll_keys[];

/* The part of a value that is no parameter of the policy. */
struct opt_halt_poll_more {
	int vcpu;    /* -1: for all */
	bool policy; /* one was named */
	/* A key that only halts in user space have, and one that a limit of KVM's can be learned
	 * by as well; NULL: none was given. */
	const char *tuning, *weighing;
};
/**
 * Takes the same without a learned max and with three further keys, cpu-max=N%, group=on|off,
 * spin=... and vcpu=0 to @n_vcpus - 1. The number of vCPUs may be given later on the command line:
 * then pass the largest possible and check at the end.
 */
int opt_halt_poll_vcpu(struct opts *o, const struct opt_arg *arg, uint32_t n_vcpus,
		       struct catnap_halt_poll *params, struct opt_halt_poll_more *more);
/* The words of policies, biases and spins: enum catnap_policy_kind, catnap_bias, catnap_spin. */
extern const struct opt_word opt_policies[], opt_biases[], opt_spins[];
/** Returns the word that the first @len characters of @text are; NULL: none. */
const struct opt_word *opt_word_find(const struct opt_word *words, const char *text, size_t len);
/** Fills @params with @policy and its defaults, max among them. */
void opt_policy_init(struct catnap_halt_poll *params, uint32_t policy);
/** Returns "kernel" for CATNAP_POLICY_KERNEL and so on; NULL for none of them. */
const char *opt_policy_name(uint32_t policy);

/** Copies @text into @buf for a message: one line, printable, shortened if need be. Returns
 * @buf. */
const char *opt_printable(const char *text, char *buf, size_t size);

#endif
