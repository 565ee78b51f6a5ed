/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See api.h. The configuration that the resources of the socket show, as Firecracker has it, is
 * made of the options; a disk with an id and a folder are called there as the guest knows them, and
 * others disk0, disk1, net0 and so on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <catnap/sandbox.h>
#include "cli/api/fc_device.h"
#include "cli/api/limiter.h"
#include "cli/cmd.h"
#include "cli/printable.h"
#include "cli/run/folders.h"
#include "cli/run/run.h"

#define MIB_BITS 20

/* ---- the model ---- */

static char *numbered(const char *kind, uint32_t n)
{
	char *text;

	return asprintf(&text, "%s%u", kind, n) < 0 ? NULL : text;
}

/* Returns a file's name, or the descriptor that stands for it. */
static char *place(const char *path, int fd)
{
	return path ? strdup(path) : numbered("/dev/fd/", (uint32_t)fd);
}

/* Returns a device's name: the one that the guest knows it by, if it was given one that an id may be, that
 * no other has (@taken) and that is none of those by number; else @prefix and @n. */
static char *name_of(const char *given, bool taken, const char *prefix, uint32_t n)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
	const size_t len = strlen(prefix);
	const bool by_number = given && strncmp(given, prefix, len) == 0 &&
			       !given[len + strspn(given + len, "0123456789")];

	if (!given || !*given || given[strspn(given, plain)] || taken || by_number)
		return numbered(prefix, n);
	return strdup(given);
}

static bool fill_disk(struct fc_model *m, const struct catnap_disk *disk)
{
	const uint32_t n = m->n_drives;
	const bool taken = disk->id && fc_drive_find(m, disk->id);
	struct fc_drive *d = &m->drives[n];

	*d = (struct fc_drive){.id = name_of(disk->id, taken, "disk", n),
			       .path = place(disk->path, disk->fd),
			       .read_only = disk->readonly,
			       .cache = FC_CACHE_WRITEBACK,
			       .engine = FC_ENGINE_ASYNC,
			       .disk = n};
	fc_limiter_given(&d->limiter, &disk->limit);
	m->n_drives++;
	return d->id && d->path;
}

static bool fill_pmem(struct fc_pmem *p, const struct catnap_pmem *pmem, uint32_t n)
{
	*p = (struct fc_pmem){.id = numbered("pmem", n),
			      .path = place(pmem->path, pmem->fd),
			      .read_only = pmem->readonly};
	fc_limiter_given(&p->limiter, &pmem->limit);
	return p->id && p->path;
}

static bool fill_fs(struct fc_model *m, const struct run_vhost *v)
{
	const uint32_t n = m->n_fss;
	const bool taken = fc_fs_find(m, v->back.tag);
	struct fc_fs *f = &m->fss[n];

	*f = (struct fc_fs){.id = name_of(v->back.tag, taken, "fs", n),
			    .tag = strdup(v->back.tag),
			    .read_only = v->readonly,
			    .cache = (enum fc_fs_cache)v->cache};
	if (v->path)
		f->path = strdup(v->path);
	else
		f->socket = place(v->back.socket, v->back.fd);
	m->n_fss++;
	return f->id && f->tag && (f->path || f->socket);
}

static bool fill_net(struct fc_net *d, const struct run_net *net, uint32_t n)
{
	const uint8_t *m = net->mac;
	bool ok = true;

	*d = (struct fc_net){.id = numbered("net", n),
			     .tap = place(net->stream ? net->stream : net->tap,
					  net->n_fds ? net->fds[0] : -1),
			     .mtu = net->mtu,
			     .net = n};
	fc_limiter_given(&d->rx, &net->rx_limit);
	fc_limiter_given(&d->tx, &net->tx_limit);
	if (m[0] | m[1] | m[2] | m[3] | m[4] | m[5])
		ok = asprintf(&d->mac, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3],
			      m[4], m[5]) > 0;
	return ok && d->id && d->tap;
}

