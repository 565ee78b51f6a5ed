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
#include <sys/sysinfo.h>
#include <unistd.h>

#include "cli/cmd.h"
#include "cli/now.h"
#include "cli/opts.h"
#include "cli/printable.h"
#include "cli/run.h"

#define DEFAULT_CMDLINE "console=ttyS0"

/* Sanitizers and coverage make system calls of their own. */
#ifdef SANDBOX_DEFAULT_OFF
#define SANDBOX_DEFAULT	     CATNAP_SANDBOX_OFF
#define SANDBOX_DEFAULT_NAME "off"
#else
#define SANDBOX_DEFAULT	     CATNAP_SANDBOX_ON
#define SANDBOX_DEFAULT_NAME "on"
#endif

#define COM1_FIRST	 0x3f8u
#define COM1_LAST	 0x3ffu
#define DEBUG_EXIT_PORTS 4u

/* -- options ---------------------------------------------------------------------------------- */

struct cpus_value {
	uint32_t n;
	const char *affinity;
};

/* A list of processors such as 0-1 or 0:2:5-7; vCPU i gets the i-th, and round again. */
static int parse_affinity(struct opts *o, const struct opt_arg *arg, const char *list,
			  struct run_cfg *cfg)
{
	uint32_t cpus[CPU_SETSIZE], n = 0;
	const char *p = list;
	cpu_set_t allowed;

	CPU_ZERO(&allowed);
	sched_getaffinity(0, sizeof(allowed), &allowed);
	while (*p) {
		char *end;
		unsigned long first, last;

		if (*p < '0' || *p > '9')
			goto bad;
		first = last = strtoul(p, &end, 10);
		if (*end == '-' && end[1] >= '0' && end[1] <= '9')
			last = strtoul(end + 1, &end, 10);
		if ((*end && *end != ':') || (*end == ':' && !end[1]) || last < first ||
		    last >= CPU_SETSIZE)
			goto bad;
		for (; first <= last; first++) {
			if (!CPU_ISSET(first, &allowed))
				return opt_fail(o, arg,
						"names processor %lu, which this process may "
						"not use",
						first);
			if (n < CPU_SETSIZE)
				cpus[n++] = (uint32_t)first;
		}
		p = *end ? end + 1 : end;
	}
	if (!n)
		goto bad;
	for (uint32_t i = 0; i < CATNAP_MAX_VCPUS; i++)
		cfg->affinity[i] = (int32_t)cpus[i % n];
	cfg->pinned = true;
	return 0;
bad:
	return opt_fail(o, arg, "is not a list of processors: expected one such as 0-1 or 0:2");
}

static int set_cpus(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field keys[] = {
		{.name = "n",
		 .type = OPT_U32,
		 .offset = offsetof(struct cpus_value, n),
		 .min = 1,
		 .max = CATNAP_MAX_VCPUS},
		{.name = "affinity",
		 .type = OPT_STRING,
		 .offset = offsetof(struct cpus_value, affinity)},
		{.name = NULL},
	};
	struct run_cfg *cfg = ptr;
	struct cpus_value value = {.n = cfg->cpus};
	struct opt_arg affinity = {.option = arg->option, .key = "affinity"};

	if (opt_keys(o, arg, keys, &value))
		return -EINVAL;
	cfg->cpus = value.n;
	affinity.text = value.affinity;
	return value.affinity ? parse_affinity(o, &affinity, value.affinity, cfg) : 0;
}

static int set_memory(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field size = {
		.type = OPT_SIZE, .min = 1 << 20, .max = UINT64_C(1) << 46};
	struct run_cfg *cfg = ptr;
	struct sysinfo si;

	if (opt_value(o, arg, &size, &cfg->memory))
		return -EINVAL;
	if (cfg->memory & 4095)
		return opt_fail(o, arg, "is not a multiple of 4K");
	if (sysinfo(&si) == 0) {
		uint64_t total = ((uint64_t)si.totalram + si.totalswap) * si.mem_unit;

		if (cfg->memory > total)
			return opt_fail(o, arg,
					"is more than this host has: expected at most %lluM",
					(unsigned long long)(total >> 20));
	}
	return 0;
}

