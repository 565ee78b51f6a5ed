/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `catnap run --restore`: a snapshot's folder in the place of an image. What the guest sees is the
 * snapshot's; options say where devices lead, and what is the host's alone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/printable.h"
#include "cli/run/run.h"

static const struct opt_word modes[] = {{"map", CATNAP_MEMORY_MAP},
					{"copy", CATNAP_MEMORY_COPY},
					{"uffd", CATNAP_MEMORY_UFFD},
					{"working-set", CATNAP_MEMORY_WORKING_SET},
					{NULL, 0}};
static const struct opt_word clocks[] = {{"kept", 0}, {"realtime", 1}, {NULL, 0}};
static const struct opt_word off_on[] = {{"on", 0}, {"off", 1}, {NULL, 0}};

#define AT(member) .offset = offsetof(struct run_cfg, restore.member)

const struct opt_field run_restore_keys[] = {
	{.name = "dir", .type = OPT_STRING, AT(dir), .required = true, .form = "DIR"},
	{.name = "memory",
	 .type = OPT_WORD,
	 AT(memory),
	 .words = modes,
	 .form = "map|copy|uffd|working-set"},
	{.name = "handler", .type = OPT_STRING, AT(handler), .form = "SOCKET"},
	{.name = "paused", .type = OPT_SWITCH, AT(paused), .form = "on|off"},
	{.name = "clock", .type = OPT_WORD, AT(clock), .words = clocks, .form = "kept|realtime"},
	{.name = "learned", .type = OPT_SWITCH, AT(forget), .words = off_on, .form = "on|off"},
	{.name = NULL},
};

int run_set_restore(struct opts *o, const struct opt_arg *arg, void *cfg)
{
	const struct run_cfg *run = cfg;
	bool uffd;

	if (opt_keys(o, arg, run_restore_keys, cfg))
		return -EINVAL;
	uffd = run->restore.memory == CATNAP_MEMORY_UFFD;
	if (uffd == (run->restore.handler != NULL))
		return 0;
	return opts_fail(o, "--restore: %s: expected both of memory=uffd and handler",
			 uffd ? "memory: uffd needs a handler" : "handler: has no effect");
}

/* The options for what the guest has seen. */
static const char *const snapshots[] = {
	"initramfs",  "kernel-format",
	"cmdline",    "cpus",
	"memory",     "numa",
	"balloon",    "pmem",
	"rng",	      "irqchip",
	"hw",	      "transport",
	"debug-exit", "guest-halt-poll",
	"dump-acpi",  "dump-dtb",
	"hotplug",
};

static bool limited(const struct catnap_rate_limit *l)
{
	return l->bw.size || l->ops.size;
}

/* Returns what @disk says of the device itself, and not of where it leads; NULL: nothing. */
static const char *of_disk(const struct catnap_disk *disk, const char *back)
{
	if (back)
		return "vhost-user";
	if (disk->id)
		return "id";
	if (disk->queues)
		return "queues";
	if (disk->block_size)
		return "block-size";
	return limited(&disk->limit) ? "its limits" : NULL;
}

static const char *of_net(const struct run_net *net)
{
	if (net->back)
		return "vhost-user";
	if (net->queues && !net->n_fds)
		return "queues";
	if (net->mtu)
		return "mtu";
	return limited(&net->rx_limit) || limited(&net->tx_limit) ? "its limits" : NULL;
}

/* What an option says of device @n that it cannot say. */
static int check_key(struct opts *o, const char *option, uint32_t n, const char *key)
{
	if (!key)
		return 0;
	return opts_fail(o,
			 "--%s: %s: of %s %u is as it was when the snapshot was made: expected "
			 "none with --restore",
			 option, key, option, n);
}

int run_check_restore(struct opts *o, const struct run_cfg *cfg)
{
	if (!cfg->restore.dir)
		return 0;
	if (cfg->kernel && cfg->on_reset == CATNAP_ON_RESET_END)
		return opts_fail(o, "--restore: not with a kernel, but for --on-reset restart: "
				    "expected one of them");
	if (!cfg->kernel && cfg->on_reset != CATNAP_ON_RESET_END)
		return opts_fail(o, "--on-reset: restart begins from an image: expected --kernel "
				    "as well");
	for (size_t i = 0; i < sizeof(snapshots) / sizeof(snapshots[0]); i++)
		if (opts_given(o, snapshots[i]))
			return opts_fail(o,
					 "--%s: is as it was when the snapshot was made: expected "
					 "none with --restore",
					 snapshots[i]);
	for (uint32_t i = 0; i < cfg->n_disks; i++)
		if (check_key(o, "disk", i, of_disk(&cfg->disks[i], cfg->backs[i].socket)))
			return -EINVAL;
	for (uint32_t i = 0; i < cfg->n_nets; i++)
		if (check_key(o, "net", i, of_net(&cfg->nets[i])))
			return -EINVAL;
	return 0;
}

/* ---- what the snapshot has, among the options ---- */