static bool copy(char **to, const char *text)
{
	*to = text ? strdup(text) : NULL;
	return *to || !text;
}

/* Returns the pages of memory as Firecracker has them, whose largest are of 2 MiB. */
static enum fc_huge pages(int kind)
{
	switch (kind) {
	case CATNAP_PAGES_TRANSPARENT:
		return FC_HUGE_TRANSPARENT;
	case CATNAP_PAGES_2M:
	case CATNAP_PAGES_1G:
		return FC_HUGE_2M;
	default:
		return FC_HUGE_NONE;
	}
}

static bool fill_model(struct fc_model *m, struct catnap_vm *vm, const struct run_cfg *cfg)
{
	bool ok = true;

	m->machine.vcpus = cfg->cpus;
	m->machine.mem_mib = cfg->memory >> MIB_BITS;
	m->machine.track_dirty_pages = cfg->track_dirty;
	m->machine.huge = pages(cfg->memory_pages);
	m->machine.n_nodes = cfg->n_nodes;
	memcpy(m->machine.nodes, cfg->nodes, sizeof(m->machine.nodes));
	m->boot.on = cfg->kernel;
	ok = copy(&m->boot.kernel, cfg->kernel) && copy(&m->boot.initrd, cfg->initramfs) &&
	     copy(&m->boot.args, cfg->cmdline);
	/* Those with a back end elsewhere cannot be changed here. */
	for (uint32_t i = 0; i < cfg->n_disks && ok; i++) {
		struct fc_drive *d = &m->drives[m->n_drives];

		if (!cfg->backs[i].socket)
			ok = fill_disk(m, &cfg->disks[i]);
		d->place = i;
	}
	for (uint32_t i = 0; i < cfg->n_nets && ok; i++) {
		struct fc_net *n = &m->nets[m->n_nets];

		if (!cfg->nets[i].back)
			ok = fill_net(n, &cfg->nets[i], m->n_nets++);
		n->place = i;
	}
	for (uint32_t i = 0; i < cfg->n_vhosts && ok; i++)
		if (cfg->vhosts[i].back.tag)
			ok = fill_fs(m, &cfg->vhosts[i]);
	fc_find_devices(m, vm);
	for (uint32_t i = 0; i < cfg->n_pmems && ok; i++)
		ok = fill_pmem(&m->pmems[m->n_pmems++], &cfg->pmems[i], i);
	m->hotplug = (struct fc_hotplug){.on = cfg->hotplug.max,
					 .total_mib = cfg->hotplug.max >> MIB_BITS,
					 .slot_mib = cfg->hotplug.block >> MIB_BITS,
					 .block_mib = cfg->hotplug.block >> MIB_BITS};
	m->balloon.on = cfg->balloon.on;
	m->balloon.amount_mib = cfg->balloon.size >> MIB_BITS;
	m->balloon.deflate_on_oom = cfg->balloon.deflate_on_oom;
	m->vsock.on = cfg->vsock.cid;
	m->vsock.cid = cfg->vsock.cid;
	ok = ok && (!cfg->vsock.cid || (m->vsock.path = place(cfg->vsock.socket, cfg->vsock.fd)));
	m->entropy.on = cfg->rng.on;
	if (cfg->rng.limited)
		fc_limiter_given(&m->entropy.limiter, &cfg->rng.limit);
	return ok;
}

/* ---- the socket ---- */

static void say(void *ctx, enum catnap_log_level level, struct place place, const char *message)
{
	/* A client that did something wrong is told itself. */
	log_message(&((struct run_io *)ctx)->messages,
		    level == CATNAP_LOG_ERROR ? CATNAP_LOG_INFO : level, message);
}

_Static_assert((int)FC_FS_CACHE_AUTO == (int)CACHE_AUTO &&
		       (int)FC_FS_CACHE_ALWAYS == (int)CACHE_ALWAYS &&
		       (int)FC_FS_CACHE_NONE == (int)CACHE_NONE,
	       "one is the other");