static int set_halt_poll(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;
	struct catnap_halt_poll params = cfg->halt_poll;
	struct opt_halt_poll_more more;

	if (opt_halt_poll_vcpu(o, arg, CATNAP_MAX_VCPUS, &params, &more))
		return -EINVAL;
	if (more.tuning)
		cfg->halt_poll_tuning = more.tuning;
	if (more.vcpu < 0) {
		if (cfg->halt_poll_given)
			return opts_fail(o, "--halt-poll: given twice: expected once, or with "
					    "vcpu=N");
		cfg->halt_poll_given = true;
		cfg->halt_poll = params;
		cfg->halt_poll_named = cfg->halt_poll_named || more.policy;
		return 0;
	}
	for (uint32_t i = 0; i < cfg->n_vcpu_halt_poll; i++)
		if (cfg->vcpu_halt_poll[i].vcpu == more.vcpu)
			return opt_fail(o, arg, "is for vCPU %d, which has one already", more.vcpu);
	cfg->vcpu_halt_poll[cfg->n_vcpu_halt_poll].vcpu = more.vcpu;
	cfg->vcpu_halt_poll[cfg->n_vcpu_halt_poll++].params = params;
	return 0;
}

static int set_debug_exit(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const struct opt_field keys[] = {
		{.name = "port",
		 .type = OPT_U32,
		 .offset = offsetof(struct run_cfg, debug_exit),
		 .max = 0xffff,
		 .required = true},
		{.name = "base",
		 .type = OPT_U32,
		 .offset = offsetof(struct run_cfg, debug_exit_base),
		 .min = RUN_PANIC + 1,
		 .max = RUN_BASE_END - 1},
		{.name = NULL},
	};

	return opt_keys(o, arg, keys, ptr);
}

static int set_guest_halt_poll(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;

	return guest_halt_poll_set(o, arg, &cfg->guest_poll);
}

static const struct opt_word io_modes[] = {
	{"vcpu", CATNAP_IO_VCPU}, {"thread", CATNAP_IO_THREAD}, {NULL, 0}};
static const struct opt_word transports[] = {
	{"pci", CATNAP_TRANSPORT_PCI},
	{"mmio", CATNAP_TRANSPORT_MMIO},
	{NULL, 0},
};

static int set_user(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	return run_set_user(o, arg, ptr);
}

static const struct opt_word sandbox_modes[] = {{"on", CATNAP_SANDBOX_ON},
						{"off", CATNAP_SANDBOX_OFF},
						{"log", CATNAP_SANDBOX_LOG},
						{NULL, 0}};
static const struct opt_word hardware[] = {{"acpi", CATNAP_HW_ACPI},
					   {"fdt", CATNAP_HW_FDT},
					   {"mptable", CATNAP_HW_MPTABLE},
					   {NULL, 0}};
static const struct opt_word irqchips[] = {
	{"user", CATNAP_IRQCHIP_USER}, {"kernel", CATNAP_IRQCHIP_KERNEL}, {NULL, 0}};
static const struct opt_word image_kinds[] = {{"auto", CATNAP_IMAGE_AUTO},
					      {"pvh", CATNAP_IMAGE_PVH},
					      {"multiboot", CATNAP_IMAGE_MULTIBOOT},
					      {"flat", CATNAP_IMAGE_FLAT},
					      {"bzimage", CATNAP_IMAGE_BZIMAGE},
					      {"linux", CATNAP_IMAGE_LINUX64},
					      {NULL, 0}};
static const struct opt_word log_levels[] = {{"error", CATNAP_LOG_ERROR},
					     {"warn", CATNAP_LOG_WARN},
					     {"info", CATNAP_LOG_INFO},
					     {"debug", CATNAP_LOG_DEBUG},
					     {NULL, 0}};

