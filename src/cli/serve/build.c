/* SPDX-License-Identifier: Apache-2.0 */
/* `catnap serve`: a VM made of what the API was told. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/api/fc_device.h"
#include "cli/api/limiter.h"
#include "cli/now.h"
#include "cli/printable.h"
#include "cli/serve/serve.h"
#include "cli/service.h"
#include "cli/snapshot_files.h"

/* virtio's numbers */
#define VIRTIO_NET   1
#define VIRTIO_BLOCK 2

#define NS_PER_S UINT64_C(1000000000)

/* Where the guest's init tells that it is there, and what it writes: Firecracker's boot timer. */
#define BOOT_TIMER_ADDRESS 0xc0000000u
#define BOOT_TIMER_VALUE   123

/* The arguments that Firecracker gives a kernel that nobody has given any. */
#define DEFAULT_ARGS                                                                     \
	"reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.nopnp " \
	"i8042.dumbkbd"

/* ---- the command line ---- */

/* Returns what the kernel is told of its root device, "" if there is none. For the caller to free;
 * NULL: no memory. */
static char *root_argument(const struct fc_model *m)
{
	const struct fc_drive *d = m->n_drives && m->drives[0].root ? &m->drives[0] : NULL;
	char *text = NULL;
	int ret = 0;

	for (uint32_t i = 0; i < m->n_pmems; i++)
		if (m->pmems[i].root) {
			ret = asprintf(&text, " root=/dev/pmem%u %s", i,
				       m->pmems[i].read_only ? "ro" : "rw");
			return ret < 0 ? NULL : text;
		}
	if (!d)
		return strdup("");
	ret = asprintf(&text, " root=%s%s %s", d->partuuid ? "PARTUUID=" : "/dev/vda",
		       d->partuuid ? d->partuuid : "", d->read_only ? "ro" : "rw");
	return ret < 0 ? NULL : text;
}

/* Returns the command line, made as Firecracker makes it: what the transport and the root device
 * need stands behind what was given, and before what is init's, behind a "--". For the caller to
 * free; NULL: no memory. */
static char *command_line(const struct serve *s)
{
	const struct fc_model *m = &s->api.model;
	const char *args = m->boot.args ? m->boot.args : DEFAULT_ARGS;
	const char *rest = strstr(args, " -- ");
	size_t len = rest ? (size_t)(rest - args) : strlen(args);
	char *text, *root = root_argument(m);

	if (!root || asprintf(&text, "%.*s%s%s%s", (int)len, args, s->cfg->pci ? "" : " pci=off",
			      root, rest ? rest : "") < 0)
		text = NULL;
	free(root);
	return text;
}

/* ---- devices ---- */

static int failed(struct reply *r, struct catnap_vm *vm, const char *what)
{
	return reply_fault(r, 400, "Start microvm error: %s: %s", what, catnap_vm_last_error(vm));
}

/* Adds one with a back end of its own. */
static int add_back_drive(struct catnap_vm *vm, const struct fc_drive *d)
{
	struct catnap_vhost vhost;

	catnap_vhost_init(&vhost);
	vhost.type = 2; /* virtio's number of disks */
	vhost.socket = d->socket;
	return catnap_vm_add_vhost(vm, &vhost);
}

static int add_drives(struct serve *s, struct catnap_vm *vm, struct reply *r)
{
	uint32_t disks = 0;

	for (uint32_t i = 0; i < s->api.model.n_drives; i++) {
		struct fc_drive *d = &s->api.model.drives[i];
		struct catnap_disk disk;

		d->place = i;
		if (d->socket && add_back_drive(vm, d) < 0)
			return failed(r, vm, d->id);
		if (d->socket)
			continue;
		fc_drive_library(d, &disk);
		d->disk = disks++;
		if (catnap_vm_add_disk(vm, &disk) < 0)
			return failed(r, vm, d->id);
	}
	return 0;
}

