/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Option values: text to number, size, time, switch, word. All of the text must be used up, nothing
 * overflows, and there are no signs and no blanks: what is not understood entirely is refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <catnap/catnap.h>
#include "cli/opts_guest.h"

struct unit {
	const char *name;
	uint64_t factor;
};

/* Largest first: that is the order in which a number is made short for people. */
static const struct unit size_units[] = {
	{"T", UINT64_C(1) << 40},
	{"G", UINT64_C(1) << 30},
	{"M", UINT64_C(1) << 20},
	{"K", UINT64_C(1) << 10},
	{"", 1},
	{NULL, 0},
};

/* No unit is none: 5 would be 5 ns to the program, and 5 s to whoever wrote it. */
static const struct unit time_units[] = {
	{"s", 1000000000}, {"ms", 1000000}, {"us", 1000}, {"ns", 1}, {NULL, 0},
};

static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

enum parsed { PARSED, NOT_UNDERSTOOD, NO_UNIT, TOO_LARGE };

static int digit(char c, unsigned base)
{
	int v = -1;

	if (c >= '0' && c <= '9')
		v = c - '0';
	else if (base == 16 && c >= 'a' && c <= 'f')
		v = c - 'a' + 10;
	else if (base == 16 && c >= 'A' && c <= 'F')
		v = c - 'A' + 10;
	return v;
}

/* Returns whether a text is that unit. Units that are one letter may be written small, as in 512m:
 * only sizes have such, and no clash. */
static bool same_unit(const char *text, const char *unit)
{
	if (unit[0] >= 'A' && unit[0] <= 'Z')
		return (text[0] & ~0x20) == unit[0] && text[1] == '\0';
	return strcmp(text, unit) == 0;
}

static enum parsed parse_number(const char *text, const struct unit *units, uint64_t *out)
{
	unsigned base = 10;
	uint64_t value = 0;
	bool over = false;

	if (units == no_units && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
		base = 16;
		text += 2;
	}
	if (digit(*text, base) < 0)
		return NOT_UNDERSTOOD;
	for (; digit(*text, base) >= 0; text++) {
		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, (unsigned)digit(*text, base), &value))
			over = true;
	}
	for (; units->name; units++) {
		if (same_unit(text, units->name))
			break;
	}
	if (!units->name && *text == '\0') {
		/* Nothing is nothing in every unit. */
		*out = 0;
		return value || over ? NO_UNIT : PARSED;
	}
	/* First whether it is a number at all: of "99999999999999999999x" that is the matter. */
	if (!units->name)
		return NOT_UNDERSTOOD;
	if (over || __builtin_mul_overflow(value, units->factor, &value))
		return TOO_LARGE;
	*out = value;
	return PARSED;
}

/* Parses decimal digits with at most one point; strtod() alone would take "nan", "0x1p3" and
 * blanks. */
static enum parsed parse_real(const char *text, double *out)
{
	size_t digits = strspn(text, "0123456789");
	const char *end = text + digits;

	if (*end == '.') {
		size_t more = strspn(++end, "0123456789");

		digits = digits && more ? digits + more : 0;
		end += more;
	}
	if (digits == 0 || *end)
		return NOT_UNDERSTOOD;
	*out = strtod(text, NULL); /* no setlocale() in this program: the point is a point */
	return PARSED;
}

/* Writes a value in the largest unit that divides it; a bare 0 needs none. */
static const char *show(uint64_t value, const struct unit *units, char *buf, size_t size)
{
	bool spaced;

	if (value == 0) {
		snprintf(buf, size, "0");
		return buf;
	}
	while (units[1].name && value % units->factor != 0)
		units++;
	/* "200us", but "4294967295 ns": many digits need the blank to be read. */
	spaced = units->name[0] && value / units->factor >= 100000;
	snprintf(buf, size, "%" PRIu64 "%s%s", value / units->factor, spaced ? " " : "",
		 units->name);
	return buf;
}

/* The kinds of value that are numbers with a range. */
struct kind {
	const char *what; /* "a number" */
	const struct unit *units;
	const char *forms; /* the words for a value that is not even understood */
	uint64_t largest;
};

