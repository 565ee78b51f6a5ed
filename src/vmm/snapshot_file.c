/* SPDX-License-Identifier: Apache-2.0 */
/* State files as their readers have them: opened, looked at, verified, merged. There is no VM. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sized.h"
#include "vmm/snapshot.h"
#include "vmm/vm.h"

#define CONFIG_VERSION	1
#define DEVICES_VERSION 1
#define MEMORY_VERSION	1
#define NODES_VERSION	1
#define STATE_MAX	(UINT64_C(1) << 28) /* bytes of a state file */

/* -- opening ---------------------------------------------------------------------------------- */

static int read_file(int fd, uint8_t **data, size_t *len, struct error *err)
{
	/* In the sandbox fstat(2) may be forbidden, by the way that the C library calls it. */
	off_t size = lseek(fd, 0, SEEK_END);
	size_t done = 0;

	if (size < 0)
		return error_errno(err, -errno, "cannot be looked at");
	if ((uint64_t)size > STATE_MAX)
		return error_fail(err, -EFBIG, "is no state of a snapshot: it is too long");
	*data = malloc((size_t)size + 1);
	if (!*data)
		return error_fail(err, -ENOMEM, "out of memory");
	while (done < (size_t)size) {
		ssize_t n = pread(fd, *data + done, (size_t)size - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, -errno, "cannot be read");
		if (n == 0)
			break;
		done += (size_t)n;
	}
	*len = done;
	return 0;
}

static int load(struct catnap_snapshot *s, int fd, struct error *err)
{
	struct state_in in;
	uint64_t memory_size = 0;
	size_t len = 0;
	int ret = read_file(fd, &s->data, &len, err);

	if (ret == 0)
		ret = state_open(&s->reader, s->data, len, err);
	if (ret == 0)
		ret = state_find(&s->reader, STATE_CONFIG, 0, CONFIG_VERSION, &in, err);
	if (ret == 0)
		ret = config_load(&s->config, &in, err);
	if (ret == 0 && state_has(&s->reader, STATE_NODES, 0)) {
		ret = state_find(&s->reader, STATE_NODES, 0, NODES_VERSION, &in, err);
		if (ret == 0)
			ret = nodes_load(&s->config, &in, err);
	}
	if (ret == 0)
		ret = state_find(&s->reader, STATE_DEVICES, 0, DEVICES_VERSION, &in, err);
	if (ret == 0)
		ret = devices_load(s, &in, err);
	if (ret == 0)
		ret = state_find(&s->reader, STATE_MEMORY, 0, MEMORY_VERSION, &in, err);
	if (ret == 0)
		ret = chain_load(&s->chain, &memory_size, &in, err);
	if (ret == 0 && memory_size != s->config.memory_size)
		ret = error_fail(err, -EINVAL, "says two sizes of memory");
	return ret;
}

int catnap_snapshot_open(int fd, struct catnap_snapshot **out)
{
	struct error err = {.text = ""};
	struct catnap_snapshot *s;
	int ret;

	if (!out)
		return vm_no_place(NULL, "snapshot_open: s");
	*out = NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return vm_fail(NULL, -ENOMEM, "the state file: out of memory");
	ret = load(s, fd, &err);
	if (ret < 0) {
		catnap_snapshot_close(&s);
		return vm_fail(NULL, ret, "the state file %s", err.text);
	}
	*out = s;
	return 0;
}

void catnap_snapshot_close(struct catnap_snapshot **sp)
{
	struct catnap_snapshot *s = *sp;

	if (!s)
		return;
	state_close(&s->reader);
	chain_free(&s->chain);
	devices_free(s);
	free(s->config.cmdline);
	free(s->config.linux_cmdline);
	free(s->data);
	free(s);
	*sp = NULL;
}

/* -- looking at it ---------------------------------------------------------------------------- */