static int add_hotplug(struct serve *s, struct catnap_vm *vm, struct reply *r)
{
	const struct fc_hotplug *h = &s->api.model.hotplug;
	struct catnap_hotplug hotplug;

	if (!h->on)
		return 0;
	catnap_hotplug_init(&hotplug);
	hotplug.max = h->total_mib << FC_MIB_BITS;
	hotplug.block = h->block_mib << FC_MIB_BITS;
	return catnap_vm_set_hotplug(vm, &hotplug) < 0 ? failed(r, vm, "memory-hotplug") : 0;
}

static int add_pmems(struct serve *s, struct catnap_vm *vm, struct reply *r)
{
	for (uint32_t i = 0; i < s->api.model.n_pmems; i++) {
		const struct fc_pmem *p = &s->api.model.pmems[i];
		struct catnap_pmem pmem;

		catnap_pmem_init(&pmem);
		pmem.path = p->path;
		pmem.readonly = p->read_only;
		pmem.format = CATNAP_DISK_RAW;
		fc_limiter_library(&p->limiter, &pmem.limit);
		if (catnap_vm_add_pmem(vm, &pmem) < 0)
			return failed(r, vm, p->id);
	}
	return 0;
}

static int add_nets(struct serve *s, struct catnap_vm *vm, struct reply *r)
{
	for (uint32_t i = 0; i < s->api.model.n_nets; i++) {
		struct fc_net *n = &s->api.model.nets[i];
		struct catnap_net net;

		fc_net_library(n, &net);
		n->net = n->place = i;
		if (catnap_vm_add_net(vm, &net) < 0)
			return failed(r, vm, n->id);
	}
	return 0;
}

static int add_fss(struct serve *s, struct catnap_vm *vm, struct reply *r)
{
	for (uint32_t i = 0; i < s->api.model.n_fss; i++)
		if (fc_fs_add(vm, &s->api.model.fss[i], -1) < 0)
			return failed(r, vm, s->api.model.fss[i].id);
	return 0;
}

static int add_vsock(struct serve *s, struct catnap_vm *vm, struct reply *r)
{
	const struct fc_vsock *v = &s->api.model.vsock;
	struct catnap_vsock vsock;

	if (!v->on)
		return 0;
	catnap_vsock_init(&vsock);
	vsock.cid = (uint32_t)v->cid;
	vsock.path = v->path;
	return catnap_vm_set_vsock(vm, &vsock) < 0 ? failed(r, vm, "vsock") : 0;
}

static int add_balloon(struct serve *s, struct catnap_vm *vm, struct reply *r)
{
	const struct fc_balloon *b = &s->api.model.balloon;
	struct catnap_balloon balloon;

	if (!b->on)
		return 0;
	catnap_balloon_init(&balloon);
	balloon.target = b->amount_mib << FC_MIB_BITS;
	balloon.deflate_on_oom = b->deflate_on_oom;
	return catnap_vm_set_balloon(vm, &balloon) < 0 ? failed(r, vm, "balloon") : 0;
}

static int limit_entropy(struct serve *s, struct catnap_vm *vm, struct reply *r)
{
	const struct fc_entropy *e = &s->api.model.entropy;
	struct catnap_rate_limit limit = {.bw = {.size = 0}};

	if (!e->on || (!e->limiter.bandwidth.on && !e->limiter.ops.on))
		return 0;
	fc_limiter_library(&e->limiter, &limit);
	return catnap_vm_set_rng_limit(vm, &limit) < 0 ? failed(r, vm, "entropy") : 0;
}

static int add_devices(struct serve *s, struct catnap_vm *vm, struct reply *r)
{
	if (add_drives(s, vm, r) < 0 || add_nets(s, vm, r) < 0 || add_fss(s, vm, r) < 0 ||
	    add_vsock(s, vm, r) < 0 || add_balloon(s, vm, r) < 0 || add_pmems(s, vm, r) < 0 ||
	    add_hotplug(s, vm, r) < 0 || limit_entropy(s, vm, r) < 0)
		return -EINVAL;
	return 0;
}

/* ---- --boot-timer ---- */

