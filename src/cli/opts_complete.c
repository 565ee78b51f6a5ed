/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See opts_complete.h. Values are known by their forms, which are what --help shows:
 * "path=PATH[,readonly=on]", "stdio|null|file=PATH", "N[,affinity=LIST]". A part in lower case
 * stands for itself.
 */
#include <string.h>

#include "cli/opts_complete.h"

#define FORM_SIZE 2048
#define ARGS_MAX  8

/* A form, taken apart: keys with what their values may be, the first one's without a key, too. */
struct alternative {
	char text[48]; /* "on", "PATH" */
	size_t key;    /* the key whose value it is */
};

struct parts {
	char keys[64][32]; /* "": the first value has none */
	size_t n_keys;
	struct alternative alternatives[256];
	size_t n;
};

/* Forms that are words for a file, whole or as the value of a key. */
static bool is_file(const char *text)
{
	static const char *const names[] = {"PATH", "FILE", "DIR"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(text, names[i]) == 0)
			return true;
	return false;
}

static bool is_literal(const char *text)
{
	return *text && !text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-:")];
}

/* Takes one of the parts between '|' and ',': "key=WORD" begins a key. */
static void take_part(struct parts *p, const char *text, size_t len, bool first)
{
	const char *equals = memchr(text, '=', len);
	size_t key_len = equals ? (size_t)(equals - text) : 0;
	struct alternative *a;

	if (p->n == sizeof(p->alternatives) / sizeof(p->alternatives[0]))
		return;
	if ((equals || first) && p->n_keys < sizeof(p->keys) / sizeof(p->keys[0])) {
		snprintf(p->keys[p->n_keys++], sizeof(p->keys[0]), "%.*s", (int)key_len, text);
		text += equals ? key_len + 1 : 0;
		len -= equals ? key_len + 1 : 0;
	}
	if (!p->n_keys)
		return;
	a = &p->alternatives[p->n++];
	a->key = p->n_keys - 1;
	snprintf(a->text, sizeof(a->text), "%.*s", (int)len, text);
}

static void take_apart(struct parts *p, const char *form)
{
	char plain[FORM_SIZE];
	size_t n = 0;
	const char *text = plain;
	bool first = true;

	*p = (struct parts){0};
	/* Brackets say only what may be left out. */
	for (; *form && n + 1 < sizeof(plain); form++)
		if (*form != '[' && *form != ']')
			plain[n++] = *form;
	plain[n] = '\0';
	while (*text) {
		size_t len = strcspn(text, "|,");

		if (len)
			take_part(p, text, len, first);
		first = text[len] == ',';
		text += len + (text[len] != '\0');
	}
}

static bool has(const struct parts *p, const char *text, size_t key)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->alternatives[i].key == key && strcmp(p->alternatives[i].text, text) == 0)
			return true;
	return false;
}

/* Returns which of the keys it is; -1: none. */
static int find_key(const struct parts *p, const char *name, size_t len)
{
	for (size_t i = 0; i < p->n_keys; i++)
		if (strlen(p->keys[i]) == len && memcmp(p->keys[i], name, len) == 0)
			return (int)i;
	return -1;
}

/* Adds a key of a table with its words: the form may have no room for either. */
static void add_field(struct parts *p, const struct opt_field *k)
{
	int key = find_key(p, k->name, strlen(k->name));

	if (key < 0 && p->n_keys == sizeof(p->keys) / sizeof(p->keys[0]))
		return;
	if (key < 0) {
		key = (int)p->n_keys;
		snprintf(p->keys[p->n_keys++], sizeof(p->keys[0]), "%s", k->name);
	}
	for (const struct opt_word *w = k->words; w && w->name; w++) {
		struct alternative *a = &p->alternatives[p->n];

		if (p->n == sizeof(p->alternatives) / sizeof(p->alternatives[0]))
			return;
		if (has(p, w->name, (size_t)key))
			continue;
		p->n++;
		a->key = (size_t)key;
		snprintf(a->text, sizeof(a->text), "%s", w->name);
	}
}

/* -- candidates ------------------------------------------------------------------------------- */

struct answer {
	FILE *out;
	const char *word; /* all that is being written */
	int kept;	  /* so much of it stays: "--disk=path=x," */
	bool file;
};

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static void offer(const struct answer *a, const char *text, const char *end)
{
	if (begins(text, a->word + a->kept))
		fprintf(a->out, "%.*s%s%s\n", a->kept, a->word, text, end);
}

