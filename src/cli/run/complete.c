/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole of what `catnap run` is told: the command line, what a configuration file adds to it,
 * and whether the options go together. And the same written as such a file.
 */
#include <errno.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/config.h"
#include "cli/json_out.h"
#include "cli/opts.h"
#include "cli/printable.h"
#include "cli/run/run.h"
#include "vcpus.h"

#define COM1_FIRST	 0x3f8u
#define COM1_LAST	 0x3ffu
#define DEBUG_EXIT_PORTS 4u

/* The options that stand on the command line only. */
static const char *const not_in_files[] = {"config", "print-config", "print-schema",
					   "list-boot-entries", NULL};

uint64_t run_deadline(const struct run_cfg *cfg)
{
	uint64_t deadline = cfg->begin_ns + cfg->timeout_ns;

	return cfg->timeout_ns && deadline >= cfg->timeout_ns ? deadline : UINT64_MAX;
}

/* Takes what is no option, and what the configuration file adds. Returns 0, -EINVAL or
 * -ETIMEDOUT. */
static int take_rest(struct opts *o, struct run_cfg *cfg)
{
	if (o->n_args) {
		if (cfg->kernel)
			return opts_fail(o, "a kernel was given twice: --kernel and \"%s\"",
					 o->args[0]);
		if (opts_take(o, opts_find(o, "kernel"), o->args[0], cfg))
			return -EINVAL;
	}
	return cfg->config ? config_read(o, cfg->config, run_deadline(cfg), not_in_files, cfg) : 0;
}

/* Refuses - where others have it for standard output and here it would be a file's name. */
static int check_paths(struct opts *o, const struct run_cfg *cfg)
{
	const struct {
		const char *option, *path;
	} paths[] = {
		{"dump-acpi", cfg->dump_acpi},	 {"dump-dtb", cfg->dump_dtb},
		{"halt-trace", cfg->halt_trace}, {"log-file", cfg->log_file},
		{"api-socket", cfg->api_socket},
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		if (paths[i].path && strcmp(paths[i].path, "-") == 0)
			return opts_fail(o,
					 "--%s: \"-\" is no path: expected ./- for a file of that "
					 "name, or /dev/stdout",
					 paths[i].option);
	}
	return 0;
}

/* Finds whether the kernel is to be a disk's own. 0 or -EINVAL. */
static int take_own(struct opts *o, struct run_cfg *cfg)
{
	const char *option = cfg->own.entry  ? "boot-entry"
			     : cfg->own.list ? "list-boot-entries"
					     : NULL;

	if (option && (cfg->kernel || cfg->restore.dir))
		return opts_fail(o, "--%s: has no effect with --%s: expected a disk's own kernel",
				 option, cfg->kernel ? "kernel" : "restore");
	if (option && !cfg->n_disks)
		return opts_fail(o, "--%s: there is no disk: expected --disk PATH", option);
	cfg->own.on = !cfg->kernel && !cfg->restore.dir && cfg->n_disks &&
		      (option || (!cfg->dump_acpi && !cfg->dump_dtb));
	if (cfg->own.on && cfg->backs[0].socket)
		return opts_fail(o, "--disk: vhost-user: what is on it cannot be looked into: "
				    "expected --kernel PATH");
	return 0;
}

/* Checks what concerns several options. 0 or -EINVAL. */
static int check(struct opts *o, struct run_cfg *cfg)
{
	if (take_own(o, cfg))
		return -EINVAL;
	if (!run_starts(cfg) && !cfg->dump_acpi && !cfg->dump_dtb)
		return opts_fail(o, "no kernel: expected --kernel PATH, or --disk PATH with one");
	if (run_check_restore(o, cfg))
		return -EINVAL;
	for (uint32_t i = 0; i < cfg->n_vcpu_halt_poll; i++) {
		if (cfg->irqchip == CATNAP_IRQCHIP_KERNEL)
			return opts_fail(o, "--halt-poll: vcpu: KVM has one setting per VM: "
					    "expected --irqchip user");
		if (cfg->vcpu_halt_poll[i].vcpu >= (int)cfg->cpus)
			return opts_fail(o, "--halt-poll: vcpu: there is no vCPU %d: the VM has %s",
					 cfg->vcpu_halt_poll[i].vcpu, vcpus_words(cfg->cpus).text);
	}
	if (cfg->console == PORT_STDIO && cfg->serial == PORT_STDIO) {
		if (opts_given(o, "serial"))
			return opts_fail(o,
					 "--console: stdio is the serial port's already: expected "
					 "--serial null or another");
		cfg->serial = PORT_NULL;
	}
	if (cfg->guest_poll.host_given && cfg->guest_poll.host &&
	    cfg->irqchip == CATNAP_IRQCHIP_KERNEL)
		return opts_fail(o, "--guest-halt-poll: host: with --irqchip kernel the halts are "
				    "KVM's: expected --irqchip user");
	if (cfg->halt_trace && cfg->irqchip == CATNAP_IRQCHIP_KERNEL)
		return opts_fail(o, "--halt-trace: with --irqchip kernel the halts are KVM's: "
				    "expected --irqchip user");
	if (cfg->debug_exit <= COM1_LAST && cfg->debug_exit + DEBUG_EXIT_PORTS > COM1_FIRST)
		return opts_fail(
			o,
			"--debug-exit: \"0x%x\" is taken: 0x%x to 0x%x are the serial port: "
			"expected another port",
			cfg->debug_exit, COM1_FIRST, COM1_LAST);
	if (cfg->pci_hotplug && cfg->transport != CATNAP_TRANSPORT_PCI)
		return opts_fail(o, "--hotplug: devices come and go on the PCI bus: expected "
				    "--transport pci");
	if (cfg->pci_hotplug && cfg->hw != CATNAP_HW_ACPI)
		return opts_fail(o, "--hotplug: ACPI tells the guest of it: expected --hw acpi");
	if (cfg->balloon.on && cfg->balloon.size >= cfg->memory)
		return opts_fail(o, "--balloon: size: is all of the guest's memory: expected less "
				    "than --memory");
	run_api_activated(cfg);
	if (run_check_numa(o, cfg) || run_check_backs(o, cfg))
		return -EINVAL;
	if (check_paths(o, cfg) || run_check_given(o, cfg) || run_check_effects(o, cfg))
		return -EINVAL;
	if (cfg->verbose && cfg->log_level < CATNAP_LOG_INFO)
		cfg->log_level = CATNAP_LOG_INFO;
	/* Last: it takes time. It heeds what only one irqchip has. */
	if (cfg->irqchip == RUN_IRQCHIP_AUTO && !cfg->print_config)
		run_choose_irqchip(cfg);
	return 0;
}

static int print(struct json_object *document)
{
	if (document && json_write(document, stdout) == 0)
		return CMD_OK;
	complain("catnap run: standard output: %s\n",
		 document ? cmd_stdout_error(errno) : strerror(ENOMEM));
	return CMD_ERROR;
}

int run_complete(struct opts *o, struct run_cfg *cfg)
{
	int ret = take_rest(o, cfg);

	if (ret == 0)
		ret = check(o, cfg);
	if (ret == 0 && cfg->print_config)
		ret = config_check(o, not_in_files);
	return ret;
}

int run_print_schema(void)
{
	return print(config_schema(&run_command, not_in_files));
}

int run_print_config(const struct opts *o)
{
	return print(config_json(o, not_in_files));
}

struct json_object *run_config_document(struct opts *o)
{
	return config_check(o, not_in_files) < 0 ? NULL : config_json(o, not_in_files);
}