#define AT(member) offsetof(struct run_cfg, member)

static const struct opt_def options[] = {
	{.f = {.name = "kernel", .type = OPT_STRING, .offset = AT(kernel)},
	 .letter = 'k',
	 .form = "PATH",
	 .help = "The image: a Linux bzImage or vmlinux, ELF with a PVH entry, Multiboot 1, or "
		 "flat. May also be given as the first argument."},
	{.f = {.name = "kernel-format",
	       .type = OPT_WORD,
	       .offset = AT(image_kind),
	       .words = image_kinds},
	 .form = "auto|bzimage|linux|pvh|multiboot|flat",
	 .help = "How to start the image; linux: a vmlinux by its 64-bit entry. A flat one is "
		 "loaded at 0x7c00 and started there in real mode, if it is asked for.",
	 .def = "auto"},
	{.f = {.name = "initramfs", .type = OPT_STRING, .offset = AT(initramfs)},
	 .letter = 'i',
	 .form = "PATH",
	 .help = "The initial file system that the kernel is given; a module for Multiboot.",
	 .def = "none"},
	{.f = {.name = "cmdline", .type = OPT_TEXT, .offset = AT(cmdline)},
	 .letter = 'c',
	 .form = "STRING",
	 .help = "The kernel's command line.",
	 .def = DEFAULT_CMDLINE},
	{.f = {.name = "cpus", .type = OPT_CALL, .set = set_cpus},
	 .form = "N[,affinity=LIST]",
	 .help = "How many vCPUs, 1 to 64; their threads are tied to the processors of a list such "
		 "as "
		 "0-1 or 0:2, one each, round and round.",
	 .def = "1",
	 .list = true},
	{.f = {.name = "memory", .type = OPT_CALL, .set = set_memory},
	 .letter = 'm',
	 .form = "SIZE",
	 .help = "The guest's memory, at least 1M.",
	 .def = "256M"},
	{.f = {.name = "disk", .type = OPT_CALL, .set = run_set_disk},
	 .letter = 'd',
	 .form = "path=PATH[,format=raw][,readonly=on][,direct=on][,lock=off][,id=TEXT]"
		 "[,queues=N][,bw=SIZE][,ops=N]",
	 .help = "A virtio block device on a raw image, a file or a block device of the host, "
		 "which is locked unless lock=off; one that looks like qcow2 and such is refused "
		 "unless format=raw. bw, ops: bytes and requests in a second at most, with bursts "
		 "(bw-burst=SIZE, ops-burst=N).",
	 .repeat = true,
	 .list = true},
	{.f = {.name = "net", .type = OPT_CALL, .set = run_set_net},
	 .letter = 'n',
	 .form = "tap=NAME[,mac=ADDRESS][,queues=N][,mtu=N][,bw=SIZE][,ops=N]",
	 .help = "A virtio network device on a TAP interface of the host; bw, ops: bytes and "
		 "packets in a second at most, each way, with bursts (as for --disk).",
	 .repeat = true,
	 .list = true},
	{.f = {.name = "vsock", .type = OPT_CALL, .set = run_set_vsock},
	 .form = "cid=N,socket=PATH",
	 .help = "Sockets between guest and host: the Unix socket PATH leads to the guest's ports, "
		 "and the host's port P is the Unix socket PATH_P.",
	 .list = true},
	{.f = {.name = "balloon", .type = OPT_CALL, .set = run_set_balloon},
	 .form = "size=SIZE[,deflate-on-oom=on|off][,socket=PATH]",
	 .help = "A virtio balloon: the guest gives so much of its memory back to the host, and "
		 "reports what is free. socket: a Unix socket by which catnap balloon changes the "
		 "size while the VM runs.",
	 .list = true},
	{.f = {.name = "rng", .type = OPT_SWITCH, .offset = AT(rng)},
	 .form = "on|off",
	 .help = "A virtio entropy device.",
	 .def = "on"},
	{.f = {.name = "io", .type = OPT_WORD, .offset = AT(io), .words = io_modes},
	 .form = "vcpu|thread",
	 .help = "Who runs the devices: the vCPUs that use them, or one thread, for guests that "
		 "compute on all their vCPUs.",
	 .def = "vcpu"},
	{.f = {.name = "irqchip", .type = OPT_WORD, .offset = AT(irqchip), .words = irqchips},
	 .form = "user|kernel",
	 .help = "Who has the local APIC, and so HLT: user, catnap itself; kernel, KVM.",
	 .def = "user"},
	{.f = {.name = "hw", .type = OPT_WORD, .offset = AT(hw), .words = hardware},
	 .form = "acpi|fdt|mptable",
	 .help = "How the guest finds its hardware: ACPI tables; a device tree, for Linux with "
		 "CONFIG_OF by its 64-bit entry; or, for Linux with neither, an MP table, and "
		 "virtio-mmio devices on its command line.",
	 .def = "acpi"},
	{.f = {.name = "transport", .type = OPT_WORD, .offset = AT(transport), .words = transports},
	 .form = "pci|mmio",
	 .help = "How virtio devices are attached: to a PCI bus, or by virtio-mmio, without one.",
	 .def = "pci"},
	{.f = {.name = "guest-halt-poll", .type = OPT_CALL, .set = set_guest_halt_poll},
	 .form = "off|force|realtime[,ns=TIME,grow=N,grow-start=TIME,shrink=N,allow-shrink=on|off,"
		 "host=off|break-even|learned]",
	 .help = "Linux's own halt polling (cpuidle-haltpoll): force, by its command line; "
		 "realtime, by telling it that each vCPU has a processor of its own. "
		 "host: once the guest has given up, the host polls on, for as long as one sleep "
		 "is worth, or as --halt-poll has learned (kernel: not at all).",
	 .def = "force",
	 .list = true},
	{.f = {.name = "halt-poll", .type = OPT_CALL, .set = set_halt_poll},
	 .form = "policy=adaptive|kernel|fixed|always|off,max=TIME,grow=N,grow-start=TIME,shrink=N,"
		 "bias=latency|balanced|power,cpu-max=N%,group=on|off[,vcpu=N]",
	 .help = "How long a halted vCPU polls before it sleeps. With vcpu=, for that one only. "
		 "With "
		 "irqchip=kernel, max is given to KVM (off: 0).",
	 .def = "adaptive,max=1ms,bias=balanced; with another policy max=200us; kernel: "
		"grow=2,grow-start=10us,shrink=2",
	 .repeat = true,
	 .list = true},
	{.f = {.name = "serial", .type = OPT_CALL, .set = run_set_serial},
	 .form = "stdio|null|pty|file=PATH|socket=PATH",
	 .help = "The first serial port. On a terminal, Ctrl-A x ends the VM, Ctrl-A z stops the "
		 "job, Ctrl-A h helps. pty: "
		 "a pseudo-terminal, whose name is printed; socket: a Unix socket, for one client "
		 "at a time.",
	 .def = "stdio"},
	{.f = {.name = "console", .type = OPT_CALL, .set = run_set_console},
	 .form = "off|stdio|pty|file=PATH|socket=PATH",
	 .help = "A virtio console, hvc0 of Linux. With stdio, the serial port leads nowhere "
		 "unless "
		 "--serial says otherwise.",
	 .def = "off"},
	{.f = {.name = "debug-exit", .type = OPT_CALL, .set = set_debug_exit},
	 .form = "PORT[,base=N]",
	 .help = "A guest write to this I/O port ends the VM, with exit status (value << 1 | 1) & "
		 "255; or N + value, at most 123, which is never one of catnap's own.",
	 .list = true,
	 .def = "off"},
	{.f = {.name = "dump-acpi", .type = OPT_STRING, .offset = AT(dump_acpi)},
	 .form = "DIR",
	 .help = "Writes the ACPI tables into this folder. Without a kernel, that is all."},
	{.f = {.name = "dump-dtb", .type = OPT_STRING, .offset = AT(dump_dtb)},
	 .form = "FILE",
	 .help = "Writes the device tree. Without a kernel, that is all."},
	{.f = {.name = "sandbox", .type = OPT_WORD, .offset = AT(sandbox), .words = sandbox_modes},
	 .form = "on|off|log",
	 .help = "Closes the process in (seccomp, Landlock, no capabilities): a system call that "
		 "is not on the list ends it. log: the kernel's log tells of such calls, and "
		 "nothing is refused.",
	 .def = SANDBOX_DEFAULT_NAME},
	{.f = {.name = "user", .type = OPT_CALL, .set = set_user},
	 .form = "UID[:GID]|NAME",
	 .help = "Becomes this user once everything is open. For those who start as root.",
	 .def = "no change"},
	{.f = {.name = "chroot", .type = OPT_STRING, .offset = AT(chroot_dir)},
	 .form = "DIR",
	 .help = "Makes this folder the root once everything is open. For those who start as root.",
	 .def = "no change"},
	{.f = {.name = "stats", .type = OPT_STRING, .offset = AT(stats)},
	 .form = "FILE|-",
	 .help = "Writes statistics as JSON at the end.",
	 .def = "off"},
	{.f = {.name = "stats-socket", .type = OPT_STRING, .offset = AT(stats_socket)},
	 .form = "PATH",
	 .help = "A Unix socket that gives everybody who connects the statistics as they are then, "
		 "for catnap stat.",
	 .def = "none"},
	{.f = {.name = "halt-trace", .type = OPT_STRING, .offset = AT(halt_trace)},
	 .form = "FILE",
	 .help = "Writes a line for each halt, for catnap replay.",
	 .def = "off"},
	{.f = {.name = "timeout",
	       .type = OPT_TIME,
	       .offset = AT(timeout_ns),
	       .min = 1,
	       .max = UINT64_MAX},
	 .form = "TIME",
	 .help = "Ends the VM after this time, loading counted, with exit status 124.",
	 .def = "none"},
	{.f = {.name = "verbose", .type = OPT_FLAG, .offset = AT(verbose)},
	 .letter = 'v',
	 .help = "The same as --log-level info."},
	{.f = {.name = "log-level", .type = OPT_WORD, .offset = AT(log_level), .words = log_levels},
	 .form = "error|warn|info|debug",
	 .help = "Which messages are shown.",
	 .def = "warn"},
	{.f = {.name = "log-file", .type = OPT_STRING, .offset = AT(log_file)},
	 .form = "PATH",
	 .help = "Messages go there.",
	 .def = "standard error"},
	{.f = {.name = NULL}},
};