int catnap_snapshot_get_info(struct catnap_snapshot *s, struct catnap_snapshot_info *to)
{
	const struct snapshot_config *c = &s->config;
	struct catnap_snapshot_info info = {.size = sizeof(info),
					    .vcpus = c->vcpus,
					    .memory_size = c->memory_size,
					    .taken_ns = c->taken_ns,
					    .irqchip = c->irqchip,
					    .hw = c->hw,
					    .transport = c->transport,
					    .tsc_khz = c->tsc_khz,
					    .debug_exit_port = c->debug_exit_port,
					    .memories = s->chain.count,
					    .devices = s->device_count};

	snprintf(info.version, sizeof(info.version), "%s", c->version);
	snprintf(info.name, sizeof(info.name), "%s", c->name);
	if (sized_out(to, &info, sizeof(info), sizeof(to->size)) < 0)
		return vm_wrong_size(NULL, "snapshot_get_info");
	return 0;
}

int catnap_snapshot_get_memory(struct catnap_snapshot *s, uint32_t n,
			       struct catnap_snapshot_memory *to)
{
	struct catnap_snapshot_memory m = {.size = sizeof(m)};

	if (n >= s->chain.count)
		return vm_fail(NULL, -ENOENT, "snapshot_get_memory: there are %u", s->chain.count);
	m.kind = s->chain.links[n].kind;
	memcpy(m.id, s->chain.links[n].id, sizeof(m.id));
	snprintf(m.name, sizeof(m.name), "%s", s->chain.links[n].name);
	if (sized_out(to, &m, sizeof(m), sizeof(to->size)) < 0)
		return vm_wrong_size(NULL, "snapshot_get_memory");
	return 0;
}

int catnap_snapshot_get_device(struct catnap_snapshot *s, uint32_t n,
			       struct catnap_snapshot_device *to)
{
	struct catnap_snapshot_device d = {.size = sizeof(d)};
	const struct vm_made *made;

	if (n >= s->device_count)
		return vm_fail(NULL, -ENOENT, "snapshot_get_device: there are %u", s->device_count);
	made = s->devices[n].made;
	d.type = s->devices[n].type;
	for (uint32_t i = 0; i < n; i++)
		d.number += s->devices[i].type == d.type;
	if (d.type == VIRTIO_ID_BLOCK)
		d.readonly = made->disk.readonly;
	if (d.type == VIRTIO_ID_NET)
		memcpy(d.mac, made->net.mac, sizeof(d.mac));
	if (d.type == VIRTIO_ID_VSOCK)
		d.cid = made->vsock.cid;
	snprintf(d.place, sizeof(d.place), "%s", made->place);
	if (sized_out(to, &d, sizeof(d), sizeof(to->size)) < 0)
		return vm_wrong_size(NULL, "snapshot_get_device");
	return 0;
}

int catnap_snapshot_verify_memory(struct catnap_snapshot *s, uint32_t n, int fd)
{
	struct error err = {.text = ""};
	struct memory_file f = {.sums = NULL};
	int ret;

	if (n >= s->chain.count)
		return vm_fail(NULL, -ENOENT, "snapshot_verify_memory: there are %u",
			       s->chain.count);
	ret = chain_open(&s->chain, n, fd, s->config.memory_size, &f, &err);
	if (ret == 0) {
		ret = memory_file_verify(&f, fd, &err);
		if (ret < 0)
			error_prefix(&err, ret, "%s: ", s->chain.links[n].name);
	}
	memory_file_free(&f);
	return ret < 0 ? vm_fail(NULL, ret, "%s", err.text) : 0;
}

/* -- merging ---------------------------------------------------------------------------------- */

/*
 * The memory files, from which the pages of one are put together, piece by piece. None is mapped: one
 * that somebody makes shorter meanwhile is an error and no signal.
 */
struct layers {
	struct memory_file files[CATNAP_SNAPSHOT_MEMORIES];
	const int32_t *fds;
	uint32_t count; /* of files */
	uint64_t size;	/* of memory */
	uint8_t *piece; /* MEMORY_CHUNK bytes */
	struct error *err;
};