static int add_boot_timer(struct serve *s, struct catnap_vm *vm, struct reply *r)
{
	struct catnap_doorbell bell;

	if (!s->cfg->boot_timer)
		return 0;
	catnap_doorbell_init(&bell);
	bell.address = BOOT_TIMER_ADDRESS;
	bell.len = 1;
	bell.match = 1;
	bell.value = BOOT_TIMER_VALUE;
	if (catnap_vm_add_doorbell(vm, &bell, &s->boot_fd) < 0)
		return failed(r, vm, "boot timer");
	return 0;
}

/* ---- the VM ---- */

static int check(const struct serve *s, struct reply *r)
{
	const struct fc_model *m = &s->api.model;

	if (!m->boot.on)
		return reply_fault(r, 400,
				   "Start microvm error: Cannot start microvm without kernel "
				   "configuration.");
	if (m->machine.mem_mib > UINT64_MAX >> FC_MIB_BITS)
		return reply_fault(
			r, 400,
			"Start microvm error: Invalid Memory Configuration: Cannot create "
			"mmap region: %s (os error %d)",
			strerror(ENOMEM), ENOMEM);
	return 0;
}

static uint32_t memory_pages(enum fc_huge huge)
{
	switch (huge) {
	case FC_HUGE_2M:
		return CATNAP_PAGES_2M;
	case FC_HUGE_TRANSPARENT:
		return CATNAP_PAGES_TRANSPARENT;
	case FC_HUGE_NONE:
	default:
		return CATNAP_PAGES_HOST;
	}
}

static void fill(struct serve *s, struct catnap_vm_config *vc, const char *args)
{
	const struct fc_model *m = &s->api.model;

	catnap_vm_config_init(vc);
	vc->vcpus = (uint32_t)m->machine.vcpus;
	vc->memory_size = m->machine.mem_mib << FC_MIB_BITS;
	vc->memory_pages = memory_pages(m->machine.huge);
	vc->nodes = m->machine.nodes;
	vc->node_count = m->machine.n_nodes;
	vc->track_dirty = m->machine.track_dirty_pages;
	for (uint32_t i = 0; i < m->n_drives; i++)
		vc->memory_shared |= m->drives[i].socket != NULL;
	vc->memory_shared |= m->n_fss != 0;
	vc->kernel_path = m->boot.kernel;
	vc->initramfs_path = m->boot.initrd;
	vc->cmdline = args;
	vc->transport = s->cfg->pci ? CATNAP_TRANSPORT_PCI : CATNAP_TRANSPORT_MMIO;
	vc->hotplug = s->cfg->pci;
	vc->rng = m->entropy.on;
	vc->serial_output = serve_serial_output;
	vc->serial_ctx = &s->serial;
	vc->log = logger_message;
	vc->log_ctx = &s->logger;
	vc->keeper = s->keeper;
	if (m->cpu) {
		vc->cpuid_modifiers = m->cpu->cpuid;
		vc->cpuid_modifier_count = m->cpu->n_cpuid;
		vc->msr_modifiers = m->cpu->msrs;
		vc->msr_modifier_count = m->cpu->n_msrs;
		vc->kvm_required = m->cpu->required;
		vc->kvm_required_count = m->cpu->n_required;
		vc->kvm_dropped = m->cpu->dropped;
		vc->kvm_dropped_count = m->cpu->n_dropped;
	}
	vc->sandbox = s->cfg->no_seccomp ? CATNAP_SANDBOX_OFF : CATNAP_SANDBOX_ON;
}

/* Makes the VM with its devices, but does not start it. Returns NULL if @r is answered. */
static struct catnap_vm *make(struct serve *s, struct reply *r)
{
	char *args = command_line(s);
	struct catnap_vm_config vc;
	struct catnap_vm *vm = NULL;