static int wrong(const struct run_cfg *cfg, const char *option, const char *what)
{
	complain("catnap run: --%s: %s: %s\n", option, cfg->restore.dir, what);
	return CMD_USAGE;
}

/* Returns a copy, which is there until run_restore_close(); NULL: there is no memory. */
static const char *keep_place(struct run_cfg *cfg, const char *place)
{
	const unsigned int most = sizeof(cfg->restore.places) / sizeof(cfg->restore.places[0]);
	char *copy = cfg->restore.n_places < most ? strdup(place) : NULL;

	if (copy)
		cfg->restore.places[cfg->restore.n_places++] = copy;
	return copy;
}

static int take_disk(struct run_cfg *cfg, struct catnap_snapshot_device *d, uint32_t given)
{
	struct catnap_disk *disk;

	if (d->number >= RUN_MAX_DISKS)
		return wrong(cfg, "restore", "has more disks than there can be");
	disk = &cfg->disks[d->number];
	if (d->number < given && disk->readonly && !d->readonly)
		return wrong(cfg, "disk", "readonly: the guest knows it as one to be written");
	if (d->number >= given) {
		catnap_disk_init(disk);
		disk->path = keep_place(cfg, d->place);
		if (!disk->path)
			return wrong(cfg, "restore", strerror(ENOMEM));
	}
	disk->readonly = d->readonly;
	cfg->n_disks = d->number + 1;
	return CMD_OK;
}

static int take_net(struct run_cfg *cfg, struct catnap_snapshot_device *d, uint32_t given)
{
	static const uint8_t none[6];
	struct run_net *net;

	if (d->number >= RUN_MAX_NETS)
		return wrong(cfg, "restore", "has more interfaces than there can be");
	net = &cfg->nets[d->number];
	if (d->number >= given && !d->place[0]) {
		complain("catnap run: --net: %s: interface %u was on a stream, whose other end has "
			 "gone: expected --net with where it leads now\n",
			 cfg->restore.dir, d->number);
		return CMD_USAGE;
	}
	if (d->number >= given) {
		*net = (struct run_net){.tap = keep_place(cfg, d->place)};
		if (!net->tap)
			return wrong(cfg, "restore", strerror(ENOMEM));
	}
	if (memcmp(net->mac, none, sizeof(none)) == 0)
		memcpy(net->mac, d->mac, sizeof(net->mac));
	cfg->n_nets = d->number + 1;
	return CMD_OK;
}

static int take_vsock(struct run_cfg *cfg, const struct catnap_snapshot_device *d)
{
	if (cfg->vsock.cid && cfg->vsock.cid != d->cid)
		return wrong(cfg, "vsock", "has another cid than the snapshot");
	if (!cfg->vsock.cid) {
		cfg->vsock.socket = keep_place(cfg, d->place);
		if (!cfg->vsock.socket)
			return wrong(cfg, "restore", strerror(ENOMEM));
	}
	cfg->vsock.cid = d->cid;
	return CMD_OK;
}

enum { NET = 1, DISK = 2, CONSOLE = 3, BALLOON = 5, VSOCK = 19, PMEM = 27 }; /* virtio's numbers */

static int take_device(struct run_cfg *cfg, struct catnap_snapshot_device *d,
		       const struct run_cfg *given)
{
	switch (d->type) {
	case DISK:
		return take_disk(cfg, d, given->n_disks);
	case NET:
		return take_net(cfg, d, given->n_nets);
	case VSOCK:
		return take_vsock(cfg, d);
	case BALLOON:
		cfg->balloon.on = true;
		return CMD_OK;
	default:
		return CMD_OK;
	}
}

static int check_given(const struct run_cfg *cfg, const struct run_cfg *given, bool vsock,
		       bool console)
{
	if (given->n_disks > cfg->n_disks)
		return wrong(cfg, "disk", "has not so many disks");
	if (given->n_nets > cfg->n_nets)
		return wrong(cfg, "net", "has not so many interfaces");
	if (given->vsock.cid && !vsock)
		return wrong(cfg, "vsock", "has no socket device");
	if (given->console != PORT_NULL && !console)
		return wrong(cfg, "console", "has no console");
	return CMD_OK;
}

static int take_all(struct run_cfg *cfg, struct catnap_snapshot *s)
{
	struct catnap_snapshot_device d = {.size = sizeof(d)};
	struct catnap_snapshot_info info = {.size = sizeof(info)};
	const struct run_cfg given = *cfg;
	bool vsock = false, console = false;
	int status = CMD_OK;

	catnap_snapshot_get_info(s, &info);
	cfg->cpus = info.vcpus;
	cfg->memory = info.memory_size;
	cfg->irqchip = (int)info.irqchip;
	cfg->hw = (int)info.hw;
	cfg->transport = (int)info.transport;
	cfg->debug_exit = info.debug_exit_port < 0 ? UINT32_MAX : (uint32_t)info.debug_exit_port;
	cfg->n_disks = cfg->n_nets = 0;
	cfg->rng.on = false;
	if (cfg->irqchip == CATNAP_IRQCHIP_KERNEL && cfg->halt_trace)
		return wrong(cfg, "halt-trace", "has irqchip kernel, with which halts are KVM's");
	for (uint32_t i = 0; status == CMD_OK && catnap_snapshot_get_device(s, i, &d) == 0; i++) {
		vsock |= d.type == VSOCK;
		console |= d.type == CONSOLE;
		status = take_device(cfg, &d, &given);
	}
	return status == CMD_OK ? check_given(cfg, &given, vsock, console) : status;
}