/* Reads the pages of one file that are in the piece at @at, over those that are there. */
static int lay(struct layers *l, uint32_t n, uint64_t at)
{
	const uint64_t end = l->size - at < MEMORY_CHUNK ? l->size : at + MEMORY_CHUNK;

	for (uint64_t from = at, to; from < end; from = to) {
		const bool has = memory_file_has(&l->files[n], from / MEMORY_PAGE);
		int ret = 0;

		to = from + MEMORY_PAGE;
		while (to < end && memory_file_has(&l->files[n], to / MEMORY_PAGE) == has)
			to += MEMORY_PAGE;
		if (has)
			ret = memory_file_read(l->fds[n], l->piece + (from - at), to - from, from,
					       l->err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static const uint8_t *page_of(void *ctx, uint64_t at)
{
	struct layers *l = ctx;

	for (uint32_t i = 0; i < l->count && at % MEMORY_CHUNK == 0; i++)
		if (lay(l, i, at) < 0)
			return NULL;
	return l->piece + at % MEMORY_CHUNK;
}

static int open_layers(struct layers *l, const struct catnap_snapshot *s, struct error *err)
{
	int ret = 0;

	l->piece = malloc(MEMORY_CHUNK);
	if (!l->piece)
		return error_fail(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < s->chain.count && ret == 0; i++) {
		l->count = i + 1;
		ret = chain_open(&s->chain, i, l->fds[i], l->size, &l->files[i], err);
		if (ret == 0) {
			ret = memory_file_verify(&l->files[i], l->fds[i], err);
			if (ret < 0)
				error_prefix(err, ret, "%s: ", s->chain.links[i].name);
		}
	}
	return ret;
}

static void close_layers(struct layers *l)
{
	for (uint32_t i = 0; i < l->count; i++)
		memory_file_free(&l->files[i]);
	free(l->piece);
}

/* Copies the sections, but for the one that names the memory files. */
static void copy_sections(struct catnap_snapshot *s, const struct memory_chain *chain,
			  struct state_writer *w)
{
	for (uint32_t i = 0; i < s->reader.count; i++) {
		const struct state_section *one = &s->reader.sections[i];

		if (one->id == STATE_MEMORY)
			continue;
		state_begin(w, one->id, one->instance, one->version);
		state_put_bytes(w, one->payload, one->len);
		state_end(w);
	}
	chain_save(chain, s->config.memory_size, w);
}

static int merge(struct catnap_snapshot *s, const int32_t *fds,
		 const struct catnap_snapshot_request *to, struct error *err)
{
	struct memory_file f = {.kind = MEMORY_FULL, .size = s->config.memory_size};
	struct memory_link link = {.kind = MEMORY_FULL};
	struct layers layers = {.fds = fds, .size = s->config.memory_size, .err = err};
	struct memory_chain chain = {.count = 0};
	struct state_writer w;
	int ret;

	/* It is the same memory, so the next diff of the VM can be laid behind it. */
	memcpy(link.id, s->chain.links[s->chain.count - 1].id, sizeof(link.id));
	memcpy(f.id, link.id, sizeof(f.id));
	snprintf(link.name, sizeof(link.name), "%s", to->memory_name);
	state_writer_init(&w);
	ret = open_layers(&layers, s, err);
	if (ret == 0)
		ret = memory_file_write(&f, to->memory_fd, page_of, &layers, err);
	if (ret == 0)
		ret = chain_add(&chain, &link);
	if (ret == 0) {
		copy_sections(s, &chain, &w);
		ret = state_seal(&w);
	}
	if (ret == 0)
		ret = snapshot_write_state(&w, to->state_fd, err);
	if (ret == 0 && to->commit)
		ret = snapshot_commit(to, err);
	close_layers(&layers);
	state_writer_fini(&w);
	memory_file_free(&f);
	chain_free(&chain);
	return ret;
}

int catnap_snapshot_merge(struct catnap_snapshot *s, const int32_t *memory_fds,
			  uint32_t memory_count, const struct catnap_snapshot_request *given)
{
	struct catnap_snapshot_request to;
	struct error err = {.text = ""};
	int ret;

	catnap_snapshot_request_init(&to);
	if (sized_in(&to, sizeof(to), given, offsetof(struct catnap_snapshot_request, commit)) < 0)
		return vm_wrong_size(NULL, "snapshot_merge");
	if (!memory_fds || memory_count != s->chain.count)
		return vm_fail(NULL, -EINVAL, "snapshot_merge: memory_fds: expected %u",
			       s->chain.count);
	if (!chain_name_ok(to.memory_name))
		return vm_fail(NULL, -EINVAL,
			       "snapshot_merge: memory_name: expected a file's name");
	ret = merge(s, memory_fds, &to, &err);
	if (ret == 0)
		return 0;
	return vm_fail(NULL, ret, "merging: %s", err.text[0] ? err.text : strerror(-ret));
}
