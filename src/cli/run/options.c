/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of `catnap run`: the table, what their values are, and what holds without them. Those
 * of devices are in devices.c, those of Linux's own halt polling in linux.c.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/now.h"
#include "cli/opts.h"
#include "cli/run/run.h"

#define DEFAULT_CMDLINE "console=ttyS0"

/* Sanitizers and coverage make system calls of their own. */
#ifdef SANDBOX_DEFAULT_OFF
#define SANDBOX_DEFAULT	     CATNAP_SANDBOX_OFF
#define SANDBOX_DEFAULT_NAME "off"
#else
#define SANDBOX_DEFAULT	     CATNAP_SANDBOX_ON
#define SANDBOX_DEFAULT_NAME "on"
#endif

struct cpus_value {
	uint32_t n;
	const char *affinity;
};

/* Parses a list of processors such as 0-1 or 0:2:5-7; vCPU i gets the i-th, and round again. */
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
	return opt_fail(o, arg,
			"is not a list of processors: expected one such as 0-1 or 0:2, up to %d",
			CPU_SETSIZE - 1);
}

static const struct opt_field cpus_keys[] = {
	{.name = "n",
	 .type = OPT_U32,
	 .offset = offsetof(struct cpus_value, n),
	 .min = 1,
	 .max = CATNAP_MAX_VCPUS},
	{.name = "affinity", .type = OPT_STRING, .offset = offsetof(struct cpus_value, affinity)},
	{.name = NULL},
};