static const struct kind *kind_of(enum opt_type type)
{
	static const struct kind u32 = {"a number", no_units, NULL, UINT32_MAX};
	static const struct kind u64 = {"a number", no_units, NULL, UINT64_MAX};
	static const struct kind size = {"a size", size_units, "as in 4096, 64K, 512M or 2G",
					 UINT64_MAX};
	static const struct kind time = {"a time", time_units, "as in 500ns, 200us, 5ms or 1s",
					 UINT64_MAX};
	static const struct kind time32 = {"a time", time_units, "as in 500ns, 200us, 5ms or 1s",
					   UINT32_MAX};

	if (type == OPT_U32)
		return &u32;
	if (type == OPT_SIZE)
		return &size;
	if (type == OPT_TIME)
		return &time;
	if (type == OPT_TIME32)
		return &time32;
	return &u64;
}

static int fail_number(struct opts *o, const struct opt_arg *arg, const struct opt_field *f,
		       enum parsed why)
{
	const struct kind *k = kind_of(f->type);
	uint64_t max = f->max ? f->max : k->largest;
	char low[32], high[32], range[80];

	show(f->min, k->units, low, sizeof(low));
	show(max, k->units, high, sizeof(high));
	if (max == UINT64_MAX && f->min == 0)
		snprintf(range, sizeof(range), "%s below 2^64%s", k->what,
			 k->units == time_units ? " ns" : "");
	else if (max == UINT64_MAX)
		snprintf(range, sizeof(range), "at least %s, below 2^64%s", low,
			 k->units == time_units ? " ns" : "");
	else if (max == f->min)
		snprintf(range, sizeof(range), "%s", low);
	else
		snprintf(range, sizeof(range), "%s to %s", low, high);

	if (why == TOO_LARGE)
		return opt_fail(o, arg, "is out of range: expected %s", range);
	if (why == NO_UNIT)
		return opt_fail(o, arg,
				"has no unit: expected ns, us, ms or s after the number, %s",
				k->forms);
	if (k->forms)
		return opt_fail(o, arg, "is not %s: expected %s, %s", k->what, range, k->forms);
	return opt_fail(o, arg, "is not %s: expected %s", k->what, range);
}

static int number(struct opts *o, const struct opt_arg *arg, const struct opt_field *f,
		  uint64_t *value)
{
	const struct kind *k = kind_of(f->type);
	enum parsed how = parse_number(arg->text, k->units, value);

	if (how == PARSED && (*value < f->min || *value > (f->max ? f->max : k->largest)))
		how = TOO_LARGE;
	if (how != PARSED)
		return fail_number(o, arg, f, how);
	return 0;
}

static int real(struct opts *o, const struct opt_arg *arg, const struct opt_field *f, double *value)
{
	enum parsed how = parse_real(arg->text, value);

	if (how != PARSED)
		return opt_fail(o, arg, "is not a decimal number: expected %" PRIu64 " to %" PRIu64,
				f->min, f->max);
	if (*value < (double)f->min || *value > (double)f->max)
		return opt_fail(o, arg, "is out of range: expected %" PRIu64 " to %" PRIu64, f->min,
				f->max);
	return 0;
}

const struct opt_word *opt_word_find(const struct opt_word *words, const char *text, size_t len)
{
	while (words->name && (strlen(words->name) != len || memcmp(words->name, text, len) != 0))
		words++;
	return words->name ? words : NULL;
}

static int word(struct opts *o, const struct opt_arg *arg, const struct opt_word *words, int *out)
{
	const struct opt_word *w;
	char list[256] = "";

	w = opt_word_find(words, arg->text, strlen(arg->text));
	if (w) {
		*out = w->value;
		return 0;
	}
	for (w = words; w->name; w++) {
		const char *sep = w == words ? "" : w[1].name ? ", " : " or ";
		size_t used = strlen(list);

		snprintf(list + used, sizeof(list) - used, "%s%s", sep, w->name);
	}
	return opt_fail(o, arg, "is unknown: expected %s", list);
}

static const struct opt_word on_off[] = {{"on", 1}, {"off", 0}, {NULL, 0}};