static const struct opt_command command = {
	.name = "run",
	.synopsis = "[OPTIONS] [KERNEL]",
	.summary = "Launches a microVM and stays until it ends.",
	.options = options,
	.notes = "Exit status: 0 the guest powered off; 1 host error; 2 wrong command line; 32 the "
		 "guest asked for a reset; 33 triple fault or KVM internal error; 34 guest panic; "
		 "124 "
		 "--timeout; 128 + N ended by signal N; or what --debug-exit carries.\n",
	.arg_name = "KERNEL",
	.max_args = 1,
};

/* -- running ---------------------------------------------------------------------------------- */

/* Checks what concerns several options. 0 or -EINVAL. */
static int check(struct opts *o, struct run_cfg *cfg)
{
	if (o->n_args) {
		if (cfg->kernel)
			return opts_fail(o, "a kernel was given twice: --kernel and \"%s\"",
					 o->args[0]);
		cfg->kernel = o->args[0];
	}
	if (!cfg->kernel && !cfg->dump_acpi && !cfg->dump_dtb)
		return opts_fail(o, "no kernel: expected --kernel PATH");
	for (uint32_t i = 0; i < cfg->n_vcpu_halt_poll; i++) {
		if (cfg->irqchip == CATNAP_IRQCHIP_KERNEL)
			return opts_fail(o, "--halt-poll: vcpu: KVM has one setting per VM: "
					    "expected --irqchip user");
		if (cfg->vcpu_halt_poll[i].vcpu >= (int)cfg->cpus)
			return opts_fail(
				o, "--halt-poll: vcpu: \"%d\" is out of range: expected 0 to %u",
				cfg->vcpu_halt_poll[i].vcpu, cfg->cpus - 1);
	}
	if (cfg->console == PORT_STDIO && cfg->serial == PORT_STDIO) {
		if (opts_given(o, "serial"))
			return opts_fail(o,
					 "--console: stdio is the serial port's already: expected "
					 "--serial null or another");
		cfg->serial = PORT_NULL;
	}
	if (cfg->guest_poll.host && cfg->irqchip == CATNAP_IRQCHIP_KERNEL)
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
	if (run_check_effects(o, cfg))
		return -EINVAL;
	if (cfg->verbose && cfg->log_level < CATNAP_LOG_INFO)
		cfg->log_level = CATNAP_LOG_INFO;
	return 0;
}