static int start_folder(void *ctx, const struct fc_fs *f, int *connection, char *why, size_t size)
{
	const struct run_vhost v = {.path = f->path, .readonly = f->read_only, .cache = f->cache};
	struct run_io *io = ctx;

	if (strpbrk(f->path, ",\\")) {
		snprintf(why, size, "has a comma or a backslash, which virtiofsd does not take");
		return -EINVAL;
	}
	if (!io->closed_in) /* it can start a program */
		return run_start_folder(&v, &io->helpers, connection, why, size);
	if (io->images)
		return folders_ask(&io->folders, &v, connection, why, size);
	snprintf(why, size,
		 "in the sandbox a folder comes from at or below one that was named at the start: "
		 "expected catnap run --hotplug DIR, or no sandbox");
	return -EPERM;
}

static const struct api_owner owner = {.log = say, .start_folder = start_folder};

static int wrong(const char *what, const char *why)
{
	complain("catnap run: --api-socket: %s: %s\n", what, why);
	return CMD_ERROR;
}

/* Makes the socket. No signal ends the process between its making and its being told. */
static int make_socket(struct run_api *a, const char *path, struct run_io *io)
{
	struct run_port name = {.option = "api-socket", .path = path};
	sigset_t before;
	int ret;

	if (run_socket_clear(&name) < 0)
		return CMD_ERROR;
	leftovers_hold(&before);
	ret = http_listen(&a->socket, path);
	if (ret == 0)
		leftovers_add(&io->outputs.left, path);
	leftovers_let(&before);
	if (ret == 0 && io->keeper) {
		ret = catnap_keeper_add_socket(io->keeper, path);
		a->keepers = ret == 0;
	}
	return ret < 0 ? wrong(path, strerror(-ret)) : CMD_OK;
}

static int take_socket(struct run_api *a, int fd)
{
	const char *why;
	char name[32];

	snprintf(name, sizeof(name), "fd=%d", fd);
	return http_inherit(&a->socket, fd, &why) < 0 ? wrong(name, why) : CMD_OK;
}

void run_api_activated(struct run_cfg *cfg)
{
	const int fd = http_activated();
	const char *option;
	int other;

	if (fd < 0 || cfg->api_socket || cfg->api_fd >= 0)
		return;
	for (unsigned int i = 0; (other = run_given(cfg, i, &option)) >= 0; i++)
		if (other == fd)
			return;
	cfg->api_fd = fd;
}

int run_api_open(struct catnap_vm *vm, const struct run_cfg *cfg, struct run_io *io)
{
	struct run_api *a;
	int status, ret;

	if (!run_starts(cfg) || (!cfg->api_socket && cfg->api_fd < 0))
		return CMD_OK;
	a = calloc(1, sizeof(*a));
	if (!a)
		return wrong("the socket", strerror(ENOMEM));
	a->socket.fd = -1;
	api_init(&a->api, cfg->name ? cfg->name : "", &owner, io);
	io->api = a;
	a->api.own.config = json_object_get(cfg->document);
	a->api.vm = vm;
	a->api.snapshots = io->snapshots;
	if (!fill_model(&a->api.model, vm, cfg))
		return wrong("the configuration", strerror(ENOMEM));
	status =
		cfg->api_socket ? make_socket(a, cfg->api_socket, io) : take_socket(a, cfg->api_fd);
	if (status != CMD_OK)
		return status;
	ret = api_server_start(&a->server, &a->api, a->socket.fd, 0);
	return ret < 0 ? wrong(cfg->api_socket ? cfg->api_socket : "the socket", strerror(-ret))
		       : CMD_OK;
}

void run_api_ended(struct run_io *io)
{
	if (io->api)
		api_server_stop(&io->api->server);
}

void run_api_close(struct run_io *io)
{
	if (!io->api)
		return;
	run_api_ended(io);
	http_socket_close(&io->api->socket, !io->api->keepers);
	api_free(&io->api->api);
	free(io->api);
	io->api = NULL;
}
