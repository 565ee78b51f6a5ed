/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State files and memory files as an enemy writes them. The first byte says which way the rest goes:
 * as a whole file, as payloads of sections whose checksums are right, as what is behind the pages of
 * a memory file, or as a working set. It says as well what is put right in a file, since an enemy
 * knows how to compute a checksum, and chance does not. docs/snapshot-format.md has the places.
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

/* What is put right: names, formats, lengths and counts; checksums; where ranges begin and end. */
enum { FORMS = 1, SUMS = 2, RANGES = 4, ALL = FORMS | SUMS | RANGES };

static void put(uint8_t *file, size_t at, uint64_t value, size_t len)
{
	memcpy(file + at, &value, len);
}

static uint64_t get(const uint8_t *file, size_t at, size_t len)
{
	uint64_t value = 0;

	memcpy(&value, file + at, len);
	return value;
}

static void mend_state(uint8_t *file, size_t size, unsigned int mend)
{
	size_t at = 32;
	uint32_t n = 0;

	if (size < at)
		return;
	for (; size - at >= 24; n++) {
		uint64_t len = get(file, at + 16, 8), left = size - at - 24;

		if (mend & FORMS) {
			/* What is left of the file is the last one's. */
			if (len > left || left - len < 24)
				put(file, at + 16, len = left, 8);
			put(file, at + 10, 0, 2);
		}
		if (len > left)
			break;
		if (mend & SUMS) {
			put(file, at + 12, 0, 4);
			put(file, at + 12, state_crc(0, file + at, 24 + len), 4);
		}
		at += 24 + len;
	}
	if (mend & FORMS) {
		memcpy(file, "catnapST", 8);
		put(file, 8, STATE_FORMAT, 4);
		put(file, 12, n, 4);
		put(file, 16, size, 8);
		put(file, 24, 0, 4);
	}
	if (mend & SUMS)
		put(file, 28, state_crc(0, file, 28), 4);
}

/* These return whether the file was taken. */
static bool whole(const uint8_t *data, size_t size, unsigned int mend)
{
	/* It ends where its memory ends. */
	uint8_t *copy = malloc(size ? size : 1);
	struct state_reader r;
	struct error err = {.text = ""};
	struct state_in in;
	int ret;

	check(copy);
	memcpy(copy, data, size);
	mend_state(copy, size, mend);
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
	return ret == 0;
}

static void as_config(struct catnap_snapshot *s, struct state_in *in, struct error *err)
{
	if (config_load(&s->config, in, err) < 0)
		check(err->text[0]);
	free(s->config.cmdline);
	free(s->config.linux_cmdline);
}

