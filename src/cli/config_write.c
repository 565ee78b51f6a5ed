/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a configuration file from what was given, and the schema of all of them; see config.h. */
#include <stdlib.h>
#include <string.h>

#include "cli/config.h"

static bool listed(const char *const *names, const char *name)
{
	while (*names && strcmp(*names, name) != 0)
		names++;
	return *names;
}

static struct json_object *string(const char *text)
{
	return json_object_new_string(text);
}

/* Adds a member. Returns false if there is no memory. @value is put in any case. */
static bool add(struct json_object *o, const char *name, struct json_object *value)
{
	if (value && json_object_object_add(o, name, value) == 0)
		return true;
	json_object_put(value);
	return false;
}

static bool append(struct json_object *array, struct json_object *value)
{
	if (value && json_object_array_add(array, value) == 0)
		return true;
	json_object_put(value);
	return false;
}

/* ---- what was given ---- */

/* Returns @text, which is right for @f, in JSON. A number that JSON can hold is one, all else is
 * what was written. */
static struct json_object *value_json(const struct opt_field *f, const char *text)
{
	bool number = f->type == OPT_U32 || f->type == OPT_U64;

	if (!text) /* a flag */
		return json_object_new_boolean(1);
	if (f->type == OPT_SWITCH)
		return json_object_new_boolean(strcmp(text, "on") == 0);
	if (number && strlen(text) < 19 && strspn(text, "0123456789") == strlen(text) &&
	    (text[0] != '0' || !text[1]))
		return json_object_new_int64(strtoll(text, NULL, 10));
	return string(text);
}

static const struct opt_field *find_key(const struct opt_field *keys, const char *name)
{
	while (keys->name && strcmp(keys->name, name) != 0)
		keys++;
	return keys->name ? keys : NULL;
}

static struct json_object *keys_json(const struct opt_def *d, const char *text)
{
	struct json_object *o = json_object_new_object();
	char *copy = strdup(text), *item, *next;

	for (item = copy; o && item; item = next) {
		const struct opt_field *k = d->keys;
		char *value;

		next = opt_unquote(item, ',', &value);
		if (value) {
			value[-1] = '\0';
			k = find_key(d->keys, item);
		}
		/* A list that has been taken has no other keys. */
		if (!k || !add(o, k->name, value_json(k, value ? value : item))) {
			json_object_put(o);
			o = NULL;
		}
	}
	if (!copy) {
		json_object_put(o);
		o = NULL;
	}
	free(copy);
	return o;
}

static struct json_object *option_json(const struct opt_given *g)
{
	struct json_object *value;
	char *copy, *end;

	if (g->def->keys && g->text)
		return keys_json(g->def, g->text);
	if (!g->text || g->def->f.type == OPT_TEXT || !strchr(g->text, '"'))
		return value_json(&g->def->f, g->text);
	copy = strdup(g->text);
	if (!copy)
		return NULL;
	opt_unquote(copy, '\0', &end);
	value = value_json(&g->def->f, copy);
	free(copy);
	return value;
}

/* Collects all that was given for @d; *@value NULL: nothing. Returns false if there is no
 * memory. */
static bool given_json(const struct opts *o, const struct opt_def *d, struct json_object **value)
{
	*value = NULL;
	for (size_t i = 0; i < o->n_given; i++) {
		struct json_object *one;

		if (o->given[i].def != d)
			continue;
		one = option_json(&o->given[i]);
		if (!d->repeat) {
			*value = one;
			return one;
		}
		if (!*value)
			*value = json_object_new_array();
		if (!*value || !append(*value, one)) {
			json_object_put(*value);
			return false;
		}
	}
	return true;
}

struct json_object *config_json(const struct opts *o, const char *const *not_here)
{
	struct json_object *root = json_object_new_object();
	const struct opt_def *d;

	for (d = o->cmd->options; root && d->f.name; d++) {
		struct json_object *value;

		if (listed(not_here, d->f.name))
			continue;
		if (!given_json(o, d, &value) || (value && !add(root, d->f.name, value))) {
			json_object_put(root);
			root = NULL;
		}
	}
	return root;
}

