/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chooses the irqchip of `--irqchip auto`: the one that the options need, or else the better one
 * for this number of vCPUs, by what single things cost on this host. That is measured once for each
 * boot, and kept: VMs of one host do not differ because it was busy when one of them started.
 */
#include <string.h>

#include "cli/crossover_child.h"
#include "cli/now.h"
#include "cli/run/run.h"

#define MAX_CHECKS 64

/* Returns the option that has an effect with irqchip user only; NULL: none was given. */
static const char *wants_user(const struct run_cfg *cfg)
{
	const uint32_t policy = cfg->halt_poll.policy;

	if (cfg->halt_trace)
		return "--halt-trace";
	if (cfg->guest_poll.host_given && cfg->guest_poll.host)
		return "--guest-halt-poll host=";
	if (cfg->n_vcpu_halt_poll)
		return "--halt-poll vcpu=";
	if (cfg->halt_poll_tuning ||
	    (cfg->halt_poll_weighing && policy != CATNAP_POLICY_ADAPTIVE) ||
	    (cfg->halt_poll_named && policy != CATNAP_POLICY_KERNEL &&
	     policy != CATNAP_POLICY_ADAPTIVE && policy != CATNAP_POLICY_OFF))
		return "--halt-poll";
	return NULL;
}

/* Returns whether this host's KVM lacks what irqchip user needs. */
static bool user_is_missing(void)
{
	struct catnap_check checks[MAX_CHECKS];
	size_t n = catnap_check_host(checks, MAX_CHECKS);

	for (size_t i = 0; i < n && i < MAX_CHECKS; i++)
		if (strcmp(checks[i].name, "irqchip=user") == 0)
			return checks[i].state == CATNAP_CHECK_MISSING;
	return false;
}

/* Measures the better irqchips into @price. False: they cannot be measured. */
static bool measure(struct host_price *price)
{
	struct json_object *results;
	bool known;

	if (user_is_missing()) {
		price->one_vcpu = price->several = HOST_IRQCHIP_KERNEL;
		return true;
	}
	if (crossover_measure(true, &results) < 0)
		return false;
	known = crossover_choice(results, price);
	json_object_put(results);
	return known;
}

/* Finds the better irqchips of this host, measured now if need be. Returns why there are none;
 * NULL: price->one_vcpu and price->several are known. */
static const char *find(struct run_cfg *cfg, struct host_price *price)
{
	const char *why = NULL;
	struct price_file file;
	uint64_t begin;

	price_file_read(&file);
	*price = file.known;
	if (price->one_vcpu)
		return NULL;
	if (!run_starts(cfg))
		return "nothing is known of this host, and nothing is started";
	price_file_open(&file);
	if (file.fd < 0)
		return "nothing is known of this host, and what is measured could not be kept";
	begin = now_ns();
	if (measure(price))
		price_file_write(&file, *price);
	else
		why = "this host could not be measured";
	price_file_close(&file);
	/* That is no part of this VM's life. */
	cfg->begin_ns += now_ns() - begin;
	return why;
}

void run_choose_irqchip(struct run_cfg *cfg)
{
	const char *option = wants_user(cfg), *why;
	enum host_irqchip better = HOST_IRQCHIP_USER;
	struct host_price price;

	if (option) {
		snprintf(cfg->irqchip_why, sizeof(cfg->irqchip_why), "%s needs it", option);
	} else {
		why = find(cfg, &price);
		if (!why)
			better = cfg->cpus == 1 ? price.one_vcpu : price.several;
		snprintf(cfg->irqchip_why, sizeof(cfg->irqchip_why), "%s",
			 why		  ? why
			 : cfg->cpus == 1 ? "the better one with one vCPU, by prices of this host"
					  : "the better one with several vCPUs, by prices of this "
					    "host");
	}
	cfg->irqchip = better == HOST_IRQCHIP_KERNEL ? CATNAP_IRQCHIP_KERNEL : CATNAP_IRQCHIP_USER;
}

void run_say_irqchip(const struct run_cfg *cfg, struct run_io *io)
{
	char text[160];

	if (!cfg->irqchip_why[0])
		return;
	snprintf(text, sizeof(text), "irqchip auto: %s: %s",
		 cfg->irqchip == CATNAP_IRQCHIP_KERNEL ? "kernel" : "user", cfg->irqchip_why);
	log_message(&io->messages, CATNAP_LOG_INFO, text);
}