static void close_io(struct run_io *io)
{
	struct stat st;

	log_close(&io->messages);
	/* What was said of a start that failed stays. */
	if (io->log.fd >= 0 && fstat(io->log.fd, &st) == 0 && st.st_size > 0)
		leftovers_drop(&io->outputs.left, io->log.fd);
	output_close(&io->log);
	output_close(&io->stats);
	port_close(&io->port);
	port_close(&io->console);
	answer_socket_close(&io->stats_socket);
	answer_socket_close(&io->balloon_socket);
	output_close(&io->trace);
	outputs_free(&io->outputs);
}

static int open_log(const struct run_cfg *cfg, struct run_io *io)
{
	int status = output_open_append(&io->outputs, &io->log, "log-file", cfg->log_file, 0666);

	log_open(&io->messages, io->log.fd >= 0 ? io->log.fd : STDERR_FILENO,
		 (enum catnap_log_level)cfg->log_level);
	return status;
}

/* What the VM has to be told of, and what would leave the process as it is. */
static int open_files(const struct run_cfg *cfg, struct run_io *io)
{
	const char *stats = cfg->stats && strcmp(cfg->stats, "-") == 0 ? "/dev/stdout" : cfg->stats;
	int status = CMD_OK;

	if (cfg->kernel)
		status = output_open(&io->outputs, &io->trace, "halt-trace", cfg->halt_trace, 0666);
	/* Before there is a VM, whose memory its helper would hold. */
	if (status == CMD_OK && cfg->kernel)
		status = output_open_document(&io->outputs, &io->stats, "stats", stats, 0666);
	if (status == CMD_OK)
		output_before_sandbox(&io->outputs, &io->stats);
	return status;
}

