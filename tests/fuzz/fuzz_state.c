/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State files and memory files as an enemy writes them. The first byte says which way the rest goes:
 * as a whole file, as payloads of sections whose checksums are right, as what is behind the pages of
 * a memory file, or as a working set.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "poll/policy.h"
#include "poll/price.h"
#include "state.h"
#include "vmm/memory_file.h"
#include "vmm/snapshot.h"
#include "vmm/vm.h"
#include "vmm/working_set.h"

static void whole(const uint8_t *data, size_t size)
{
	/* It ends where its memory ends. */
	uint8_t *copy = malloc(size ? size : 1);
	struct state_reader r;
	struct error err = {.text = ""};
	struct state_in in;
	int ret;

	check(copy);
	memcpy(copy, data, size);
	ret = state_open(&r, copy, size, &err);
	check(ret == 0 || err.text[0]);
	for (uint32_t i = 0; ret == 0 && i < r.count; i++) {
		struct state_section s = r.sections[i];

		if (state_find(&r, s.id, s.instance, UINT16_MAX, &in, &err) == 0)
			while (state_left(&in))
				state_get_u8(&in);
	}
	state_close(&r);
	free(copy);
}

static void as_config(struct catnap_snapshot *s, struct state_in *in, struct error *err)
{
	if (config_load(&s->config, in, err) < 0)
		check(err->text[0]);
	free(s->config.cmdline);
	free(s->config.linux_cmdline);
}

static void as_devices(struct catnap_snapshot *s, struct state_in *in, struct error *err)
{
	int ret = devices_load(s, in, err);

	check(ret == 0 || err->text[0]);
	check(s->device_count <= VM_VIRTIO_MAX);
	devices_free(s);
}

static void as_chain(struct catnap_snapshot *s, struct state_in *in, struct error *err)
{
	uint64_t size;
	int ret = chain_load(&s->chain, &size, in, err);

	check(ret == 0 || err->text[0]);
	for (uint32_t i = 0; ret == 0 && i < s->chain.count; i++)
		check(chain_name_ok(s->chain.links[i].name));
	chain_free(&s->chain);
}

/* Whatever was taken does no harm in the halts that follow. */
static void as_learned(struct state_in *in, struct error *err)
{
	static struct catnap_policy p;
	struct price price = {.ns = 0};
	struct catnap_halt_poll params;
	uint64_t seed = state_left(in);

	catnap_halt_poll_init(&params);
	policy_init(&p, &params);
	price_load(&price, in);
	policy_load(&p, in);
	if (state_finish(in, err) < 0) {
		check(err->text[0]);
		return;
	}
	for (int i = 0; i < 300; i++) {
		struct policy_query q = {.allowed = true,
					 .timer_ns = UINT64_MAX,
					 .price_ns = price_estimate(&price)};
		struct catnap_halt h = {.valid = 1, .allowed = 1};

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		check(policy_begin(&p, &q) <= params.max_ns);
		h.halt_ns = seed >> 44;
		policy_end(&p, &h, h.halt_ns, i % 5 == 0);
	}
}

/* KVM is not there: whatever reaches it fails. */
static void as_vcpu(struct state_in *in, struct error *err)
{
	static struct kvm_msr_list none;
	static struct kvm kvm = {.msrs = &none, .xsave_size = sizeof(struct kvm_xsave)};
	static const struct vcpu_host user = {.kvm = &kvm, .irqchip_user = true};
	static const struct vcpu_host kernel = {.kvm = &kvm};
	struct vcpu *v = aligned_alloc(_Alignof(struct vcpu), sizeof(*v));

	check(v);
	memset(v, 0, sizeof(*v));
	v->host = in->version == 1 ? &user : &kernel;
	v->fd = -1;
	v->cpuid = calloc(1, sizeof(*v->cpuid));
	check(v->cpuid);
	check(vcpu_load(v, in, 0, err) < 0);
	check(err->text[0]);
	free(v->cpuid);
	free(v);
}

static void section(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1), kind = size ? data[0] : 0;
	struct catnap_snapshot s = {.data = NULL};
	struct error err = {.text = ""};
	struct state_in in;

	check(copy);
	memcpy(copy, data, size);
	in = (struct state_in){.version = (uint16_t)(1 + (kind >> 7)),
			       .at = copy + (size ? 1 : 0),
			       .end = copy + size};
	s.config.rng = kind >> 6 & 1;
	switch (kind & 7) {
	case 0:
		as_config(&s, &in, &err);
		break;
	case 1:
		as_devices(&s, &in, &err);
		break;
	case 2:
		as_chain(&s, &in, &err);
		break;
	case 3:
		as_learned(&in, &err);
		break;
	default:
		as_vcpu(&in, &err);
	}
	free(copy);
}

#define PAGES 5

static int nothing(void *ctx, uint64_t at, const uint8_t *page)
{
	check(at < PAGES * 4096 && page);
	return 0;
}

static void memory(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct memory_file f = {.sums = NULL};
	struct error err = {.text = ""};
	int ret;

	if (fd < 0)
		fd = memfd_create("fuzz", 0);
	check(ftruncate(fd, 0) == 0 && ftruncate(fd, PAGES * 4096) == 0);
	/* The last page of memory, and whatever is behind it. */
	check(pwrite(fd, data, size, (PAGES - 1) * 4096) == (ssize_t)size);
	ret = memory_file_open(&f, fd, PAGES * 4096, &err);
	check(ret == 0 || err.text[0]);
	if (ret == 0) {
		memory_file_verify(&f, fd, &err);
		memory_file_each(&f, fd, nothing, NULL, &err);
	}
	memory_file_free(&f);
}

static void touched(const uint8_t *data, size_t size)
{
	static const uint8_t id[MEMORY_ID];
	static int fd = -1;
	struct error err = {.text = ""};
	struct working_set ws;
	uint64_t pages = 0;
	int ret;

	if (fd < 0)
		fd = memfd_create("fuzz", 0);
	check(ftruncate(fd, 0) == 0);
	check(pwrite(fd, data, size, 0) == (ssize_t)size);
	ret = working_set_read(&ws, fd, id, PAGES * 4096, &err);
	check(ret == 0 || err.text[0]);
	for (uint64_t i = 0; ret == 0 && i < ws.count; i++) {
		check(ws.ranges[i].at + ws.ranges[i].len <= PAGES * 4096);
		pages += ws.ranges[i].len / 4096;
	}
	check(ret < 0 || pages == ws.pages);
	working_set_free(&ws);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (data[0] % 8 == 0)
		whole(data + 1, size - 1);
	else if (data[0] % 8 == 1)
		memory(data + 1, size - 1);
	else if (data[0] % 8 == 2)
		touched(data + 1, size - 1);
	else
		section(data + 1, size - 1);
	return 0;
}