	if (!args) {
		reply_fault(r, 500, "out of memory");
		return NULL;
	}
	fill(s, &vc, args);
	if (catnap_vm_create(&vc, &vm) < 0)
		reply_fault(r, 400, "Start microvm error: %s", catnap_vm_last_error(NULL));
	free(args);
	if (vm && (add_devices(s, vm, r) < 0 || add_boot_timer(s, vm, r) < 0))
		catnap_vm_destroy(&vm);
	return vm;
}

static int open_serial(struct serve *s, struct reply *r)
{
	const struct fc_serial *cfg = &s->api.model.serial;
	int ret = serve_serial_open(&s->serial, cfg);

	if (ret < 0)
		return reply_fault(r, 400,
				   "Start microvm error: serial_out_path: %s: %s (os error %d)",
				   cfg->path, strerror(-ret), -ret);
	return 0;
}

/* Lets it go. 0, or -EINVAL with @r answered, and then it is destroyed. */
static int start(struct serve *s, struct catnap_vm *vm, struct reply *r, const char *what)
{
	const uint32_t allow = CATNAP_SANDBOX_ALLOW_SOCKETS | CATNAP_SANDBOX_ALLOW_CONTROL |
			       CATNAP_SANDBOX_ALLOW_IMAGES | CATNAP_SANDBOX_ALLOW_SNAPSHOTS;

	serve_serial_begin(&s->serial);
	s->watched = vm;
	fc_find_devices(&s->api.model, vm);
	if (catnap_vm_start(vm) == 0 && catnap_vm_sandbox_thread(vm, allow) == 0) {
		s->api.vm = vm;
		s->api.snapshots = true;
		service_tell(s->service, "STATUS=The VM was started.\n");
		return 0;
	}
	reply_fault(r, 400, "%s error: %s", what, catnap_vm_last_error(vm));
	catnap_vm_destroy(&vm);
	s->watched = NULL;
	return -EINVAL;
}

static void give_up(struct serve *s)
{
	s->boot_fd = -1;
	serve_serial_close(&s->serial);
	serve_serial_init(&s->serial);
}

int serve_start(void *ctx, struct reply *r)
{
	struct serve *s = ctx;
	struct catnap_vm *vm;

	s->boot_ns = now_ns();
	s->boot_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	if (check(s, r) < 0 || open_serial(s, r) < 0)
		return -EINVAL;
	vm = make(s, r);
	if (!vm || start(s, vm, r, "Start microvm") < 0) {
		give_up(s);
		return -EINVAL;
	}
	s->balloon_ns = s->api.model.balloon.stats_interval_s * NS_PER_S;
	s->balloon_next = now_ns();
	return 0;
}

/* ---- one that goes on ---- */

/* Names a device: disk0, net0 and so on, as in `catnap run`. */
static void name_device(struct fc_model *m, const struct catnap_snapshot_device *d)
{
	struct fc_drive *drive = &m->drives[m->n_drives];
	struct fc_net *net = &m->nets[m->n_nets];
	char id[24];

	if (d->type == VIRTIO_BLOCK && m->n_drives < FC_MAX_DRIVES) {
		snprintf(id, sizeof(id), "disk%u", d->number);
		*drive = (struct fc_drive){.id = strdup(id),
					   .path = strdup(d->place),
					   .read_only = d->readonly,
					   .cache = FC_CACHE_WRITEBACK,
					   .engine = FC_ENGINE_ASYNC,
					   .disk = d->number,
					   .place = d->number};
		m->n_drives++;
	} else if (d->type == VIRTIO_NET && m->n_nets < FC_MAX_NETS) {
		snprintf(id, sizeof(id), "net%u", d->number);
		*net = (struct fc_net){.id = strdup(id),
				       .tap = strdup(d->place),
				       .net = d->number,
				       .place = d->number};
		m->n_nets++;
	}
}