/* The ports' other ends. Where nothing will run, nobody is to be waited for. */
static int open_ports(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io)
{
	int stop_fd = catnap_vm_get_stopping_fd(vm);
	struct port *ports[] = {&io->port, &io->console, &io->stats_socket.port,
				&io->balloon_socket.port};

	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]) && cfg->kernel; i++) {
		int status = port_open(ports[i], &io->outputs, stop_fd);

		if (status != CMD_OK)
			return status;
	}
	return CMD_OK;
}

/* Its socket is the library's, which removes it if there is an end. */
static int add_devices(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io)
{
	sigset_t before;
	int status;

	leftovers_hold(&before);
	status = run_add_devices(vm, cfg, io);
	if (status == CMD_OK && cfg->vsock.cid)
		leftovers_add(&io->outputs.left, cfg->vsock.socket);
	leftovers_let(&before);
	return status;
}

static void fill_config(struct catnap_vm_config *vc, const struct run_cfg *cfg, struct run_io *io)
{
	catnap_vm_config_init(vc);
	vc->vcpus = cfg->cpus;
	vc->memory_size = cfg->memory;
	vc->irqchip = (uint32_t)cfg->irqchip;
	vc->image_kind = (uint32_t)cfg->image_kind;
	vc->kernel_path = cfg->kernel;
	vc->cmdline = cfg->cmdline;
	vc->initramfs_path = cfg->initramfs;
	vc->hw = (uint32_t)cfg->hw;
	vc->transport = (uint32_t)cfg->transport;
	vc->io = (uint32_t)cfg->io;
	vc->rng = cfg->rng;
	vc->realtime = cfg->guest_poll.mode == GUEST_POLL_REALTIME;
	vc->poll_after_guest = (uint32_t)cfg->guest_poll.host;
	if (!cfg->kernel) {
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
	vc->serial_output = cfg->serial == PORT_NULL ? NULL : port_output;
	vc->serial_ctx = &io->port;
	vc->log = log_message;
	vc->log_ctx = &io->messages;
	vc->keeper = io->keeper;
}

/* With a vCPU that did not come back, and may yet: nothing is freed that it has. */
static _Noreturn void leave(struct run_io *io, int status)
{
	socket_close(&io->port);
	socket_close(&io->console);
	answer_socket_close(&io->stats_socket);
	answer_socket_close(&io->balloon_socket);
	output_close(&io->stats);
	run_keeper_stop(io);
	_exit(status);
}

/* In a real-time class the VM's threads come one below this one; below the lowest there is none.
 * Where more is not permitted they take turns. Early: later there are no privileges. */
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

/* In SCHED_DEADLINE this thread makes no thread or process, unless those are in the ordinary class.
 * Early, too. A status, after a message. */
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

/* Everything is open: closes the process in, and lets the VM run. */
static int close_in_and_run(struct catnap_vm *vm, const struct run_cfg *cfg,
			    const struct catnap_vm_config *vc, struct run_io *io)
{
	sigset_t ending, before;
	int status;

	/* From here on a signal waits until it can be read. */
	ending_signals(&ending);
	sigprocmask(SIG_BLOCK, &ending, &before);
	status = run_sandbox_enter(cfg, vc, io);
	if (status != CMD_OK) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		return status;
	}
	leftovers_end(&io->outputs.left);
	for (uint32_t i = 0; i < cfg->n_vcpu_halt_poll; i++)
		catnap_vm_set_halt_poll(vm, cfg->vcpu_halt_poll[i].vcpu,
					&cfg->vcpu_halt_poll[i].params);
	output_begin(&io->trace);
	port_start(&io->port);
	port_start(&io->console);
	return run_loop(vm, cfg, io);
}

