/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: options, arguments, and the key=value lists inside options, by the table of the
 * command. The meaning of values is in opts_value.c, the help text in opts_help.c.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/opts.h"
#include "cli/opts_complete.h"

/* Keys inside a value have no string of their own in argv: their copies live until opts_free(). */
struct opt_chunk {
	struct opt_chunk *next;
	char text[];
};

/* ---- errors ---- */

const char *opt_printable(const char *text, char *buf, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;

	/* Room for one escape, three dots and the NUL. */
	for (; *text && n + 8 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c >= ' ' && c < 0x7f) {
			buf[n++] = *text;
			continue;
		}
		buf[n++] = '\\';
		buf[n++] = 'x';
		buf[n++] = hex[c >> 4];
		buf[n++] = hex[c & 15];
	}
	buf[n] = '\0';
	if (*text)
		memcpy(buf + n, "...", 4);
	return buf;
}

static void append(struct opts *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void vappend(struct opts *o, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void vappend(struct opts *o, const char *fmt, va_list ap)
{
	size_t used = strlen(o->error);

	vsnprintf(o->error + used, sizeof(o->error) - used, fmt, ap);
}

static void append(struct opts *o, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vappend(o, fmt, ap);
	va_end(ap);
}

int opts_fail(struct opts *o, const char *fmt, ...)
{
	va_list ap;

	o->error[0] = '\0';
	append(o, "catnap %s: %s", o->cmd->name, o->place ? o->place(o->place_ctx, NULL) : "");
	/* Members of a file have no dashes. */
	if (o->place && strncmp(fmt, "--", 2) == 0)
		fmt += 2;
	va_start(ap, fmt);
	vappend(o, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int opt_fail(struct opts *o, const struct opt_arg *arg, const char *fmt, ...)
{
	char value[96];
	va_list ap;

	o->error[0] = '\0';
	if (o->place)
		append(o, "catnap %s: %s%s: ", o->cmd->name, o->place(o->place_ctx, arg->key),
		       arg->option);
	else
		append(o, "catnap %s: --%s: ", o->cmd->name, arg->option);
	if (arg->key)
		append(o, "%s: ", arg->key);
	append(o, "\"%s\" ", opt_printable(arg->text, value, sizeof(value)));
	va_start(ap, fmt);
	vappend(o, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* How many letters are to be put in, taken out or changed; anything beyond @NEAR is just far. */
#define NEAR	     2
#define NAME_MAX_LEN 31

static unsigned distance(const char *a, const char *b)
{
	unsigned row[NAME_MAX_LEN + 1], la = (unsigned)strlen(a), lb = (unsigned)strlen(b), i, j;

	if (la > NAME_MAX_LEN || lb > NAME_MAX_LEN)
		return NEAR + 1;
	for (j = 0; j <= lb; j++)
		row[j] = j;
	for (i = 1; i <= la; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (j = 1; j <= lb; j++) {
			unsigned change = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
			if (change < row[j])
				row[j] = change;
		}
	}
	return row[lb];
}

/* Returns whether a name was more probably meant: a few letters off, or what is written begins
 * it. */
static bool better(const char *given, const char *name, unsigned *best)
{
	unsigned d = distance(given, name);

	if (d > NEAR || d >= strlen(given)) {
		if (strlen(given) < 2 || strncmp(given, name, strlen(given)) != 0)
			return false;
		d = NEAR;
	}
	if (d >= *best)
		return false;
	*best = d;
	return true;
}

static int fail_unknown_option(struct opts *o, const char *given, size_t len)
{
	const char *near = NULL;
	const struct opt_def *d;
	unsigned best = NEAR + 1;
	const char *dashes = o->place ? "" : "--";
	char name[64], shown[96];

	snprintf(name, sizeof(name), "%.*s", (int)(len < 60 ? len : 60), given);
	opt_printable(name, shown, sizeof(shown));
	for (d = o->cmd->options; d->f.name; d++) {
		if (better(name, d->f.name, &best))
			near = d->f.name;
	}
	if (near)
		return opts_fail(o, "%s%s: unknown option: expected %s%s?", dashes, shown, dashes,
				 near);
	return opts_fail(o, "%s%s: unknown option: expected one of those in catnap %s --help",
			 dashes, shown, o->cmd->name);
}

int opts_fail_unknown_key(struct opts *o, const char *option, const char *given,
			  const struct opt_field *keys)
{
	const struct opt_field *k;
	char shown[96], list[256] = "";

	for (k = keys; k->name; k++) {
		const char *sep = k == keys ? "" : k[1].name ? ", " : " or ";
		size_t used = strlen(list);

		snprintf(list + used, sizeof(list) - used, "%s%s", sep, k->name);
	}
	return opts_fail(o, "%s%s: \"%s\" is an unknown key: expected %s", o->place ? "" : "--",
			 option, opt_printable(given, shown, sizeof(shown)), list);
}

/* ---- key=value,key=value ---- */

static char *keep(struct opts *o, const char *text)
{
	size_t len = strlen(text) + 1;
	struct opt_chunk *c = malloc(sizeof(*c) + len);

	if (!c) {
		opts_fail(o, "out of memory");
		return NULL;
	}
	memcpy(c->text, text, len);
	c->next = o->chunks;
	o->chunks = c;
	return c->text;
}

/* Returns whether it is a key. A path may hold a '=', so what stands before one is a key only if it
 * looks like one. */
static bool is_key(const char *text, const char *end)
{
	return text + strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789-_") ==
	       end;
}

char *opt_unquote(char *text, char stop, char **value)
{
	bool quoted = false, any = false;
	char *to = text, *from = text;

	*value = NULL;
	for (; *from && (quoted || *from != stop); from++) {
		if (*from == '"' && !(quoted && from[1] == '"')) {
			quoted = !quoted;
			any = true;
			continue;
		}
		if (*from == '"')
			from++;
		if (*from == '=' && !any && !*value && is_key(text, to))
			*value = to + 1;
		*to++ = *from;
	}
	from = *from ? from + 1 : NULL;
	*to = '\0';
	return from;
}

const char *opt_first(struct opts *o, const struct opt_arg *arg, const char *key)
{
	char *copy = keep(o, arg->text), *value;

	if (!copy)
		return NULL;
	opt_unquote(copy, ',', &value);
	if (value && strlen(key) == (size_t)(value - copy) - 1 &&
	    memcmp(copy, key, strlen(key)) == 0)
		return value;
	return copy;
}

/* Finds one key and its value; @item has no quotes any more. Returns its place in @keys, or NULL
 * after an error. */
static const struct opt_field *find_key(struct opts *o, const struct opt_arg *arg,
					const struct opt_field *keys, char *item, char *value,
					bool first)
{
	struct opt_arg part = {.option = arg->option, .text = item};
	const struct opt_field *k = keys;

	if (value) {
		value[-1] = '\0';
		while (k->name && strcmp(k->name, item) != 0)
			k++;
		if (!k->name)
			opts_fail_unknown_key(o, arg->option, item, keys);
	} else if (!first) {
		opt_fail(o, &part, "is not key=value: expected a key such as %s=",
			 keys[1].name ? keys[1].name : keys->name);
		return NULL;
	}
	return k->name ? k : NULL;
}

int opt_keys(struct opts *o, const struct opt_arg *arg, const struct opt_field *keys, void *dst)
{
	uint64_t given;

	return opt_keys_given(o, arg, keys, dst, &given);
}

int opt_keys_given(struct opts *o, const struct opt_arg *arg, const struct opt_field *keys,
		   void *dst, uint64_t *given)
{
	const struct opt_field *k;
	char *item, *next, *value;
	uint64_t seen = 0;

	if (arg->text[0] == '\0')
		return opt_fail(o, arg, "is empty: expected %s=...", keys->name);
	item = keep(o, arg->text);
	if (!item)
		return -EINVAL;
	for (; item; item = next) {
		struct opt_arg part = {.option = arg->option};

		if (*item == '\0' || *item == ',')
			return opt_fail(o, arg, "has an empty item: expected key=value,key=value");
		next = opt_unquote(item, ',', &value);
		k = find_key(o, arg, keys, item, value, !seen);
		if (!k)
			return -EINVAL;
		part.key = k->name;
		part.text = value ? value : item;
		if (seen & (UINT64_C(1) << (k - keys)))
			return opt_fail(o, &part, "is a second value: expected %s once", k->name);
		seen |= UINT64_C(1) << (k - keys);
		if (opt_value(o, &part, k, k->type == OPT_CALL ? dst : (char *)dst + k->offset))
			return -EINVAL;
	}
	for (k = keys; k->name; k++) {
		if (k->required && !(seen & (UINT64_C(1) << (k - keys))))
			return opt_fail(o, arg, "has no %s: expected %s=...", k->name, k->name);
	}
	*given = seen;
	return 0;
}

/* ---- the command line ---- */

static const struct opt_def *find_long(const struct opts *o, const char *name, size_t len)
{
	const struct opt_def *d;

	for (d = o->cmd->options; d->f.name; d++) {
		if (strlen(d->f.name) == len && memcmp(d->f.name, name, len) == 0)
			return d;
	}
	return NULL;
}

static const struct opt_def *find_short(const struct opts *o, char letter)
{
	const struct opt_def *d;

	for (d = o->cmd->options; d->f.name; d++) {
		if (d->letter && d->letter == letter)
			return d;
	}
	return NULL;
}

/* Returns whether @text, in the place of a value, would rather be the next option. */
static bool is_long_option(const struct opts *o, const char *text)
{
	if (strncmp(text, "--", 2) != 0)
		return false;
	text += 2;
	return strcmp(text, "help") == 0 || find_long(o, text, strcspn(text, "="));
}

/* Returns whether each quote has another one: those that are doubled, too. */
static bool closed(const char *text)
{
	bool odd = false;

	for (; *text; text++)
		odd ^= *text == '"';
	return !odd;
}

int opt_check_quotes(struct opts *o, const struct opt_arg *arg)
{
	if (closed(arg->text))
		return 0;
	return opt_fail(o, arg,
			"has a double quote that is not closed: expected a pair, and \"\" in "
			"it for one that is meant");
}

static int set_option(struct opts *o, const struct opt_def *d, const char *given, void *cfg)
{
	struct opt_arg arg = {.option = d->f.name, .text = given ? given : "-"};
	bool quotes = d->f.type != OPT_TEXT && strchr(arg.text, '"');
	char *copy, *value;

	if (quotes && opt_check_quotes(o, &arg) < 0)
		return -EINVAL;
	/* In what is no list, commas are text anyway. */
	if (quotes && !d->list) {
		copy = keep(o, arg.text);
		if (!copy)
			return -EINVAL;
		opt_unquote(copy, '\0', &value);
		arg.text = copy;
	}
	return opt_value(o, &arg, &d->f, d->f.type == OPT_CALL ? cfg : (char *)cfg + d->f.offset);
}

const struct opt_def *opts_find(const struct opts *o, const char *name)
{
	return find_long(o, name, strlen(name));
}

int opts_fail_unknown(struct opts *o, const char *name)
{
	return fail_unknown_option(o, name, strlen(name));
}

/* Notes what has been given. */
static int note(struct opts *o, const struct opt_def *d, const char *text)
{
	struct opt_given *more = reallocarray(o->given, o->n_given + 1, sizeof(*more));

	if (!more)
		return opts_fail(o, "out of memory");
	o->given = more;
	o->given[o->n_given++] = (struct opt_given){.def = d, .text = text};
	return 0;
}

int opts_take(struct opts *o, const struct opt_def *d, const char *text, void *cfg)
{
	size_t n = (size_t)(d - o->cmd->options);
	const char *copy = text ? keep(o, text) : NULL;

	if (text && !copy)
		return -EINVAL;
	if (o->seen[n] && !d->repeat)
		return opts_fail(o, "--%s: given twice: expected once", d->f.name);
	o->seen[n] = true;
	if (set_option(o, d, copy, cfg))
		return -EINVAL;
	return note(o, d, copy);
}

bool opts_given(const struct opts *o, const char *name)
{
	const struct opt_def *d = find_long(o, name, strlen(name));

	return d && o->seen && o->seen[d - o->cmd->options];
}

/* Takes one option, whose value is @value or, if that is NULL, the next argument. *@i is the place
 * in argv. */
static int take_option(struct opts *o, const struct opt_def *d, const char *value, int argc,
		       char **argv, int *i, void *cfg)
{
	char form[OPT_FORM_SIZE];

	if (d->f.type == OPT_FLAG) {
		if (value)
			return opts_fail(o, "--%s: takes no value: expected --%s alone", d->f.name,
					 d->f.name);
	} else if (!value) {
		if (*i + 1 >= argc || is_long_option(o, argv[*i + 1]))
			return opts_fail(o, "--%s: the value is missing: expected --%s %s",
					 d->f.name, d->f.name, opt_form(d, form, sizeof(form)));
		value = argv[++*i];
	}
	return opts_take(o, d, value, cfg);
}

static int take_arg(struct opts *o, char *text)
{
	char shown[96];

	if (o->n_args == o->cmd->max_args)
		return opts_fail(o, "\"%s\" is one argument too many: expected %s%s",
				 opt_printable(text, shown, sizeof(shown)),
				 o->cmd->max_args ? "only " : "options only",
				 o->cmd->max_args ? o->cmd->arg_name : "");
	if (text[0] == '\0')
		return opts_fail(o, "an empty argument: expected %s", o->cmd->arg_name);
	o->args[o->n_args++] = text;
	return 0;
}

static int take_long(struct opts *o, int argc, char **argv, int *i, void *cfg)
{
	const char *name = argv[*i] + 2;
	size_t len = strcspn(name, "=");
	const struct opt_def *d = find_long(o, name, len);

	if (d)
		return take_option(o, d, name[len] ? name + len + 1 : NULL, argc, argv, i, cfg);
	if (len != 4 || memcmp(name, "help", 4) != 0)
		return fail_unknown_option(o, name, len);
	if (name[len])
		return opts_fail(o, "--help: takes no value: expected --help alone");
	o->help = true;
	return 0;
}

/* Takes -n VALUE or -nVALUE; flags are not joined (-ab): a command here has hardly any. */
static int take_short(struct opts *o, int argc, char **argv, int *i, void *cfg)
{
	const char *text = argv[*i] + 1;
	const struct opt_def *d = find_short(o, text[0]);
	char shown[96];

	if (d)
		return take_option(o, d, text[1] ? text + 1 : NULL, argc, argv, i, cfg);
	if (strcmp(text, "h") != 0)
		return opts_fail(o,
				 "-%s: unknown option: expected one of those in catnap %s --help",
				 opt_printable(text, shown, sizeof(shown)), o->cmd->name);
	o->help = true;
	return 0;
}

int opts_parse(struct opts *o, const struct opt_command *cmd, int argc, char **argv, void *cfg)
{
	size_t n_options = 0;
	bool options = true;
	int i, ret = 0;

	*o = (struct opts){.cmd = cmd};
	while (cmd->options[n_options].f.name)
		n_options++;
	o->seen = calloc(n_options + 1, sizeof(*o->seen));
	o->args = calloc((size_t)argc + 1, sizeof(*o->args));
	if (!o->seen || !o->args)
		return opts_fail(o, "out of memory");

	for (i = 1; i < argc && ret == 0 && !o->help; i++) {
		if (!options || argv[i][0] != '-' || argv[i][1] == '\0')
			ret = take_arg(o, argv[i]);
		else if (strcmp(argv[i], "--") == 0)
			options = false;
		else if (argv[i][1] == '-')
			ret = take_long(o, argc, argv, &i, cfg);
		else
			ret = take_short(o, argc, argv, &i, cfg);
	}
	if (ret == 0 && !o->help && o->n_args < cmd->min_args)
		ret = opts_fail(o, "%s is missing: expected catnap %s %s", cmd->arg_name, cmd->name,
				cmd->synopsis);
	return ret;
}

void opts_free(struct opts *o)
{
	struct opt_chunk *c;

	free(o->seen);
	free(o->args);
	free(o->given);
	o->seen = NULL;
	o->given = NULL;
	o->args = NULL;
	while ((c = o->chunks)) {
		o->chunks = c->next;
		free(c);
	}
}

int opts_command(struct opts *o, const struct opt_command *cmd, int argc, char **argv, void *cfg)
{
	/* For the shell, which has it say what may follow. */
	if (argc > 2 && strcmp(argv[1], "--complete") == 0) {
		*o = (struct opts){.cmd = cmd};
		opts_complete(cmd, argv + 2, (size_t)argc - 2, stdout);
		return CMD_OK;
	}
	if (opts_parse(o, cmd, argc, argv, cfg)) {
		fprintf(stderr, "%s\n", o->error);
		return CMD_USAGE;
	}
	if (o->help) {
		opts_help(cmd, stdout);
		return CMD_OK;
	}
	return -1;
}