static void name_all(struct serve *s, struct catnap_snapshot *snapshot)
{
	struct catnap_snapshot_device d = {.size = sizeof(d)};
	struct catnap_snapshot_info info = {.size = sizeof(info)};
	struct fc_model *m = &s->api.model;

	catnap_snapshot_get_info(snapshot, &info);
	m->machine.vcpus = info.vcpus;
	m->machine.mem_mib = info.memory_size >> FC_MIB_BITS;
	m->machine.n_nodes = 0; /* the snapshot's are its guest's */
	for (uint32_t i = 0; catnap_snapshot_get_device(snapshot, i, &d) == 0; i++)
		name_device(m, &d);
}

/* Takes that back: it was not loaded. There was no device before. */
static void forget_names(struct fc_model *m, const struct fc_machine *before)
{
	m->machine = *before;
	while (m->n_drives)
		fc_drive_free(&m->drives[--m->n_drives]);
	while (m->n_nets)
		fc_net_free(&m->nets[--m->n_nets]);
}

/* Puts in other TAPs, by the names that the interfaces have. */
static int override_nets(const struct serve *s, struct reply *r, const struct api_load *load,
			 struct catnap_net *nets)
{
	const struct fc_model *m = &s->api.model;

	for (uint32_t i = 0; i < m->n_nets; i++)
		catnap_net_init(&nets[i]);
	for (uint32_t i = 0; i < load->n_nets; i++) {
		uint32_t n = 0;

		while (n < m->n_nets && strcmp(m->nets[n].id, load->nets[i].id) != 0)
			n++;
		if (n == m->n_nets)
			return reply_fault(r, 400,
					   "Load snapshot error: Unknown Network Device: %s",
					   load->nets[i].id);
		nets[n].tap = load->nets[i].tap;
	}
	return 0;
}

static struct catnap_vm *restore(struct serve *s, struct reply *r, struct snapshot_files *files,
				 const struct api_load *load)
{
	struct catnap_net nets[FC_MAX_NETS];
	struct catnap_restore how;
	struct catnap_vm_config vc;
	struct catnap_vsock vsock;
	struct catnap_vm *vm = NULL;

	if (override_nets(s, r, load, nets) < 0)
		return NULL;
	fill(s, &vc, NULL);
	vc.kernel_path = vc.initramfs_path = NULL;
	vc.track_dirty = load->track_dirty;
	catnap_restore_init(&how);
	how.memory_mode = load->uffd ? CATNAP_MEMORY_UFFD : CATNAP_MEMORY_MAP;
	how.handler = load->uffd ? load->memory : NULL;
	how.memory_fds = files->memory;
	how.memory_count = files->count;
	how.paused = !load->resume;
	how.clock_realtime = load->clock_realtime;
	how.nets = nets;
	how.net_count = s->api.model.n_nets;
	if (load->vsock) {
		catnap_vsock_init(&vsock);
		vsock.path = load->vsock;
		how.vsock = &vsock;
	}
	if (catnap_vm_restore(&vc, files->snapshot, &how, &vm) < 0)
		reply_fault(r, 400, "Load snapshot error: %s", catnap_vm_last_error(NULL));
	return vm;
}

int serve_load(void *ctx, struct reply *r, const struct api_load *load)
{
	struct serve *s = ctx;
	struct snapshot_files files;
	const struct fc_machine before = s->api.model.machine;
	struct catnap_vm *vm = NULL;
	char why[SNAPSHOT_WHY];
	int ret = -EINVAL;

	if (s->api.model.boot.on || s->api.model.n_drives || s->api.model.n_nets ||
	    s->api.model.n_fss)
		return reply_fault(r, 400,
				   "Load snapshot error: Loading a microVM snapshot not allowed "
				   "after configuring boot-specific resources.");
	if (snapshot_open_files(&files, load->state, load->uffd ? NULL : load->memory, why) < 0) {
		reply_fault(r, 400, "Load snapshot error: %s", why);
	} else if (open_serial(s, r) == 0) {
		name_all(s, files.snapshot);
		vm = restore(s, r, &files, load);
		ret = vm ? start(s, vm, r, "Load snapshot") : -EINVAL;
		if (ret < 0) {
			forget_names(&s->api.model, &before);
			give_up(s);
		}
	}
	snapshot_close(&files);
	return ret;
}
