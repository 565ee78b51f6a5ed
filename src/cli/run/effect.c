/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which options of `catnap run` have no effect beside which others. Such a combination is refused,
 * and the line names what would have done nothing. Where scripts give the same policies to both
 * irqchips or to any number of vCPUs, to compare them, it is said only.
 */
#include <errno.h>

#include "cli/printable.h"
#include "cli/run/run.h"

/* The options that are about a VM that runs. */
static const char *const of_a_run[] = {"stats",	  "api-socket", "halt-trace",
				       "timeout", "initramfs",	"kernel-format"};

static int check_no_kernel(struct opts *o, const struct run_cfg *cfg)
{
	for (size_t i = 0; i < sizeof(of_a_run) / sizeof(of_a_run[0]) && !run_starts(cfg); i++)
		if (opts_given(o, of_a_run[i]))
			return opts_fail(o,
					 "--%s: has no effect where nothing is started: expected "
					 "--kernel PATH",
					 of_a_run[i]);
	return 0;
}

static int check_image(struct opts *o, const struct run_cfg *cfg)
{
	const struct run_guest_halt_poll *g = &cfg->guest_poll;
	bool parameters = g->allow_shrink >= 0 || !g->by_price || g->grow != GUEST_POLL_UNSET ||
			  g->grow_start_ns != GUEST_POLL_UNSET || g->shrink != GUEST_POLL_UNSET;
	bool flat = cfg->image_kind == CATNAP_IMAGE_FLAT;

	if (flat && opts_given(o, "cmdline") && *cfg->cmdline)
		return opts_fail(o, "--cmdline: has no effect with --kernel-format flat: expected "
				    "an image that is given a command line");
	if (!flat && cfg->image_kind != CATNAP_IMAGE_MULTIBOOT)
		return 0;
	if (parameters ||
	    (opts_given(o, "guest-halt-poll") && cfg->guest_poll.mode == GUEST_POLL_FORCE))
		return opts_fail(o,
				 "--guest-halt-poll: %s no effect with --kernel-format %s: "
				 "expected an image of Linux, off or realtime alone",
				 parameters ? "parameters have" : "force has",
				 flat ? "flat" : "multiboot");
	return 0;
}

static int check_halts(struct opts *o, const struct run_cfg *cfg)
{
	const char *policy = opt_policy_name(cfg->halt_poll.policy);

	if (cfg->guest_poll.host_given && cfg->guest_poll.host && !cfg->n_vcpu_halt_poll &&
	    cfg->halt_poll.policy == CATNAP_POLICY_OFF)
		return opts_fail(o,
				 "--guest-halt-poll: host: %s has no effect with --halt-poll off: "
				 "expected another policy",
				 cfg->guest_poll.host == CATNAP_AFTER_GUEST_BREAK_EVEN
					 ? "break-even"
					 : "learned");
	if (cfg->halt_poll.group && cfg->cpus == 1 && cfg->irqchip == CATNAP_IRQCHIP_USER)
		complain("catnap run: --halt-poll: group: has no effect with --cpus 1\n");
	if (cfg->irqchip != CATNAP_IRQCHIP_KERNEL)
		return 0;
	if (cfg->halt_poll_tuning)
		return opts_fail(o,
				 "--halt-poll: %s: has no effect with --irqchip kernel: expected "
				 "max, bias or cpu-max, or --irqchip user",
				 cfg->halt_poll_tuning);
	if (cfg->halt_poll_weighing && cfg->halt_poll.policy != CATNAP_POLICY_ADAPTIVE)
		return opts_fail(o,
				 "--halt-poll: %s: has no effect with --irqchip kernel and policy "
				 "%s: expected policy adaptive, or --irqchip user",
				 cfg->halt_poll_weighing, policy);
	if (cfg->halt_poll_named && cfg->halt_poll.policy != CATNAP_POLICY_KERNEL &&
	    cfg->halt_poll.policy != CATNAP_POLICY_ADAPTIVE &&
	    cfg->halt_poll.policy != CATNAP_POLICY_OFF)
		complain("catnap run: --halt-poll: policy: %s has no effect with --irqchip kernel, "
			 "which has KVM's own: only max counts\n",
			 policy);
	return 0;
}

int run_check_effects(struct opts *o, const struct run_cfg *cfg)
{
	if (check_no_kernel(o, cfg) || check_image(o, cfg) || check_halts(o, cfg))
		return -EINVAL;
	if (cfg->verbose && opts_given(o, "log-level"))
		return opts_fail(o, "--verbose: is --log-level info: expected one of them");
	return 0;
}