int opt_value(struct opts *o, const struct opt_arg *arg, const struct opt_field *field, void *dst)
{
	uint64_t value = 0;
	double decimal = 0;
	int chosen = 0, ret;

	if (arg->text[0] == '\0' && field->type != OPT_TEXT && field->type != OPT_CALL)
		return opt_fail(o, arg, "is empty: expected a value");
	switch (field->type) {
	case OPT_FLAG:
		*(bool *)dst = true;
		return 0;
	case OPT_STRING:
		if (field->max && strlen(arg->text) > field->max)
			return opt_fail(o, arg, "is too long: expected at most %" PRIu64 " bytes",
					field->max);
		*(const char **)dst = arg->text;
		return 0;
	case OPT_TEXT:
		*(const char **)dst = arg->text;
		return 0;
	case OPT_U32:
	case OPT_TIME32:
		ret = number(o, arg, field, &value);
		if (ret == 0)
			*(uint32_t *)dst = (uint32_t)value;
		return ret;
	case OPT_U64:
	case OPT_SIZE:
	case OPT_TIME:
		ret = number(o, arg, field, &value);
		if (ret == 0)
			*(uint64_t *)dst = value;
		return ret;
	case OPT_REAL:
		ret = real(o, arg, field, &decimal);
		if (ret == 0)
			*(double *)dst = decimal;
		return ret;
	case OPT_SWITCH:
		if (field->words)
			return word(o, arg, field->words, dst);
		ret = word(o, arg, on_off, &chosen);
		if (ret == 0)
			*(bool *)dst = chosen;
		return ret;
	case OPT_WORD:
		ret = word(o, arg, field->words, &chosen);
		if (ret == 0)
			*(int *)dst = chosen;
		return ret;
	case OPT_CALL:
		return field->set(o, arg, dst);
	}
	return opts_fail(o, "--%s: the option table is wrong", arg->option);
}

/* ---- halt polling ---- */

const struct opt_word opt_policies[] = {
	{"adaptive", CATNAP_POLICY_ADAPTIVE}, {"kernel", CATNAP_POLICY_KERNEL},
	{"fixed", CATNAP_POLICY_FIXED},	      {"always", CATNAP_POLICY_ALWAYS},
	{"off", CATNAP_POLICY_OFF},	      {NULL, 0},
};

const struct opt_word opt_biases[] = {
	{"latency", CATNAP_BIAS_LATENCY},
	{"balanced", CATNAP_BIAS_BALANCED},
	{"power", CATNAP_BIAS_POWER},
	{NULL, 0},
};

const struct opt_word opt_spins[] = {
	{"auto", CATNAP_SPIN_AUTO},
	{"pause", CATNAP_SPIN_PAUSE},
	{"umwait", CATNAP_SPIN_UMWAIT},
	{"mwaitx", CATNAP_SPIN_MWAITX},
	{NULL, 0},
};

const struct opt_word opt_guest_hosts[] = {
	{"off", CATNAP_AFTER_GUEST_NEVER},
	{"break-even", CATNAP_AFTER_GUEST_BREAK_EVEN},
	{"learned", CATNAP_AFTER_GUEST_LEARNED},
	{NULL, 0},
};

const struct opt_word opt_on_off[] = {{"on", 1}, {"off", 0}, {NULL, 0}};

struct halt_poll_keys {
	struct catnap_halt_poll params;
	int policy, bias, spin;
	bool group;
	uint64_t max_ns; /* not_given: none was given */
	bool learned;	 /* max=learned */
	uint32_t vcpu;
};

/* Takes "5%" or "0.25%", to hundredths of per cent. */
static int set_cpu_max(struct opts *o, const struct opt_arg *arg, void *dst)
{
	struct halt_poll_keys *keys = dst;
	size_t len = strlen(arg->text);
	char number[16];
	double value;

	if (len > 1 && arg->text[len - 1] == '%')
		len--;
	if (len >= sizeof(number))
		return opt_fail(o, arg, "is not a percentage: expected 0%% to 100%%");
	memcpy(number, arg->text, len);
	number[len] = '\0';
	if (parse_real(number, &value) != PARSED || value > 100)
		return opt_fail(o, arg, "is not a percentage: expected 0%% to 100%%");
	/* Less than a hundredth is not "no limit". */
	keys->params.cpu_max = (uint32_t)(value * 100 + 0.5);
	if (keys->params.cpu_max == 0 && value > 0)
		keys->params.cpu_max = 1;
	return 0;
}