/* Returns how long the character at @s is in UTF-8 (RFC 3629, section 4), 0: it is none. */
static unsigned int character(const unsigned char *s)
{
	static const struct {
		unsigned char first, last; /* of the first byte */
		unsigned char least, most; /* of the second one */
		unsigned int len;
	} forms[] = {
		{0x01, 0x7f, 0, 0, 1},	     {0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};
	unsigned int n = 0, at = 2;

	while (n < sizeof(forms) / sizeof(forms[0]) && (*s < forms[n].first || *s > forms[n].last))
		n++;
	if (n == sizeof(forms) / sizeof(forms[0]))
		return 0;
	if (forms[n].len > 1 && (s[1] < forms[n].least || s[1] > forms[n].most))
		return 0;
	while (at < forms[n].len && (s[at] & 0xc0) == 0x80)
		at++;
	return at < forms[n].len ? 0 : forms[n].len;
}

static bool is_utf8(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned int len = 1;

	while (*s && len)
		s += len = character(s);
	return len;
}

int config_check(struct opts *o, const char *const *not_here)
{
	for (size_t i = 0; i < o->n_given; i++) {
		const struct opt_given *g = &o->given[i];
		char shown[96];

		if (!g->text || listed(not_here, g->def->f.name) || is_utf8(g->text))
			continue;
		return opts_fail(o,
				 "--print-config: --%s: \"%s\" is not UTF-8, as JSON is: expected "
				 "--%s beside the file",
				 g->def->f.name, opt_printable(g->text, shown, sizeof(shown)),
				 g->def->f.name);
	}
	return 0;
}

/* ---- the schema ---- */

static struct json_object *type(const char *name)
{
	struct json_object *o = json_object_new_object();

	if (o && !add(o, "type", string(name))) {
		json_object_put(o);
		o = NULL;
	}
	return o;
}

/* Returns {@name: [a, b, c]} of those that are not NULL; NULL: no memory. All are put in any
 * case. */
static struct json_object *any_of(struct json_object *a, struct json_object *b,
				  struct json_object *c)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	struct json_object *all[] = {a, b, c};
	bool ok = o && list;

	for (size_t i = 0; i < 3; i++) {
		if (!all[i])
			continue;
		if (ok)
			ok = append(list, all[i]);
		else
			json_object_put(all[i]);
	}
	if (ok && add(o, "anyOf", list))
		return o;
	if (!ok)
		json_object_put(list);
	json_object_put(o);
	return NULL;
}

static struct json_object *pattern(const char *regular)
{
	struct json_object *o = type("string");

	if (o && !add(o, "pattern", string(regular))) {
		json_object_put(o);
		o = NULL;
	}
	return o;
}

static struct json_object *integer(const struct opt_field *f)
{
	uint64_t max = f->max ? f->max : f->type == OPT_U32 ? UINT32_MAX : UINT64_MAX;
	struct json_object *o = type("integer");

	if (o && add(o, "minimum", json_object_new_uint64(f->min)) &&
	    add(o, "maximum", json_object_new_uint64(max)))
		return o;
	json_object_put(o);
	return NULL;
}

static struct json_object *word(const struct opt_word *words)
{
	struct json_object *o = type("string"), *list = json_object_new_array();
	bool ok = o && list, is_switch = false, is_number = true;

	for (; ok && words->name; words++) {
		ok = append(list, string(words->name));
		is_switch = is_switch || strcmp(words->name, "on") == 0 ||
			    strcmp(words->name, "off") == 0;
		is_number = is_number && strspn(words->name, "0123456789") == strlen(words->name);
	}
	if (ok && add(o, "enum", list))
		return is_switch   ? any_of(o, type("boolean"), NULL)
		       : is_number ? any_of(o, type("integer"), NULL)
				   : o;
	if (!ok)
		json_object_put(list);
	json_object_put(o);
	return NULL;
}

static struct json_object *nonempty(const struct opt_field *f)
{
	struct json_object *o = type("string");

	if (o && add(o, "minLength", json_object_new_int(1)) &&
	    (!f->max || f->type != OPT_STRING ||
	     add(o, "maxLength", json_object_new_uint64(f->max))))
		return o;
	json_object_put(o);
	return NULL;
}