/* Whatever was taken has each vCPU and each byte once. */
static void as_nodes(struct catnap_snapshot *s, struct state_in *in, struct error *err)
{
	struct snapshot_config *c = &s->config;
	uint64_t at = 0;
	int ret;

	c->vcpus = 3;
	c->memory_size = UINT64_C(5) << 30;
	ret = nodes_load(c, in, err);
	check(ret == 0 || err->text[0]);
	check(ret < 0 || (c->node_count && c->node_count <= CATNAP_MAX_NODES));
	for (uint32_t i = 0; ret == 0 && i < c->node_count; i++)
		at += c->nodes[i].memory_size;
	check(ret < 0 || at == c->memory_size);
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
	case 4:
		as_nodes(&s, &in, &err);
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

#define TRAILER 88
#define SUMS_OF 4 /* one for all pages */
#define BITS_OF 8

static void mend_memory(uint8_t *trailer, const uint8_t *lists, unsigned int mend)
{
	bool diff = get(trailer, 12, 4) & 1;

	if (mend & FORMS) {
		memcpy(trailer, "catnapMM", 8);
		put(trailer, 8, 1, 4);
		put(trailer, 12, diff, 4);
		put(trailer, 48, PAGES * 4096, 8);
		put(trailer, 56, diff ? __builtin_popcountll(get(lists, SUMS_OF, BITS_OF)) : PAGES,
		    8);
		put(trailer, 64, 1, 4);
		put(trailer, 72, diff, 8);
	}
	if (mend & SUMS) {
		put(trailer, 68, state_crc(0, lists, SUMS_OF), 4);
		put(trailer, 80, diff ? state_crc(0, lists + SUMS_OF, BITS_OF) : 0, 4);
		put(trailer, 84, state_crc(0, trailer, 84), 4);
	}
}

/* The trailer is behind the pages, and its lists a page behind it. */
static bool memory(const uint8_t *data, size_t size, unsigned int mend)
{
	static int fd = -1;
	uint8_t trailer[TRAILER] = {0}, lists[SUMS_OF + BITS_OF] = {0};
	struct memory_file f = {.sums = NULL};
	struct error err = {.text = ""};
	size_t head = size < TRAILER ? size : TRAILER, rest = size - head;
	int ret;

	if (fd < 0)
		fd = memfd_create("fuzz", 0);
	check(ftruncate(fd, 0) == 0 && ftruncate(fd, PAGES * 4096) == 0);
	memcpy(trailer, data, head);
	memcpy(lists, data + head, rest < sizeof(lists) ? rest : sizeof(lists));
	if (mend & (FORMS | SUMS)) {
		mend_memory(trailer, lists, mend);
		head = TRAILER;
	}
	if (mend & FORMS)
		rest = get(trailer, 12, 4) & 1 ? SUMS_OF + BITS_OF : SUMS_OF;
	check(pwrite(fd, trailer, head, PAGES * 4096) == (ssize_t)head);
	if (rest) {
		check(ftruncate(fd, (PAGES + 1) * 4096 + (off_t)rest) == 0);
		check(pwrite(fd, lists, rest < sizeof(lists) ? rest : sizeof(lists),
			     (PAGES + 1) * 4096) >= 0);
	}
	ret = memory_file_open(&f, fd, PAGES * 4096, &err);
	check(ret == 0 || err.text[0]);
	if (ret == 0) {
		memory_file_verify(&f, fd, &err);
		memory_file_each(&f, fd, nothing, NULL, &err);
	}
	memory_file_free(&f);
	return ret == 0;
}

static void mend_working_set(uint8_t *file, size_t size, unsigned int mend)
{
	uint64_t pages = 0;

	if (size < 64)
		return;
	for (size_t at = 64; size - at >= 16; at += 16) {
		if (mend & RANGES) {
			put(file, at, get(file, at, 8) % PAGES * 4096, 8);
			put(file, at + 8, get(file, at + 8, 8) % (PAGES + 1) * 4096, 8);
		}
		pages += get(file, at + 8, 8) / 4096;
	}
	if (mend & FORMS) {
		memcpy(file, "catnapWS", 8);
		put(file, 8, 1, 4);
		memset(file + 16, 0, MEMORY_ID);
		put(file, 32, PAGES * 4096, 8);
		put(file, 40, pages, 8);
		put(file, 48, (size - 64) / 16, 8);
		put(file, 56, 0, 4);
	}
	if (mend & SUMS) {
		put(file, 12, state_crc(0, file + 64, (size - 64) / 16 * 16), 4);
		put(file, 60, state_crc(0, file, 60), 4);
	}
}

static bool touched(const uint8_t *data, size_t size, unsigned int mend)
{
	static const uint8_t id[MEMORY_ID];
	static int fd = -1;
	uint8_t *copy = malloc(size ? size : 1);
	struct error err = {.text = ""};
	struct working_set ws;
	uint64_t pages = 0;
	int ret;

	if (fd < 0)
		fd = memfd_create("fuzz", 0);
	check(copy);
	memcpy(copy, data, size);
	if (mend & FORMS && size >= 64)
		size -= (size - 64) % 16;
	mend_working_set(copy, size, mend);
	check(ftruncate(fd, 0) == 0);
	check(pwrite(fd, copy, size, 0) == (ssize_t)size);
	free(copy);
	ret = working_set_read(&ws, fd, id, PAGES * 4096, &err);
	check(ret == 0 || err.text[0]);
	for (uint64_t i = 0; ret == 0 && i < ws.count; i++) {
		check(ws.ranges[i].at + ws.ranges[i].len <= PAGES * 4096);
		pages += ws.ranges[i].len / 4096;
	}
	check(ret < 0 || pages == ws.pages);
	working_set_free(&ws);
	return ret == 0;
}

/* Each kind of file is reached: one that is put right is taken, and it is not without. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const uint8_t full[TRAILER], diff[TRAILER] = {[12] = 1};
	static uint8_t section[32 + 24 + 8], set[64 + 32];

	check(whole(section, sizeof(section), ALL) && !whole(section, sizeof(section), FORMS));
	check(memory(full, sizeof(full), ALL) && !memory(full, sizeof(full), FORMS));
	check(memory(diff, sizeof(diff), ALL) && !memory(diff, sizeof(diff), SUMS));
	set[64 + 8] = 1;  /* a page at 0 */
	set[64 + 16] = 2; /* and two at 8192 */
	set[64 + 16 + 8] = 2;
	check(touched(set, sizeof(set), ALL) && !touched(set, sizeof(set), FORMS | RANGES));
	set[64 + 16] = 1; /* which touch the first */
	check(!touched(set, sizeof(set), ALL));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (data[0] % 8 == 0)
		whole(data + 1, size - 1, data[0] / 8);
	else if (data[0] % 8 == 1)
		memory(data + 1, size - 1, data[0] / 8);
	else if (data[0] % 8 == 2)
		touched(data + 1, size - 1, data[0] / 8);
	else
		section(data + 1, size - 1);
	return 0;
}
