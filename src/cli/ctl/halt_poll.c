/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap ctl halt-poll`: how long halted vCPUs poll, told and changed while they run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/ctl/ctl.h"
#include "cli/ctl/figures.h"
#include "cli/json_out.h"

struct keys {
	int policy, bias, spin;
	uint32_t max_ns, grow, grow_start_ns, shrink, vcpu;
	double cpu_max;
	bool group;
};

/* Takes "5%" or "5". */
static int set_cpu_max(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field percent = {.type = OPT_REAL, .max = 100};
	struct opt_arg digits = *arg;
	struct keys *keys = ptr;
	size_t len = strlen(arg->text);
	char number[16];

	if (len > 1 && len < sizeof(number) && arg->text[len - 1] == '%') {
		memcpy(number, arg->text, len - 1);
		number[len - 1] = '\0';
		digits.text = number;
	}
	return opt_value(o, &digits, &percent, &keys->cpu_max);
}

enum { POLICY, MAX, GROW, GROW_START, SHRINK, BIAS, CPU_MAX, VCPU, GROUP, SPIN };

/* As in run's --halt-poll. Which of them go together is the server's to say: it knows the policy. */
static const struct opt_field fields[] = {
	[POLICY] = {.name = "policy",
		    .type = OPT_WORD,
		    .offset = offsetof(struct keys, policy),
		    .words = opt_policies},
	[MAX] = {.name = "max", .type = OPT_TIME32, .offset = offsetof(struct keys, max_ns)},
	[GROW] = {.name = "grow", .type = OPT_U32, .offset = offsetof(struct keys, grow)},
	[GROW_START] = {.name = "grow-start",
			.type = OPT_TIME32,
			.offset = offsetof(struct keys, grow_start_ns)},
	[SHRINK] = {.name = "shrink", .type = OPT_U32, .offset = offsetof(struct keys, shrink)},
	[BIAS] = {.name = "bias",
		  .type = OPT_WORD,
		  .offset = offsetof(struct keys, bias),
		  .words = opt_biases},
	[CPU_MAX] = {.name = "cpu-max", .type = OPT_CALL, .set = set_cpu_max},
	[VCPU] = {.name = "vcpu",
		  .type = OPT_U32,
		  .offset = offsetof(struct keys, vcpu),
		  .max = 63},
	[GROUP] = {.name = "group", .type = OPT_SWITCH, .offset = offsetof(struct keys, group)},
	[SPIN] = {.name = "spin",
		  .type = OPT_WORD,
		  .offset = offsetof(struct keys, spin),
		  .words = opt_spins},
	{.name = NULL},
};

static const char *word_of(const struct opt_word *words, int value)
{
	while (words->name && words->value != value)
		words++;
	return words->name;
}

static struct json_object *body_of(const struct keys *k, uint64_t given)
{
	const struct {
		int field;
		const char *name;
		uint64_t value;
	} numbers[] = {{MAX, "max_ns", k->max_ns},
		       {GROW, "grow", k->grow},
		       {GROW_START, "grow_start_ns", k->grow_start_ns},
		       {SHRINK, "shrink", k->shrink}};
	struct json_object *o = json_object_new_object();

	if (given >> POLICY & 1)
		add_text(o, "policy", word_of(opt_policies, k->policy));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (given >> numbers[i].field & 1)
			json_object_object_add(o, numbers[i].name,
					       json_object_new_uint64(numbers[i].value));
	if (given >> BIAS & 1)
		add_text(o, "bias", word_of(opt_biases, k->bias));
	if (given >> CPU_MAX & 1)
		json_object_object_add(o, "cpu_max_percent", json_object_new_double(k->cpu_max));
	if (given >> GROUP & 1)
		json_object_object_add(o, "group", json_object_new_boolean(k->group));
	if (given >> SPIN & 1)
		add_text(o, "spin", word_of(opt_spins, k->spin));
	return o;
}

/* -- what it is ------------------------------------------------------------------------------- */

static void add_number(struct table *t, struct json_object *o, const char *name)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, client_number(o, name));
	table_add(t, client_member(o, name) ? text : NULL);
}

static void add_time(struct table *t, struct json_object *o, const char *name)
{
	char text[FIGURE_SIZE];

	table_add(t, client_member(o, name) ? show_ns(text, client_number(o, name)) : NULL);
}

/* Adds a percentage; 0: there is no limit. */
static void add_percent(struct table *t, struct json_object *o, const char *name)
{
	double percent = json_object_get_double(client_member(o, name));
	char text[24];

	snprintf(text, sizeof(text), "%.4g%%", percent);
	table_add(t, percent > 0 ? text : NULL);
}

static void add_switch(struct table *t, struct json_object *o, const char *name)
{
	struct json_object *m = client_member(o, name);

	table_add(t, m ? json_object_get_boolean(m) ? "on" : "off" : NULL);
}

static int print(struct json_object *o)
{
	static const char *const heads[] = {"vcpu",	  "<policy", "max",   "grow",
					    "grow-start", "shrink",  "<bias", "cpu-max",
					    "group",	  "<spin",   NULL};
	struct json_object *list = client_member(o, "vcpus");
	struct table t;

	table_init(&t, heads);
	for (size_t i = 0; i < client_length(list); i++) {
		struct json_object *one = json_object_array_get_idx(list, i);

		add_number(&t, one, "vcpu");
		table_add(&t, client_text(one, "policy"));
		add_time(&t, one, "max_ns");
		add_number(&t, one, "grow");
		add_time(&t, one, "grow_start_ns");
		add_number(&t, one, "shrink");
		table_add(&t, client_text(one, "bias"));
		add_percent(&t, one, "cpu_max_percent");
		add_switch(&t, one, "group");
		table_add(&t, client_text(one, "spin"));
	}
	return table_print(&t) < 0 ? CMD_ERROR : CMD_OK;
}

static int run(struct ctl *ctl)
{
	struct keys keys = {.policy = 0};
	char path[64] = "/catnap/halt-polling";
	uint64_t given;

	if (!ctl->settings.text)
		return ctl_show(ctl, path, print);
	if (opt_keys_given(ctl->opts, &ctl->settings, fields, &keys, &given) < 0)
		return ctl_usage(ctl);
	if (given == UINT64_C(1) << VCPU) {
		opts_fail(ctl->opts, "halt-poll: vcpu alone changes nothing: expected policy= or "
				     "another key");
		return ctl_usage(ctl);
	}
	if (given >> VCPU & 1)
		snprintf(path, sizeof(path), "/catnap/halt-polling/%" PRIu32, keys.vcpu);
	return ctl_send(ctl, "PATCH", path, body_of(&keys, given));
}

const struct ctl_command ctl_halt_poll = {
	.name = "halt-poll",
	.form = "policy=WORD,max=TIME,bias=WORD,cpu-max=N%,vcpu=N,...",
	.keys = fields,
	.summary = "Tells how long halted vCPUs poll, or changes it at once.",
	.more = "Without settings: a line for each vCPU. The keys are those of catnap run\n"
		"--halt-poll, and what is not given stays as it is; without vcpu= all vCPUs are\n"
		"changed:\n"
		"  policy=adaptive|kernel|fixed|always|off   a default max follows it\n"
		"  max=TIME, bias=latency|balanced|power, cpu-max=N%, group=on|off\n"
		"  spin=auto|pause|umwait|mwaitx             how a poll waits\n"
		"  grow=N, grow-start=TIME, shrink=N         of policy kernel\n",
	.run = run,
};