static struct json_object *value_schema(const struct opt_field *f)
{
	switch (f->type) {
	case OPT_FLAG:
		return type("boolean");
	case OPT_SWITCH:
		return any_of(type("boolean"), pattern("^(on|off)$"), NULL);
	case OPT_U32:
	case OPT_U64:
		return any_of(integer(f), pattern("^(0x[0-9a-fA-F]+|[0-9]+)$"), NULL);
	case OPT_SIZE:
		return any_of(integer(f), pattern("^[0-9]+[KMGTkmgt]?$"), NULL);
	case OPT_TIME:
	case OPT_TIME32:
		return pattern(f->min ? "^[0-9]+(ns|us|ms|s)$" : "^(0|[0-9]+(ns|us|ms|s))$");
	case OPT_REAL:
		return any_of(type("number"), type("string"), NULL);
	case OPT_WORD:
		return word(f->words);
	case OPT_CALL:
		return any_of(nonempty(f), type("integer"), NULL);
	case OPT_STRING:
		return nonempty(f);
	case OPT_TEXT:
		break;
	}
	return type("string");
}

static bool closed(struct json_object *o)
{
	return add(o, "additionalProperties", json_object_new_boolean(0));
}

/* Returns {"required": [@name]}. */
static struct json_object *requires(const char *name)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();

	bool ok = list && append(list, string(name));

	if (o && ok && add(o, "required", list))
		return o;
	if (!o || !ok)
		json_object_put(list);
	json_object_put(o);
	return NULL;
}

/* Adds "anyOf" those of @keys of which one is needed, if there are any. Returns false if there is
 * no memory. */
static bool add_either(struct json_object *o, const struct opt_field *keys)
{
	struct json_object *list = json_object_new_array();
	bool ok = list, any = false;

	for (; ok && keys->name; keys++)
		if (keys->either) {
			ok = append(list, requires(keys->name));
			any = true;
		}
	if (ok && any)
		return add(o, "anyOf", list);
	json_object_put(list);
	return ok;
}

static struct json_object *keys_schema(const struct opt_field *keys)
{
	const struct opt_field *first = keys;
	struct json_object *o = type("object"), *properties = json_object_new_object();
	struct json_object *required = json_object_new_array();
	bool ok = o && properties && required;

	for (; ok && keys->name; keys++) {
		ok = add(properties, keys->name, value_schema(keys));
		if (ok && keys->required)
			ok = append(required, string(keys->name));
	}
	if (ok && add(o, "properties", json_object_get(properties)) &&
	    add(o, "required", json_object_get(required)) &&
	    add(o, "minProperties", json_object_new_int(1)) && add_either(o, first) && closed(o)) {
		json_object_put(properties);
		json_object_put(required);
		return o;
	}
	json_object_put(properties);
	json_object_put(required);
	json_object_put(o);
	return NULL;
}

static struct json_object *option_schema(const struct opt_def *d)
{
	struct json_object *o;

	/* A string may be a list of all keys; what is none is the first key's value. */
	o = d->keys ? any_of(keys_schema(d->keys), nonempty(&d->f), value_schema(d->keys))
		    : value_schema(&d->f);
	if (o && d->repeat) {
		struct json_object *array = type("array");

		if (!array || !add(array, "items", json_object_get(o))) {
			json_object_put(array);
			json_object_put(o);
			return NULL;
		}
		o = any_of(o, array, NULL);
	}
	if (o && !add(o, "description", string(d->help))) {
		json_object_put(o);
		o = NULL;
	}
	return o;
}

struct json_object *config_schema(const struct opt_command *cmd, const char *const *not_here)
{
	struct json_object *o = json_object_new_object(), *properties = json_object_new_object();
	const struct opt_def *d;
	char title[64];
	bool ok = o && properties;

	snprintf(title, sizeof(title), "Configuration of catnap %s", cmd->name);
	ok = ok && add(o, "$schema", string("https://json-schema.org/draft/2020-12/schema")) &&
	     add(o, "title", string(title)) && add(o, "type", string("object"));
	for (d = cmd->options; ok && d->f.name; d++) {
		if (!listed(not_here, d->f.name))
			ok = add(properties, d->f.name, option_schema(d));
	}
	if (ok && add(o, "properties", json_object_get(properties)) && closed(o)) {
		json_object_put(properties);
		return o;
	}
	json_object_put(properties);
	json_object_put(o);
	return NULL;
}