static const uint32_t no_vcpu = UINT32_MAX;
static const uint64_t not_given = UINT64_MAX;

/* Takes max=TIME or max=learned. */
static int set_max(struct opts *o, const struct opt_arg *arg, void *dst)
{
	static const struct opt_field time = {.type = OPT_TIME, .max = UINT32_MAX};
	struct halt_poll_keys *keys = dst;

	keys->learned = strcmp(arg->text, "learned") == 0;
	return keys->learned ? 0 : opt_value(o, arg, &time, &keys->max_ns);
}

/* Returns each policy's own default, since the kernel's is too short for adaptive where a sleep
 * costs much. */
static uint32_t default_max(uint32_t policy)
{
	return policy == CATNAP_POLICY_ADAPTIVE ? CATNAP_ADAPTIVE_MAX_NS : CATNAP_KERNEL_MAX_NS;
}

void opt_policy_init(struct catnap_halt_poll *params, uint32_t policy)
{
	catnap_halt_poll_init(params);
	params->policy = policy;
	params->max_ns = default_max(policy);
}

/* Which keys have an effect with which policies: 1 << enum catnap_policy_kind. */
#define P(policy) (UINT32_C(1) << CATNAP_POLICY_##policy)
static const struct {
	const char *key;
	uint32_t policies;
} effects[] = {
	{"max", P(KERNEL) | P(FIXED) | P(ADAPTIVE)},
	{"grow", P(KERNEL)},
	{"grow-start", P(KERNEL)},
	{"shrink", P(KERNEL)},
	{"bias", P(ADAPTIVE)},
	/* The polls of always do not fail, and off has none. */
	{"cpu-max", P(KERNEL) | P(FIXED) | P(ADAPTIVE)},
	{"spin", P(KERNEL) | P(FIXED) | P(ADAPTIVE) | P(ALWAYS)},
};
#undef P

static int check_effects(struct opts *o, const struct opt_arg *arg, const struct opt_field *keys,
			 uint64_t given, uint32_t policy)
{
	const struct opt_word *w;

	for (size_t i = 0; i < sizeof(effects) / sizeof(effects[0]); i++) {
		const char *key = effects[i].key;
		char list[64] = "";
		size_t used = 0, k = 0;

		while (keys[k].name && strcmp(keys[k].name, key) != 0)
			k++;
		if (!keys[k].name || !(given >> k & 1) || effects[i].policies >> policy & 1)
			continue;
		for (w = opt_policies; w->name; w++)
			if (effects[i].policies >> w->value & 1)
				used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
							 used ? " or " : "", w->name);
		return opts_fail(o, "--%s: %s: has no effect with policy %s: expected policy %s",
				 arg->option, key, opt_policy_name(policy), list);
	}
	return 0;
}

#define AT(member) offsetof(struct halt_poll_keys, member)
const struct opt_field opt_halt_poll_keys[] = {
	{.name = "policy", .type = OPT_WORD, .offset = AT(policy), .words = opt_policies},
	{.name = "max", .type = OPT_TIME, .offset = AT(max_ns), .max = UINT32_MAX},
	{.name = "grow", .type = OPT_U32, .offset = AT(params.grow)},
	{.name = "grow-start", .type = OPT_TIME32, .offset = AT(params.grow_start_ns)},
	{.name = "shrink", .type = OPT_U32, .offset = AT(params.shrink)},
	{.name = "bias", .type = OPT_WORD, .offset = AT(bias), .words = opt_biases},
	/* Of a VM, which has a clock and vCPUs. A lone vCPU 0 is checked below. */
	{.name = "cpu-max", .type = OPT_CALL, .set = set_cpu_max},
	{.name = "vcpu", .type = OPT_U32, .offset = AT(vcpu), .max = no_vcpu - 1},
	{.name = "group", .type = OPT_SWITCH, .offset = AT(group)},
	{.name = "spin", .type = OPT_WORD, .offset = AT(spin), .words = opt_spins},
	{.name = NULL},
};
#undef AT

