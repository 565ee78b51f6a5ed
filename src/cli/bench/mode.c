/* SPDX-License-Identifier: Apache-2.0 */
/* The modes of `catnap bench`: ways to run the guest, from their names. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "cli/bench/workload.h"
#include "cli/opts_guest.h"

/* Measured by default in each workload that lists no modes of its own. */
static const char *const usual[] = {"user:adaptive", "user:kernel", "user:always",  "user:fixed",
				    "user:off",	     "kernel:0",    "kernel:200us", NULL};

static int not_a_mode(struct opts *o, const struct opt_arg *arg)
{
	return opt_fail(o, arg,
			"is not a mode: expected user:adaptive[:BIAS], user:kernel, user:always, "
			"user:fixed, user:off, guest:TIME, kernel:TIME, kernel:adaptive[:BIAS] or "
			"pm");
}

static bool is_io(const char *word)
{
	return strcmp(word, "/vcpu") == 0 || strcmp(word, "/thread") == 0;
}

/* Takes what stands behind the slash, or, if there is none, what the mode's family has. */
static int parse_io(struct opts *o, const struct opt_arg *arg, const char *slash,
		    struct bench_mode *mode)
{
	bool thread = strncmp(mode->name, "kernel:", 7) == 0 || mode->guest_hlt;

	if (*slash && !is_io(slash))
		return opt_fail(o, arg,
				"is not a mode: expected /vcpu or /thread behind the slash");
	if (*slash) {
		mode->io_word = slash;
		thread = slash[1] == 't';
	}
	mode->io = thread ? CATNAP_IO_THREAD : CATNAP_IO_VCPU;
	return 0;
}

/* Takes what stands behind adaptive: ":" and a bias, or nothing. */
static int parse_bias(struct opts *o, const struct opt_arg *arg, const char *bias,
		      struct bench_mode *mode)
{
	const struct opt_word *found;

	if (!*bias)
		return 0;
	found = *bias == ':' ? opt_word_find(opt_biases, bias + 1, strlen(bias + 1)) : NULL;
	if (!found)
		return not_a_mode(o, arg);
	mode->halt_poll.bias = (uint32_t)found->value;
	return 0;
}

/* Takes TIME, or adaptive[:BIAS], with which the limit is learned. */
static int parse_kernel(struct opts *o, const struct opt_arg *arg, const char *time,
			struct bench_mode *mode)
{
	static const struct opt_field field = {.type = OPT_TIME32, .max = UINT32_MAX};
	const struct opt_arg value = {.option = arg->option, .key = "kernel", .text = time};

	mode->irqchip = CATNAP_IRQCHIP_KERNEL;
	if (strncmp(time, "adaptive", 8) == 0) {
		opt_policy_init(&mode->halt_poll, CATNAP_POLICY_ADAPTIVE);
		return parse_bias(o, arg, time + 8, mode);
	}
	opt_policy_init(&mode->halt_poll, CATNAP_POLICY_KERNEL);
	return opt_value(o, &value, &field, &mode->halt_poll.max_ns);
}

/* Takes POLICY, or adaptive:BIAS. */
static int parse_user(struct opts *o, const struct opt_arg *arg, const char *policy,
		      struct bench_mode *mode)
{
	const size_t len = strcspn(policy, ":");
	const struct opt_word *found = opt_word_find(opt_policies, policy, len);

	if (!found || (policy[len] && found->value != CATNAP_POLICY_ADAPTIVE))
		return not_a_mode(o, arg);
	mode->irqchip = CATNAP_IRQCHIP_USER;
	opt_policy_init(&mode->halt_poll, (uint32_t)found->value);
	return parse_bias(o, arg, policy + len, mode);
}

/* Takes TIME[,KEY=VALUE...]; parameters that are not given are as in Linux. */
static int parse_haltpoll(struct opts *o, const struct opt_arg *arg, char *text,
			  struct bench_haltpoll *p)
{
	static const struct opt_field time = {.type = OPT_TIME32, .max = UINT32_MAX};
	static const struct opt_field keys[] = {
		OPT_GUEST_POLL_KEYS(struct bench_haltpoll, UINT32_MAX),
		{.name = NULL},
	};
	const struct opt_arg value = {.option = arg->option, .key = "guest", .text = text};
	struct opt_arg list = {.option = arg->option};
	char *comma = strchr(text, ',');