static int make_and_run(const struct run_cfg *cfg, struct run_io *io,
			struct run_inherited *inherited)
{
	char *linux_cmdline = guest_halt_poll_cmdline(&cfg->guest_poll);
	struct catnap_vm_config vc;
	struct catnap_vm *vm = NULL;
	int status, ret;

	fill_config(&vc, cfg, io);
	vc.linux_cmdline = linux_cmdline;
	status = run_sandbox_filters(cfg, &vc, &vc.sandbox);
	if (status == CMD_OK) {
		ret = linux_cmdline ? catnap_vm_create(&vc, &vm) : -ENOMEM;
		if (ret < 0) {
			complain("catnap run: %s\n", catnap_vm_last_error(NULL));
			status = CMD_ERROR;
		}
	}
	free(linux_cmdline);
	if (status == CMD_OK)
		status = add_devices(vm, cfg, io);
	if (status == CMD_OK)
		status = open_ports(vm, cfg, io);
	if (status == CMD_OK)
		status = run_dump(vm, cfg, &io->outputs);
	run_inherited_close(inherited);
	if (status == CMD_OK && cfg->kernel)
		status = close_in_and_run(vm, cfg, &vc, io);
	if (io->stuck)
		leave(io, status);
	catnap_vm_destroy(&vm);
	return status;
}