static void offer_values(struct answer *a, const struct parts *p, size_t key)
{
	for (size_t i = 0; i < p->n; i++) {
		if (p->alternatives[i].key != key)
			continue;
		if (is_file(p->alternatives[i].text))
			a->file = true;
		else if (is_literal(p->alternatives[i].text))
			offer(a, p->alternatives[i].text, "");
	}
}

/* Completes @word from a->kept on as a value of the option. */
static void complete_value(struct answer *a, const struct opt_def *d)
{
	const char *value = a->word + a->kept, *item = value, *equals;
	char form[FORM_SIZE];
	const char *text = opt_form(d, form, sizeof(form));
	struct parts p;
	size_t len;
	int key;

	take_apart(&p, text ? text : "");
	for (const struct opt_field *k = d->keys; k && k->name; k++)
		add_field(&p, k);
	for (const char *c = value; *c; c++)
		if (*c == ',')
			item = c + 1;
	a->kept += (int)(item - value);
	equals = strchr(item, '=');
	len = equals ? (size_t)(equals - item) : 0;
	key = equals ? find_key(&p, item, len) : -1;
	if (key >= 0) {
		a->kept += (int)len + 1;
		offer_values(a, &p, (size_t)key);
		return;
	}
	/* Only the first may be without its key, whose values are the option's own, then. */
	if (item == value && p.n_keys)
		offer_values(a, &p, 0);
	for (size_t i = 0; i < p.n_keys; i++)
		if (p.keys[i][0])
			offer(a, p.keys[i], "=");
	/* Words that the form has no room for. */
	for (const struct opt_word *w = d->f.words; w && w->name && item == value; w++)
		if (!p.n)
			offer(a, w->name, "");
}

static const struct opt_def *find_option(const struct opt_command *cmd, const char *text,
					 size_t len)
{
	for (const struct opt_def *d = cmd->options; d->f.name; d++) {
		bool is_long = len > 2 && strncmp(text, "--", 2) == 0 &&
			       strlen(d->f.name) == len - 2 &&
			       memcmp(d->f.name, text + 2, len - 2) == 0;

		if (is_long || (d->letter && len == 2 && text[0] == '-' && text[1] == d->letter))
			return d;
	}
	return NULL;
}

static void offer_options(const struct answer *a, const struct opt_command *cmd)
{
	char name[64];

	for (const struct opt_def *d = cmd->options; d->f.name; d++) {
		snprintf(name, sizeof(name), "--%s", d->f.name);
		offer(a, name, "");
	}
	offer(a, "--help", "");
}

/* Finds what stands between the options: how many before the last word, and which they are. */
static size_t arguments_before(const struct opt_command *cmd, char *const *words, size_t n,
			       char **args, size_t most)
{
	bool options = true;
	size_t found = 0;

	for (size_t i = 0; i + 1 < n; i++) {
		const char *w = words[i];

		if (options && strcmp(w, "--") == 0) {
			options = false;
		} else if (options && w[0] == '-' && w[1]) {
			const struct opt_def *d = find_option(cmd, w, strlen(w));

			if (d && d->f.type != OPT_FLAG)
				i++;
		} else if (found < most) {
			args[found++] = words[i];
		}
	}
	return found;
}

static void complete_argument(struct answer *a, const struct opt_command *cmd, char *const *words,
			      size_t n)
{
	struct opt_def value = {.form = ""};
	char *args[ARGS_MAX], buf[FORM_SIZE];
	size_t before = arguments_before(cmd, words, n, args, ARGS_MAX);

	if (!cmd->argument)
		a->file = cmd->arg_name;
	else if (before < ARGS_MAX && cmd->argument(args, before, &value, buf, sizeof(buf)))
		complete_value(a, &value);
}

void opts_complete(const struct opt_command *cmd, char *const *words, size_t n, FILE *out)
{
	struct answer a = {.out = out, .word = words[n - 1]};
	const char *equals = strchr(a.word, '=');
	const struct opt_def *d;

	for (size_t i = 0; i + 1 < n; i++)
		if (strcmp(words[i], "--") == 0)
			goto argument;
	d = n > 1 ? find_option(cmd, words[n - 2], strlen(words[n - 2])) : NULL;
	if (d && d->f.type != OPT_FLAG) {
		complete_value(&a, d);
	} else if (begins(a.word, "--") && equals) {
		d = find_option(cmd, a.word, (size_t)(equals - a.word));
		a.kept = (int)(equals - a.word) + 1;
		if (d && d->f.type != OPT_FLAG)
			complete_value(&a, d);
	} else if (a.word[0] == '-') {
		offer_options(&a, cmd);
	} else {
		goto argument;
	}
	goto out;
argument:
	complete_argument(&a, cmd, words, n);
out:
	if (a.file)
		fputs(":file\n", out);
}