	*p = (struct bench_haltpoll){
		.grow = 2, .grow_start_ns = 50000, .shrink = 2, .allow_shrink = 1};
	if (comma) {
		*comma = '\0';
		list.text = comma + 1;
	}
	if (opt_value(o, &value, &time, &p->ns))
		return -EINVAL;
	return comma ? opt_keys(o, &list, keys, p) : 0;
}

/* Takes TIME[,KEY=VALUE...][/HOST]; *@rest: what stands behind that. */
static int parse_guest(struct opts *o, const struct opt_arg *arg, const char *params,
		       struct bench_mode *mode, const char **rest)
{
	static const struct opt_field word = {.type = OPT_WORD, .words = opt_guest_hosts};
	size_t len = strcspn(params, "/"), host_len = 0;
	const char *slash = params + len;
	struct opt_arg host = {.option = arg->option, .key = "host"};
	char text[160];

	if (len >= sizeof(text))
		return not_a_mode(o, arg);
	mode->polls = true;
	mode->irqchip = CATNAP_IRQCHIP_USER;
	opt_policy_init(&mode->halt_poll, CATNAP_POLICY_ADAPTIVE);
	snprintf(text, sizeof(text), "%.*s", (int)len, params);
	if (parse_haltpoll(o, arg, text, &mode->guest))
		return -EINVAL;
	*rest = slash;
	if (!*slash || is_io(slash))
		return 0;
	host_len = strcspn(slash + 1, "/");
	*rest = slash + 1 + host_len;
	snprintf(text, sizeof(text), "%.*s", host_len < sizeof(text) ? (int)host_len : 0,
		 slash + 1);
	host.text = text;
	return opt_value(o, &host, &word, &mode->guest.host);
}

/*
 * Takes user:POLICY, user:adaptive:BIAS, kernel:TIME, kernel:adaptive:BIAS, pm, or guest:TIME and
 * behind a slash the host's part, and behind a slash who runs the devices. Names are kept as given:
 * they label the results. Without it, user and guest modes have the vCPU do it, and kernel modes,
 * the baseline, a thread, as monitors do that leave HLT to KVM.
 */
int bench_mode_parse(struct opts *o, const struct opt_arg *arg, const char *name,
		     struct bench_mode *mode)
{
	char how[48]; /* the name without the slash and what follows */
	size_t len = strcspn(name, "/");
	const char *slash = name + len;

	*mode = (struct bench_mode){.name = name};
	if (strncmp(name, "guest:", 6) == 0) {
		if (parse_guest(o, arg, name + 6, mode, &slash))
			return -EINVAL;
		return parse_io(o, arg, slash, mode);
	}
	mode->guest_hlt = len == 2 && strncmp(name, "pm", 2) == 0;
	if (parse_io(o, arg, slash, mode))
		return -EINVAL;
	if (mode->guest_hlt) {
		mode->irqchip = CATNAP_IRQCHIP_KERNEL;
		opt_policy_init(&mode->halt_poll, CATNAP_POLICY_OFF);
		return 0;
	}
	snprintf(how, sizeof(how), "%.*s", len < sizeof(how) ? (int)len : 0, name);
	if (strncmp(how, "kernel:", 7) == 0)
		return parse_kernel(o, arg, how + 7, mode);
	if (strncmp(how, "user:", 5) == 0)
		return parse_user(o, arg, how + 5, mode);
	return not_a_mode(o, arg);
}

/* -- by default ------------------------------------------------------------------------------- */

static bool among(const char *const *names, const char *name)
{
	while (*names && strcmp(*names, name) != 0)
		names++;
	return *names;
}

const char *const *bench_modes_of(const struct bench_workload *w)
{
	return w->modes ? w->modes : usual;
}

bool bench_mode_applies(const struct bench_mode *mode, const struct bench_workload *w)
{
	if (mode->peer)
		return w->options & bench_peer_option(mode->peer);
	if (mode->polls && !(w->options & BENCH_OPT_GUEST))
		return false;
	/* Commands of their own have no such option. */
	if (mode->guest_hlt && !(w->options & ~(uint32_t)BENCH_OPT_PEER))
		return false;
	return !mode->by_default || among(bench_modes_of(w), mode->name);
}