static int set_cpus(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;
	struct cpus_value value = {.n = cfg->cpus};
	struct opt_arg affinity = {.option = arg->option, .key = "affinity"};

	if (opt_keys(o, arg, cpus_keys, &value))
		return -EINVAL;
	cfg->cpus = value.n;
	affinity.text = value.affinity;
	return value.affinity ? parse_affinity(o, &affinity, value.affinity, cfg) : 0;
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
	if (more.weighing)
		cfg->halt_poll_weighing = more.weighing;
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

static const struct opt_field debug_exit_keys[] = {
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

static int set_debug_exit(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	return opt_keys(o, arg, debug_exit_keys, ptr);
}

static int set_guest_halt_poll(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;

	return run_guest_halt_poll_set(o, arg, &cfg->guest_poll);
}

static const struct opt_word io_modes[] = {
	{"vcpu", CATNAP_IO_VCPU}, {"thread", CATNAP_IO_THREAD}, {NULL, 0}};
static const struct opt_word transports[] = {
	{"pci", CATNAP_TRANSPORT_PCI},
	{"mmio", CATNAP_TRANSPORT_MMIO},
	{NULL, 0},
};

/* Checks the name as the library does, but names the option. */
static int set_name(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	static const char known[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = strspn(arg->text, known);

	if (!len || arg->text[len] || len > CATNAP_MAX_NAME)
		return opt_fail(o, arg,
				"is no name: expected 1 to %d letters, digits, '.', '_', '-'",
				CATNAP_MAX_NAME);
	((struct run_cfg *)ptr)->name = arg->text;
	return 0;
}

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
static const struct opt_word resets[] = {
	{"end", CATNAP_ON_RESET_END}, {"restart", CATNAP_ON_RESET_RESTART}, {NULL, 0}};
static const struct opt_word irqchips[] = {{"user", CATNAP_IRQCHIP_USER},
					   {"kernel", CATNAP_IRQCHIP_KERNEL},
					   {"auto", RUN_IRQCHIP_AUTO},
					   {NULL, 0}};
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
	{.f = {.name = "config", .type = OPT_STRING, .offset = AT(config)},
	 .form = "FILE|-",
	 .help = "Takes options from a JSON document, whose members have their names. Those of the "
		 "command line count where both are given.",
	 .def = "none"},
	{.f = {.name = "print-config", .type = OPT_FLAG, .offset = AT(print_config)},
	 .help = "Writes the options given as such a document, and runs nothing."},
	{.f = {.name = "print-schema", .type = OPT_FLAG, .offset = AT(print_schema)},
	 .help = "Writes the JSON schema of such documents, and runs nothing."},
	{.f = {.name = "kernel", .type = OPT_STRING, .offset = AT(kernel)},
	 .letter = 'k',
	 .form = "PATH",
	 .help = "The image: a Linux bzImage or vmlinux, ELF with a PVH entry, Multiboot 1, or "
		 "flat. May also be given as the first argument. Without it, the first disk's own "
		 "is started, as its boot loader's files say.",
	 .def = "the first disk's own"},
	{.f = {.name = "kernel-format",
	       .type = OPT_WORD,
	       .offset = AT(image_kind),
	       .words = image_kinds},
	 .form = "auto|bzimage|linux|pvh|multiboot|flat",
	 .help = "How to start the image; linux: a vmlinux by its 64-bit entry. A flat one is "
		 "loaded at 0x7c00 and started there in real mode, if it is asked for.",
	 .def = "auto"},
	{.f = {.name = "boot-entry", .type = OPT_STRING, .offset = AT(own.entry)},
	 .form = "TITLE|ID|INDEX",
	 .help = "Which entry of the first disk's boot loader is started, without --kernel.",
	 .def = "the boot loader's"},
	{.f = {.name = "list-boot-entries", .type = OPT_FLAG, .offset = AT(own.list)},
	 .help = "Shows these entries, and runs nothing."},
	{.f = {.name = "restore", .type = OPT_CALL, .set = run_set_restore},
	 .form = "DIR[,memory=map|copy|uffd|working-set][,handler=SOCKET][,paused=on|off]"
		 "[,clock=kept|realtime][,learned=on|off]",
	 .help = "Goes on from the snapshot in a folder, instead of a kernel. What the guest sees "
		 "is the snapshot's; --disk, --net and --vsock say where its devices lead, in "
		 "their order. memory: mapped from the file, read at once, served page by page "
		 "by a process at a socket, or mapped, with what the guest touches first "
		 "brought in ahead; clock: as it was, or the host's of today; learned: with what "
		 "halt polling had learned.",
	 .def = "none",
	 .keys = run_restore_keys,
	 .list = true},
	{.f = {.name = "snapshots", .type = OPT_STRING, .offset = AT(snapshots)},
	 .form = "DIR",
	 .help = "The folder at or below which the control socket makes snapshots. In the sandbox "
		 "there is no other.",
	 .def = "none"},
	{.f = {.name = "hotplug", .type = OPT_CALL, .set = run_set_hotplug},
	 .form = "on|off|DIR",
	 .help = "Whether disks and network interfaces come and go while the guest runs, by the "
		 "control socket. DIR: the folder at or below which images are that come, and "
		 "folders "
		 "for the guest; in the sandbox there are no others. Needs a PCI bus and ACPI.",
	 .def = "off"},
	{.f = {.name = "track-dirty", .type = OPT_SWITCH, .offset = AT(track_dirty)},
	 .form = "on|off",
	 .help = "Whether an account is kept of the memory that is written, for snapshots of what "
		 "has changed.",
	 .def = "off"},
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
	 .help = "How many vCPUs, 1 to 64; their threads are tied to the processors of a list "
		 "such as 0-1 or 0:2, one each, round and round.",
	 .def = "1",
	 .keys = cpus_keys,
	 .list = true},
	{.f = {.name = "memory", .type = OPT_CALL, .set = run_set_memory},
	 .letter = 'm',
	 .form = "SIZE[,shared=on][,hugepages=2M|1G][,thp=on|off][,prefault=on][,lock=on]"
		 "[,host-nodes=LIST][,max=SIZE[,plug=SIZE][,block=SIZE]]",
	 .keys = run_memory_keys,
	 .help = "The guest's memory, at least 1M. shared: as a file that other processes can be "
		 "handed, as back ends of devices need it; hugepages: of pages that the host has "
		 "set aside; thp: with transparent huge pages, or without; prefault: all of it "
		 "from "
		 "the beginning; lock: never swapped out; host-nodes: from these NUMA nodes of the "
		 "host, such as 0-1 or 0:2; max: so much with what the guest plugs while it runs "
		 "(virtio-mem), plug: of it at first, in blocks of 2M, or as block says.",
	 .def = "256M",
	 .list = true},
	{.f = {.name = "numa", .type = OPT_CALL, .set = run_set_numa},
	 .form = "cpus=LIST[,memory=SIZE][,host-nodes=LIST][,distances=LIST]",
	 .keys = run_numa_keys,
	 .help = "A NUMA node of the guest, in their order: its vCPUs, a list such as 0-1 or 0:2; "
		 "its memory; host-nodes: where that comes from on the host; distances: how far it "
		 "is to each node's memory, such as 10:20 (10: its own; without any, 20 to the "
		 "others). Together they have all vCPUs and all of --memory.",
	 .def = "none",
	 .repeat = true,
	 .list = true},
	{.f = {.name = "name", .type = OPT_CALL, .set = set_name},
	 .form = "NAME",
	 .help = "What the virtual machine is called: its threads (NAME-vcpu0), its messages and "
		 "its statistics.",
	 .def = "none"},
	{.f = {.name = "disk", .type = OPT_CALL, .set = run_set_disk},
	 .letter = 'd',
	 .keys = run_disk_keys,
	 .help = "A virtio block device on a raw image, a file or a block device of the host, "
		 "which is locked unless lock=off; one that looks like qcow2 and such is refused "
		 "unless format=raw; or one whose vhost-user back end listens at SOCKET, and which "
		 "waits for it again when it has gone, unless reconnect=off. bw, ops: bytes and "
		 "requests in a second at most, with a "
		 "bucket "
		 "for what may be done at once (bw-burst=SIZE), the time in which it fills "
		 "(bw-refill=TIME; two of the three say the third), and a burst that is there once "
		 "(bw-one-time=SIZE); ops-burst and so on likewise.",
	 .repeat = true,
	 .list = true},
	{.f = {.name = "net", .type = OPT_CALL, .set = run_set_net},
	 .letter = 'n',
	 .form = "tap=NAME|auto[,bridge=NAME]|fd=N[:N...]|passt[,forward=tcp:8080:80[+...]]|stream="
		 "SOCKET|vhost-user="
		 "SOCKET[,mac=ADDRESS][,queues=N][,mtu=N][,bw=SIZE]"
		 "[,ops=N]",
	 .help = "A virtio network device on a TAP interface of the host, or on one that is made "
		 "for it (auto; as root), and put on a bridge; by passt, which is "
		 "started for it and needs no root, with ports of the host that lead to the guest; "
		 "on a stream socket, as passt and QEMU have them; or with a vhost-user "
		 "back end (reconnect=off: which is not waited for when it has gone); bw, ops: "
		 "bytes and "
		 "packets in a second at most, each way, with the further keys of --disk; rx-bw, "
		 "tx-bw and so on: only what the guest receives or sends.",
	 .repeat = true,
	 .keys = run_net_keys,
	 .list = true},
	{.f = {.name = "pmem", .type = OPT_CALL, .set = run_set_pmem},
	 .keys = run_pmem_keys,
	 .help = "Persistent memory (virtio-pmem), which is a file or a block device of the host, "
		 "a "
		 "multiple of 2M long: the guest has it in its address space, as /dev/pmem0 and so "
		 "on, and flushes it. readonly: what it writes is lost, and the length does not "
		 "matter; format and lock as for --disk; bw, ops: of flushes, each of which counts "
		 "as the whole file.",
	 .repeat = true,
	 .list = true},
	{.f = {.name = "fs", .type = OPT_CALL, .set = run_set_fs},
	 .help = "A folder of the host, which the guest mounts by its tag, with type virtiofs: by "
		 "a "
		 "virtiofsd that is started for it (readonly: the guest cannot change it; cache: "
		 "what the guest may keep of it), or by one that listens at SOCKET, or is at the "
		 "other end of a descriptor (queues: for requests; reconnect: whether one that has "
		 "gone is waited for).",
	 .repeat = true,
	 .keys = run_fs_keys,
	 .list = true},
	{.f = {.name = "vhost", .type = OPT_CALL, .set = run_set_vhost},
	 .help = "A virtio device of any type, by virtio's number, with a vhost-user back end that "
		 "listens at SOCKET, or is at the other end of a descriptor, and tells its "
		 "configuration space, of so many bytes.",
	 .repeat = true,
	 .keys = run_vhost_keys,
	 .list = true},
	{.f = {.name = "vsock", .type = OPT_CALL, .set = run_set_vsock},
	 .form = "cid=N,socket=PATH|fd=N",
	 .help = "Sockets between guest and host: the Unix socket PATH leads to the guest's ports, "
		 "and the host's port P is the Unix socket PATH_P. fd: one that listens already.",
	 .keys = run_vsock_keys,
	 .list = true},
	{.f = {.name = "balloon", .type = OPT_CALL, .set = run_set_balloon},
	 .form = "size=SIZE[,deflate-on-oom=on|off]",
	 .help = "A virtio balloon: the guest gives so much of its memory back to the host, and "
		 "reports what is free. The control socket changes the size while the VM runs.",
	 .keys = run_balloon_keys,
	 .list = true},
	{.f = {.name = "dump-memory", .type = OPT_SWITCH, .offset = AT(dump_memory)},
	 .form = "on|off",
	 .help = "Whether a core dump of catnap has the guest's memory in it.",
	 .def = "off"},
	{.f = {.name = "rng", .type = OPT_CALL, .set = run_set_rng},
	 .form = "on|off[,bw=SIZE][,ops=N]",
	 .help = "A virtio entropy device; bw, ops: bytes and buffers in a second at most, with "
		 "the further keys of --disk.",
	 .def = "on",
	 .keys = run_rng_keys,
	 .list = true},
	{.f = {.name = "on-reset", .type = OPT_WORD, .offset = AT(on_reset), .words = resets},
	 .form = "end|restart",
	 .help = "What becomes of a guest that asks for a reset: it ends, or begins anew from its "
		 "image, in the same VM. A triple fault ends it in any case.",
	 .def = "end"},
	{.f = {.name = "io", .type = OPT_WORD, .offset = AT(io), .words = io_modes},
	 .form = "vcpu|thread",
	 .help = "Who runs the devices: the vCPUs that use them, or one thread, for guests that "
		 "compute on all their vCPUs.",
	 .def = "vcpu"},
	{.f = {.name = "irqchip", .type = OPT_WORD, .offset = AT(irqchip), .words = irqchips},
	 .form = "user|kernel|auto",
	 .help = "Who has the local APIC, and so HLT: user, catnap itself; kernel, KVM; auto, the "
		 "better one for this number of vCPUs, by what exits, interrupts and wake-ups cost "
		 "on this host, which is measured once for each boot.",
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
	 .form = "off|force|realtime[,ns=TIME|kernel,grow=N,grow-start=TIME,shrink=N,"
		 "allow-shrink=on|off,host=off|break-even|learned]",
	 .help = "Linux's own halt polling (cpuidle-haltpoll): force, by its command line; "
		 "realtime, by telling it that each vCPU has a processor of its own. Without ns it "
		 "polls for about half of what a sleep costs on this host; ns=kernel: Linux's own "
		 "200us. host: once the guest has given up, the host polls on, for as long as one "
		 "sleep is worth, or as --halt-poll has learned (kernel: not at all).",
	 .def = "force,host=learned",
	 .keys = run_guest_halt_poll_keys,
	 .list = true},
	{.f = {.name = "halt-poll", .type = OPT_CALL, .set = set_halt_poll},
	 .form = "policy=adaptive|kernel|fixed|always|off,max=TIME,grow=N,grow-start=TIME,shrink=N,"
		 "bias=latency|balanced|power,cpu-max=N%,group=on|off,"
		 "spin=auto|pause|umwait|mwaitx[,vcpu=N]",
	 .help = "How long a halted vCPU polls before it sleeps. With vcpu=, for that one only. "
		 "With irqchip=kernel, max is given to KVM (off: 0).",
	 .def = "adaptive,max=1ms,bias=balanced; with another policy max=200us; kernel: "
		"grow=2,grow-start=10us,shrink=2",
	 .repeat = true,
	 .keys = opt_halt_poll_keys,
	 .list = true},
	{.f = {.name = "serial", .type = OPT_CALL, .set = run_set_serial},
	 .form = "stdio|null|pty|file=PATH|socket=PATH|fd=N",
	 .help = "The first serial port. On a terminal, Ctrl-A x ends the VM, Ctrl-A z stops the "
		 "job, Ctrl-A h helps. pty: "
		 "a pseudo-terminal, whose name is printed; socket: a Unix socket, for one client "
		 "at a time; fd: output to a descriptor that is open.",
	 .def = "stdio"},
	{.f = {.name = "console", .type = OPT_CALL, .set = run_set_console},
	 .form = "off|stdio|pty|file=PATH|socket=PATH|fd=N",
	 .help = "A virtio console, hvc0 of Linux. With stdio, the serial port leads nowhere "
		 "unless --serial says otherwise.",
	 .def = "off"},
	{.f = {.name = "debug-exit", .type = OPT_CALL, .set = set_debug_exit},
	 .form = "PORT[,base=N]",
	 .help = "A guest write to this I/O port ends the VM, with exit status (value << 1 | 1) & "
		 "255; or N + value, at most 123, which is never one of catnap's own.",
	 .keys = debug_exit_keys,
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
	{.f = {.name = "api-socket", .type = OPT_CALL, .set = run_set_api_socket},
	 .form = "PATH|fd=N",
	 .help = "The control socket, which is made, or one that listens already: HTTP, with "
		 "Firecracker's resources and catnap's own, for catnap ctl, catnap stat and curl.",
	 .def = "none, or the one that systemd passes"},
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
	 .other = "log-level",
	 .help = "The same as --log-level info."},
	{.f = {.name = "log-level", .type = OPT_WORD, .offset = AT(log_level), .words = log_levels},
	 .other = "verbose",
	 .form = "error|warn|info|debug",
	 .help = "Which messages are shown.",
	 .def = "warn"},
	{.f = {.name = "log-file", .type = OPT_STRING, .offset = AT(log_file)},
	 .form = "PATH",
	 .help = "Messages go there.",
	 .def = "standard error"},
	{.f = {.name = NULL}},
};

const struct opt_command run_command = {
	.name = "run",
	.synopsis = "[OPTIONS] [KERNEL]",
	.summary = "Launches a microVM and stays until it ends.",
	.options = options,
	.notes = "Exit status: 0 the guest powered off; 1 host error; 2 wrong command line; 32 the "
		 "guest asked for a reset; 33 triple fault or KVM internal error; 34 guest panic; "
		 "124 --timeout; 128 + N ended by signal N; or what --debug-exit carries.\n",
	.arg_name = "KERNEL",
	.max_args = 1,
};

void run_cfg_init(struct run_cfg *cfg)
{
	*cfg = (struct run_cfg){
		.cmdline = DEFAULT_CMDLINE,
		.cpus = 1,
		.memory = UINT64_C(256) << 20,
		.irqchip = CATNAP_IRQCHIP_USER,
		.debug_exit = UINT32_MAX,
		.rng = {.on = true},
		.console = PORT_NULL,
		.serial_fd = -1,
		.console_fd = -1,
		.api_fd = -1,
		.vsock = {.fd = -1},
		.log_level = CATNAP_LOG_WARN,
		.sandbox = SANDBOX_DEFAULT,
		.begin_ns = now_ns(),
	};
	catnap_halt_poll_init(&cfg->halt_poll);
	run_guest_halt_poll_init(&cfg->guest_poll);
}