int run_restore_open(struct run_cfg *cfg, struct snapshot_files *files)
{
	char why[SNAPSHOT_WHY];
	bool stale;
	int ret;

	*files = (struct snapshot_files){.dir = -1, .working_set = -1};
	if (!cfg->restore.dir)
		return CMD_OK;
	ret = cfg->restore.handler ? snapshot_open_state(files, cfg->restore.dir, why)
				   : snapshot_open(files, cfg->restore.dir, why);
	if (ret == 0 && cfg->restore.memory == CATNAP_MEMORY_WORKING_SET)
		ret = snapshot_open_working_set(files, cfg->restore.dir, &stale, why);
	if (ret < 0) {
		complain("catnap run: --restore: %s\n", why);
		return CMD_ERROR;
	}
	return take_all(cfg, files->snapshot);
}

void run_restore_close(struct run_cfg *cfg, struct snapshot_files *files)
{
	for (unsigned int i = 0; i < cfg->restore.n_places; i++)
		free(cfg->restore.places[i]);
	snapshot_close(files);
}

/* ---- the VM ---- */

int run_restore_vm(const struct catnap_vm_config *vc, const struct run_cfg *cfg, struct run_io *io,
		   struct catnap_vm **vm)
{
	int32_t made[RUN_MAX_NETS][CATNAP_MAX_NET_QUEUES];
	struct catnap_net nets[RUN_MAX_NETS];
	struct catnap_restore how;
	struct catnap_vsock vsock;
	struct catnap_console console;

	for (uint32_t i = 0; i < cfg->n_nets; i++)
		if (run_open_net(&cfg->nets[i], io, made[i], &nets[i]) != CMD_OK)
			return CMD_ERROR;
	catnap_restore_init(&how);
	how.memory_mode = (uint32_t)cfg->restore.memory;
	how.memory_fds = io->snapshot->memory;
	how.memory_count = io->snapshot->count;
	how.handler = cfg->restore.handler;
	how.working_set_fd = io->snapshot->working_set;
	how.paused = cfg->restore.paused;
	how.clock_realtime = (uint32_t)cfg->restore.clock;
	how.forget = (uint32_t)cfg->restore.forget;
	how.disks = cfg->disks;
	how.disk_count = cfg->n_disks;
	how.nets = nets;
	how.net_count = cfg->n_nets;
	if (cfg->vsock.cid) {
		catnap_vsock_init(&vsock);
		vsock.cid = cfg->vsock.cid;
		vsock.path = cfg->vsock.socket;
		vsock.fd = cfg->vsock.fd;
		how.vsock = &vsock;
	}
	if (cfg->console != PORT_NULL) {
		run_console(&console, &io->console);
		how.console = &console;
	}
	return catnap_vm_restore(vc, io->snapshot->snapshot, &how, vm);
}

/* ---- what its guest touches ---- */

int run_working_set_open(const struct run_cfg *cfg, struct run_io *io)
{
	char path[PATH_MAX];
	int status;

	if (!cfg->restore.dir || cfg->restore.memory != CATNAP_MEMORY_WORKING_SET ||
	    io->snapshot->working_set >= 0)
		return CMD_OK;
	snprintf(path, sizeof(path), "%s/" SNAPSHOT_WORKING_SET, cfg->restore.dir);
	io->working_set_path = strdup(path);
	if (!io->working_set_path)
		return wrong(cfg, "restore", strerror(ENOMEM));
	status = output_open_document(&io->outputs, &io->working_set, "restore",
				      io->working_set_path, 0600);
	if (status == CMD_OK)
		output_before_sandbox(&io->outputs, &io->working_set);
	return status;
}

bool run_working_set_write(struct catnap_vm *vm, struct run_io *io, struct way_out *w)
{
	struct output *o = &io->working_set;
	int ret;

	if (o->fd < 0)
		return true;
	ret = catnap_vm_write_working_set(vm, o->fd);
	if (ret < 0) {
		log_say(&io->messages, "catnap run: --restore: %s: %s\n", o->path,
			catnap_vm_last_error(vm));
	} else {
		ret = output_name(o, w);
		if (ret < 0)
			log_say(&io->messages, "catnap run: --restore: %s: %s\n", o->path,
				output_error(ret));
	}
	output_close(o);
	return ret == 0;
}

void run_working_set_close(struct run_io *io)
{
	output_close(&io->working_set);
	free(io->working_set_path);
	io->working_set_path = NULL;
}
