/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap run`: launches a microVM and stays until it ends. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/fault.h"
#include "cli/now.h"
#include "cli/opts.h"
#include "cli/printable.h"
#include "cli/run/folders.h"
#include "cli/run/loading.h"
#include "cli/run/run.h"
#include "cli/service.h"

static void close_io(struct run_io *io)
{
	struct stat st;

	log_close(&io->messages);
	/* Messages about a start that failed stay. */
	if (io->log.fd >= 0 && fstat(io->log.fd, &st) == 0 && st.st_size > 0)
		leftovers_drop(&io->outputs.left, io->log.fd);
	output_close(&io->log);
	output_close(&io->stats);
	run_working_set_close(io);
	run_port_close(&io->port);
	run_port_close(&io->console);
	output_close(&io->trace);
	price_file_close(&io->price);
	if (io->service >= 0)
		close(io->service);
	outputs_free(&io->outputs);
}

static int open_log(const struct run_cfg *cfg, struct run_io *io)
{
	int status = output_open_append(&io->outputs, &io->log, "log-file", cfg->log_file, 0666);

	log_open(&io->messages, io->log.fd >= 0 ? io->log.fd : STDERR_FILENO,
		 (enum catnap_log_level)cfg->log_level);
	return status;
}

/* Opens the files that the VM has to be told of, and starts the helper, which is a copy of the
 * process as it is. */
static int open_files(const struct run_cfg *cfg, struct run_io *io)
{
	const char *stats = cfg->stats && strcmp(cfg->stats, "-") == 0 ? "/dev/stdout" : cfg->stats;
	int status = CMD_OK;

	if (run_starts(cfg))
		status = output_open(&io->outputs, &io->trace, "halt-trace", cfg->halt_trace, 0666);
	/* Before there is a VM, whose memory its helper would hold. */
	if (status == CMD_OK && run_starts(cfg))
		status = output_open_document(&io->outputs, &io->stats, "stats", stats, 0666);
	if (status == CMD_OK)
		output_before_sandbox(&io->outputs, &io->stats);
	return status == CMD_OK ? run_working_set_open(cfg, io) : status;
}

/* Opens the ports' other ends. Where nothing will run, nobody is to be waited for. */
static int open_ports(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io)
{
	int stop_fd = catnap_vm_get_stopping_fd(vm);
	struct run_port *ports[] = {&io->port, &io->console};

	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]) && run_starts(cfg); i++) {
		int status = run_port_open(ports[i], &io->outputs, stop_fd);

		if (status != CMD_OK)
			return status;
	}
	return CMD_OK;
}

/* Adds the devices. vsock's socket is the library's, which removes it if there is an end. */
static int add_devices(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io)
{
	sigset_t before;
	int status;

	leftovers_hold(&before);
	status = run_add_devices(vm, cfg, io);
	if (status == CMD_OK && cfg->vsock.cid && cfg->vsock.fd < 0)
		leftovers_add(&io->outputs.left, cfg->vsock.socket);
	leftovers_let(&before);
	return status;
}

static void fill_config(struct catnap_vm_config *vc, const struct run_cfg *cfg, struct run_io *io)
{
	catnap_vm_config_init(vc);
	vc->name = cfg->name;
	vc->vcpus = cfg->cpus;
	run_fill_memory(vc, cfg);
	vc->irqchip = (uint32_t)cfg->irqchip;
	vc->image_kind = (uint32_t)cfg->image_kind;
	vc->kernel_path = cfg->kernel;
	vc->cmdline = cfg->cmdline;
	vc->initramfs_path = cfg->initramfs;
	if (cfg->own.on) {
		vc->kernel_data = io->own->kernel.data;
		vc->kernel_size = io->own->kernel.size;
		vc->initramfs_data = io->own->initrd;
		vc->initramfs_size = io->own->initrd_size;
	}
	vc->hw = (uint32_t)cfg->hw;
	vc->transport = (uint32_t)cfg->transport;
	vc->io = (uint32_t)cfg->io;
	vc->rng = cfg->rng.on;
	vc->no_rings = !cfg->n_disks && !cfg->n_pmems && !cfg->n_nets && !cfg->n_vhosts &&
		       !cfg->vsock.cid && !cfg->rng.limited && !cfg->pci_hotplug;
	vc->hotplug = cfg->pci_hotplug;
	vc->dump_memory = cfg->dump_memory;
	vc->track_dirty = cfg->track_dirty;
	vc->on_reset = (uint32_t)cfg->on_reset;
	vc->realtime = cfg->guest_poll.mode == GUEST_POLL_REALTIME;
	if (cfg->irqchip == CATNAP_IRQCHIP_USER)
		vc->poll_after_guest = (uint32_t)cfg->guest_poll.host;
	if (!run_starts(cfg)) {
		/* Nothing will run; a VM has an image. */
		vc->kernel_data = "";
		vc->kernel_size = 1;
		vc->image_kind = CATNAP_IMAGE_FLAT;
		vc->initramfs_path = NULL;
	}
	vc->halt_poll = cfg->halt_poll;
	vc->debug_exit_port = cfg->debug_exit == UINT32_MAX ? -1 : (int32_t)cfg->debug_exit;
	vc->vcpu_affinity = cfg->pinned ? cfg->affinity : NULL;
	vc->halt_trace_fd = io->trace.fd;
	vc->serial_output = cfg->serial == PORT_NULL ? NULL : run_port_output;
	vc->serial_ctx = &io->port;
	vc->log = log_message;
	vc->log_ctx = &io->messages;
	vc->keeper = io->keeper;
}

/* Makes a VM, with its devices. */
static int make_vm(const struct catnap_vm_config *vc, const struct run_cfg *cfg, struct run_io *io,
		   struct catnap_vm **vm)
{
	struct loading loading;
	sigset_t before;
	int ret;

	loading_begin(&loading, &io->outputs.left, io->deadline);
	if (cfg->restore.dir) {
		leftovers_hold(&before);
		ret = run_restore_vm(vc, cfg, io, vm);
		if (ret == 0 && cfg->vsock.cid && cfg->vsock.fd < 0)
			leftovers_add(&io->outputs.left, cfg->vsock.socket);
		leftovers_let(&before);
	} else {
		ret = catnap_vm_create(vc, vm);
	}
	loading_end(&loading);
	own_kernel_loaded(io->own);
	if (ret > 0)
		return ret;
	if (ret < 0) {
		complain("catnap run: %s%s\n", cfg->restore.dir ? "--" : "",
			 catnap_vm_last_error(NULL));
		return CMD_ERROR;
	}
	return cfg->restore.dir ? CMD_OK : add_devices(*vm, cfg, io);
}

/* Leaves with a vCPU that did not come back, and may yet: nothing is freed that it has. */
static _Noreturn void leave(struct run_io *io, int status)
{
	run_socket_close(&io->port);
	run_socket_close(&io->console);
	if (io->api)
		http_socket_close(&io->api->socket, !io->api->keepers);
	output_close(&io->stats);
	output_close(&io->working_set);
	run_keeper_stop(io);
	_exit(status);
}

/* Puts this thread one above the VM's threads, in a real-time class; below the lowest there is no
 * place. Where more is not permitted they take turns. Early: later there are no privileges. */
static void stay_above_the_vcpus(void)
{
	struct sched_param param;
	int policy = sched_getscheduler(0);

	if ((policy != SCHED_FIFO && policy != SCHED_RR) || sched_getparam(0, &param) < 0 ||
	    param.sched_priority != 1)
		return;
	param.sched_priority = 2;
	if (sched_setscheduler(0, policy, &param) < 0)
		errno = 0;
}

/* Lets this thread make threads and processes. In SCHED_DEADLINE it makes none, unless those are in
 * the ordinary class. Early, too. Returns a status, after a message. */
static int let_fork(void)
{
	struct { /* the kernel's struct sched_attr, which not every C library has */
		uint32_t size, policy;
		uint64_t flags;
		uint32_t nice, priority;
		uint64_t runtime, deadline, period;
	} class;

	if (sched_getscheduler(0) != SCHED_DEADLINE ||
	    syscall(SYS_sched_getattr, 0, &class, sizeof(class), 0) < 0)
		return CMD_OK;
	class.flags |= 1; /* SCHED_FLAG_RESET_ON_FORK */
	if (syscall(SYS_sched_setattr, 0, &class, 0) == 0)
		return CMD_OK;
	complain("catnap run: a thread in the class SCHED_DEADLINE cannot start others: expected "
		 "chrt --reset-on-fork, or CAP_SYS_NICE\n");
	return CMD_ERROR;
}

/* Closes the process in, once everything is open, and lets the VM run. */
static int close_in_and_run(struct catnap_vm *vm, const struct run_cfg *cfg,
			    const struct catnap_vm_config *vc, struct run_io *io)
{
	sigset_t ending, before;
	int status;

	io->service = service_open();
	/* Last: a start that fails leaves none behind. */
	price_file_open(&io->price);
	/* From here on a signal waits until it can be read. */
	ending_signals(&ending);
	sigprocmask(SIG_BLOCK, &ending, &before);
	status = run_sandbox_enter(cfg, vc, io);
	if (status != CMD_OK) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		return status;
	}
	io->closed_in = cfg->sandbox == CATNAP_SANDBOX_ON;
	leftovers_end(&io->outputs.left);
	for (uint32_t i = 0; i < cfg->n_vcpu_halt_poll; i++)
		catnap_vm_set_halt_poll(vm, cfg->vcpu_halt_poll[i].vcpu,
					&cfg->vcpu_halt_poll[i].params);
	output_begin(&io->trace);
	run_port_start(&io->port);
	run_port_start(&io->console);
	status = run_loop(vm, cfg, io);
	if (!io->stuck)
		run_price_write(vm, cfg, io);
	return status;
}

static int no_memory(void)
{
	complain("catnap run: out of memory\n");
	return CMD_ERROR;
}

static int make_and_run(const struct run_cfg *cfg, struct run_io *io,
			struct run_inherited *inherited)
{
	const struct run_guest_halt_poll guest_poll = run_guest_halt_poll(cfg, io);
	struct catnap_vm_config vc;
	struct catnap_vm *vm = NULL;
	char *linux_cmdline;
	int status;

	fault_watch(&vm);
	linux_cmdline = run_guest_halt_poll_cmdline(&guest_poll);
	fill_config(&vc, cfg, io);
	vc.linux_cmdline = linux_cmdline;
	status = run_sandbox_filters(cfg, &vc, &vc.sandbox);
	if (status == CMD_OK)
		status = linux_cmdline ? make_vm(&vc, cfg, io, &vm) : no_memory();
	free(linux_cmdline);
	if (status == CMD_OK)
		status = open_ports(vm, cfg, io);
	if (status == CMD_OK)
		status = run_api_open(vm, cfg, io);
	if (status == CMD_OK)
		status = run_dump(vm, cfg, &io->outputs);
	run_inherited_close(inherited);
	if (status == CMD_OK && run_starts(cfg))
		status = close_in_and_run(vm, cfg, &vc, io);
	if (io->stuck)
		leave(io, status);
	run_api_close(io);
	catnap_vm_destroy(&vm);
	if (io->folders >= 0)
		close(io->folders);
	helpers_end(&io->helpers);
	return status;
}

/* Starts the process that will start programs for folders that come, if somebody may ask for some
 * and this one will not be able to. */
static int start_folders(const struct run_cfg *cfg, struct run_io *io)
{
	int ret;

	if (!run_starts(cfg) || !cfg->hotplug_dir || cfg->sandbox != CATNAP_SANDBOX_ON ||
	    (!cfg->api_socket && cfg->api_fd < 0))
		return CMD_OK;
	ret = folders_begin(&io->helpers, cfg->hotplug_dir, &io->folders);
	if (ret == 0)
		return CMD_OK;
	complain("catnap run: --hotplug: %s: the process that starts virtiofsd in the sandbox: "
		 "%s\n",
		 cfg->hotplug_dir, strerror(-ret));
	return CMD_ERROR;
}

static int run_vm(const struct run_cfg *cfg, struct catnap_keeper *keeper,
		  struct run_rescue *rescue, struct run_inherited *inherited,
		  struct snapshot_files *snapshot, struct own_kernel *own)
{
	struct run_io io = {.log = OUTPUT_NONE,
			    .trace = OUTPUT_NONE,
			    .stats = OUTPUT_NONE,
			    .working_set = OUTPUT_NONE,
			    .price = {.fd = -1},
			    .service = -1,
			    .folders = -1,
			    .keeper = keeper,
			    .rescue = rescue,
			    .snapshot = snapshot,
			    .own = own,
			    .snapshots = cfg->snapshots || cfg->sandbox != CATNAP_SANDBOX_ON,
			    .images = cfg->hotplug_dir};
	int status;

	io.deadline = run_deadline(cfg);
	run_port_init(&io.port, "serial", cfg->serial, cfg->serial_path, cfg->serial_fd);
	run_port_init(&io.console, "console", cfg->console, cfg->console_path, cfg->console_fd);
	io.port.keeper = io.console.keeper = keeper;
	outputs_init(&io.outputs, "run", io.deadline);
	status = run_compare_files(cfg, &io.outputs);
	if (status == CMD_OK)
		status = run_check_folders(cfg);
	if (status != CMD_OK) {
		outputs_free(&io.outputs);
		return status;
	}
	run_price_read(cfg, &io);
	status = open_log(cfg, &io);
	run_say_irqchip(cfg, &io);
	if (own->said[0])
		log_message(&io.messages, CATNAP_LOG_INFO, own->said);
	io.helpers.messages = io.log.fd >= 0 ? io.log.fd : STDERR_FILENO;
	if (status == CMD_OK)
		status = open_files(cfg, &io);
	if (status == CMD_OK)
		status = start_folders(cfg, &io);
	if (status == CMD_OK)
		status = make_and_run(cfg, &io, inherited);
	close_io(&io);
	return status;
}

static int run(struct run_cfg *cfg)
{
	struct run_inherited inherited = {.n = 0};
	struct snapshot_files snapshot;
	struct own_kernel own;
	struct run_io io = {.keeper = NULL};
	int status;

	stay_above_the_vcpus();
	status = let_fork();
	if (status != CMD_OK)
		return status;
	if (cfg->sandbox != CATNAP_SANDBOX_OFF)
		run_inherited_note(&inherited);
	run_inherited_keep(&inherited, cfg);
	status = own_kernel_open(cfg, &own);
	if (status != CMD_OK || cfg->own.list) {
		own_kernel_close(&own);
		free(inherited.fds);
		return status;
	}
	status = run_restore_open(cfg, &snapshot);
	if (status == CMD_OK)
		status = run_keeper_start(cfg, &io);
	if (status == CMD_OK)
		status = run_vm(cfg, io.keeper, io.rescue, &inherited, &snapshot, &own);
	own_kernel_close(&own);
	run_restore_close(cfg, &snapshot);
	run_keeper_stop(&io);
	free(inherited.fds);
	return status;
}

int cmd_run(int argc, char **argv)
{
	struct run_cfg cfg;
	struct opts o;
	int status, ret;

	run_cfg_init(&cfg);
	status = opts_command(&o, &run_command, argc, argv, &cfg);
	if (status < 0) {
		/* Of the guest's end, not of its output's, is what the status tells. */
		signal(SIGPIPE, SIG_IGN);
		/* A script's shell ignores these for what it starts in the background: who sends
		 * one to a VM all the same means it. */
		signal(SIGINT, SIG_DFL);
		signal(SIGQUIT, SIG_DFL);
		if (cfg.print_schema) {
			status = run_print_schema();
		} else if ((ret = run_complete(&o, &cfg)) < 0) {
			fprintf(stderr, "%s\n", o.error);
			status = ret == -ETIMEDOUT ? RUN_TIMEOUT : CMD_USAGE;
		} else if (cfg.print_config) {
			status = run_print_config(&o);
		} else {
			cfg.sandbox_given = opts_given(&o, "sandbox");
			cfg.own.cmdline_given = opts_given(&o, "cmdline");
			if (cfg.api_socket || cfg.api_fd >= 0)
				cfg.document = run_config_document(&o);
			status = run(&cfg);
			json_object_put(cfg.document);
		}
	}
	opts_free(&o);
	return status;
}