static int run_vm(const struct run_cfg *cfg, struct catnap_keeper *keeper, struct rescue *rescue,
		  struct run_inherited *inherited)
{
	struct run_io io = {.log = OUTPUT_NONE,
			    .trace = OUTPUT_NONE,
			    .stats = OUTPUT_NONE,
			    .keeper = keeper,
			    .rescue = rescue};
	int status;

	io.deadline = cfg->timeout_ns ? cfg->begin_ns + cfg->timeout_ns : UINT64_MAX;
	if (io.deadline < cfg->timeout_ns)
		io.deadline = UINT64_MAX;
	port_init(&io.port, "serial", cfg->serial, cfg->serial_path);
	port_init(&io.console, "console", cfg->console, cfg->console_path);
	answer_socket_init(&io.stats_socket, "stats-socket", cfg->stats_socket, false);
	answer_socket_init(&io.balloon_socket, "balloon", cfg->balloon.socket, true);
	io.port.keeper = io.console.keeper = keeper;
	io.stats_socket.port.keeper = io.balloon_socket.port.keeper = keeper;
	outputs_init(&io.outputs, "run", io.deadline);
	status = run_compare_files(cfg, &io.outputs);
	if (status != CMD_OK) {
		outputs_free(&io.outputs);
		return status;
	}
	status = open_log(cfg, &io);
	if (status == CMD_OK)
		status = open_files(cfg, &io);
	if (status == CMD_OK)
		status = make_and_run(cfg, &io, inherited);
	close_io(&io);
	return status;
}

static int run(const struct run_cfg *cfg)
{
	struct run_inherited inherited = {.n = 0};
	struct run_io io = {.keeper = NULL};
	int status;

	stay_above_the_vcpus();
	status = let_fork();
	if (status != CMD_OK)
		return status;
	if (cfg->sandbox != CATNAP_SANDBOX_OFF)
		run_inherited_note(&inherited);
	status = run_keeper_start(cfg, &io);
	if (status == CMD_OK)
		status = run_vm(cfg, io.keeper, io.rescue, &inherited);
	run_keeper_stop(&io);
	free(inherited.fds);
	return status;
}

int cmd_run(int argc, char **argv)
{
	struct run_cfg cfg = {
		.cmdline = DEFAULT_CMDLINE,
		.cpus = 1,
		.memory = UINT64_C(256) << 20,
		.irqchip = CATNAP_IRQCHIP_USER,
		.debug_exit = UINT32_MAX,
		.rng = true,
		.console = PORT_NULL,
		.log_level = CATNAP_LOG_WARN,
		.sandbox = SANDBOX_DEFAULT,
	};
	struct opts o;
	int status;

	cfg.begin_ns = now_ns();
	catnap_halt_poll_init(&cfg.halt_poll);
	guest_halt_poll_init(&cfg.guest_poll);
	status = opts_command(&o, &command, argc, argv, &cfg);
	if (status < 0) {
		/* Of the guest's end, not of its output's, is what the status tells. */
		signal(SIGPIPE, SIG_IGN);
		/* A script's shell ignores these for what it starts in the background: who sends
		 * one to a VM all the same means it. */
		signal(SIGINT, SIG_DFL);
		signal(SIGQUIT, SIG_DFL);
		if (check(&o, &cfg) < 0) {
			fprintf(stderr, "%s\n", o.error);
			status = CMD_USAGE;
		} else {
			cfg.sandbox_given = opts_given(&o, "sandbox");
			status = run(&cfg);
		}
	}
	opts_free(&o);
	return status;
}