enum {
	KEY_MAX = 1,
	KEY_BIAS = 5,
	KEY_OF_A_VM = 6,
	KEY_VCPU = 7,
	KEYS = sizeof(opt_halt_poll_keys) / sizeof(opt_halt_poll_keys[0])
};

/* Puts what was given over *@params. */
static void put_params(struct catnap_halt_poll *params, const struct halt_poll_keys *got)
{
	const uint32_t before = params->policy;

	*params = got->params;
	params->policy = (uint32_t)got->policy;
	params->bias = (uint32_t)got->bias;
	params->group = got->group;
	params->spin = (uint32_t)got->spin;
	if (got->max_ns != not_given)
		params->max_ns = (uint32_t)got->max_ns;
	else if (got->learned)
		params->max_ns = CATNAP_ADAPTIVE_MAX_NS;
	else if (params->max_ns == default_max(before))
		params->max_ns = default_max(params->policy);
}

static struct halt_poll_keys from_params(const struct catnap_halt_poll *params)
{
	return (struct halt_poll_keys){.params = *params,
				       .policy = (int)params->policy,
				       .bias = (int)params->bias,
				       .group = params->group != 0,
				       .spin = (int)params->spin,
				       .max_ns = not_given,
				       .vcpu = no_vcpu};
}

/* Takes a vCPU's halt polling over what @params holds. */
int opt_halt_poll_vcpu(struct opts *o, const struct opt_arg *arg, uint32_t n_vcpus,
		       struct catnap_halt_poll *params, struct opt_halt_poll_more *more)
{
	const struct opt_field *keys = opt_halt_poll_keys;
	struct halt_poll_keys got = from_params(params);
	uint64_t given;

	if (opt_keys_given(o, arg, keys, &got, &given) ||
	    check_effects(o, arg, keys, given, (uint32_t)got.policy))
		return -EINVAL;
	if (got.vcpu != no_vcpu && got.vcpu >= n_vcpus)
		return opts_fail(o,
				 "--%s: vcpu: \"%" PRIu32
				 "\" is out of range: expected 0 to %" PRIu32,
				 arg->option, got.vcpu, n_vcpus ? n_vcpus - 1 : 0);
	put_params(params, &got);
	*more = (struct opt_halt_poll_more){.vcpu = got.vcpu == no_vcpu ? -1 : (int)got.vcpu,
					    .policy = given & 1};
	for (size_t i = KEY_MAX + 1; i < KEYS; i++) {
		if (i == KEY_VCPU || !(given >> i & 1))
			continue;
		if (i == KEY_BIAS || i == KEY_OF_A_VM)
			more->weighing = keys[i].name;
		else
			more->tuning = keys[i].name;
	}
	return 0;
}

int opt_halt_poll(struct opts *o, const struct opt_arg *arg, struct catnap_halt_poll *params,
		  bool *learned)
{
	struct halt_poll_keys got = from_params(params);
	struct opt_field keys[KEYS];
	uint64_t given;

	memcpy(keys, opt_halt_poll_keys, sizeof(keys));
	keys[KEY_OF_A_VM].name = NULL;
	keys[KEY_MAX].type = OPT_CALL;
	keys[KEY_MAX].set = set_max;
	if (opt_keys_given(o, arg, keys, &got, &given))
		return -EINVAL;
	if (got.learned && got.policy != CATNAP_POLICY_KERNEL)
		return opts_fail(o,
				 "--%s: max: \"learned\" has no effect with policy %s: expected "
				 "policy kernel",
				 arg->option, opt_policy_name((uint32_t)got.policy));
	/* It weighs a sleep as adaptive does. */
	if (got.learned)
		given &= ~(UINT64_C(1) << KEY_BIAS);
	if (check_effects(o, arg, keys, given, (uint32_t)got.policy))
		return -EINVAL;
	put_params(params, &got);
	*learned = got.learned;
	return 0;
}

const char *opt_policy_name(uint32_t policy)
{
	const struct opt_word *w;

	for (w = opt_policies; w->name; w++) {
		if ((uint32_t)w->value == policy)
			return w->name;
	}
	return NULL;
}
