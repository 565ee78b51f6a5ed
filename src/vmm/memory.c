/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <catnap/catnap.h>

#include "relaxed.h"
#include "vmm/memory.h"

static int advise(const struct memory_region *r, bool dump, struct error *err)
{
	const char *what = "MADV_DONTFORK";
	int ret = madvise(r->host, r->size, MADV_DONTFORK);

	if (ret == 0 && !dump) {
		what = "MADV_DONTDUMP";
		ret = madvise(r->host, r->size, MADV_DONTDUMP);
	}
	return ret < 0 ? error_errno(err, -errno, "memory: %s", what) : 0;
}

/* Reads a region from the file, but for its holes. */
static int fill(struct memory_region *r, int fd, struct error *err)
{
	uint64_t end = r->at + r->size, at = r->at;

	while (at < end) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			return 0;
		/* A file system that knows no holes. */
		at = data < 0 ? at : (uint64_t)data;
		hole = data < 0 ? -1 : lseek(fd, (off_t)at, SEEK_HOLE);
		for (uint64_t to = hole < 0 || (uint64_t)hole > end ? end : (uint64_t)hole;
		     at < to;) {
			ssize_t n = pread(fd, r->host + (at - r->at), to - at, (off_t)at);

			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				return error_errno(err, n < 0 ? -errno : -EIO,
						   "memory: reading the snapshot's");
			at += (uint64_t)n;
		}
	}
	return 0;
}

static int map_file(const struct memory_source *s, uint64_t at, uint64_t size, void **host,
		    struct error *err)
{
	/* What is in the page cache would be mapped around a page that is touched. */
	if (s->single)
		posix_fadvise(s->fd, (off_t)at, (off_t)size, POSIX_FADV_DONTNEED);
	*host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, s->fd,
		     (off_t)at);
	if (*host == MAP_FAILED)
		return error_errno(err, -errno, "memory: mapping the snapshot's");
	if (s->single)
		madvise(*host, size, MADV_RANDOM);
	return 0;
}

static int check_source(const struct catnap_vm_config *cfg, const struct memory_source *source,
			struct error *err)
{
	if (!source || source->fd < 0 || source->copy ||
	    (!cfg->memory_shared && !cfg->memory_pages))
		return 0;
	return error_fail(
		err, -EINVAL,
		"memory: a snapshot's file is mapped as it is: expected memory_mode COPY, or "
		"neither memory_shared nor memory_pages");
}

/* Has the pages of each node's part come from where they are to. */
static int place(struct memory *m, const struct memory_region *r, struct error *err)
{
	const uint64_t end = r->at + r->size;
	struct numa_part part;
	int ret = 0;

	for (uint64_t at = r->at; at < end && ret == 0; at += part.size) {
		part = numa_part_at(&m->numa, at, end);
		m->map.bound |= part.host_nodes || m->map.host_nodes;
		ret = memory_map_bind(&m->map, r->host + (at - r->at), part.size, part.host_nodes,
				      err);
	}
	return ret;
}

static int add_region(struct memory *m, const struct kvm *kvm, uint64_t gpa, uint64_t size,
		      bool dump, const struct memory_source *source, struct error *err)
{
	struct memory_region *r = &m->regions[m->count];
	struct kvm_userspace_memory_region slot = {
		.slot = m->count, .guest_phys_addr = gpa, .memory_size = size};
	void *host;
	int ret;

	r->mapped = source && source->fd >= 0 && !source->copy;
	if (r->mapped)
		ret = map_file(source, m->count ? r[-1].at + r[-1].size : 0, size, &host, err);
	else
		ret = memory_map_part(&m->map, size, &host, err);

	if (ret < 0)
		return ret;
	r->host = host;
	r->at = m->count ? r[-1].at + r[-1].size : 0;
	r->gpa = gpa;
	r->size = size;
	m->count++;
	ret = advise(r, dump, err);
	if (ret == 0)
		ret = place(m, r, err);
	if (ret == 0)
		ret = memory_map_settle(&m->map, r->host, size, err);
	if (ret == 0 && source && source->fd >= 0 && source->copy)
		ret = fill(r, source->fd, err);
	if (ret < 0)
		return ret;
	slot.userspace_addr = (uint64_t)(uintptr_t)r->host;
	if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0) {
		ret = -errno;
		return error_errno(err, ret, "KVM_SET_USER_MEMORY_REGION");
	}
	return 0;
}

uint64_t catnap_host_memory(void)
{
	struct sysinfo si;

	if (sysinfo(&si) < 0)
		return UINT64_MAX;
	return ((uint64_t)si.totalram + si.totalswap) * si.mem_unit;
}

int memory_init(struct memory *m, const struct kvm *kvm, const struct catnap_vm_config *cfg,
		const struct memory_source *source, struct error *err)
{
	const bool dump = cfg->dump_memory;
	uint64_t size = cfg->memory_size;
	uint64_t low = size < MEMORY_HOLE_START ? size : MEMORY_HOLE_START;
	uint64_t total = catnap_host_memory();
	int ret;

	memset(m, 0, sizeof(*m));
	m->map.fd = -1;
	atomic_init(&m->lost, MEMORY_ANYWHERE);
	if (size > total)
		return error_fail(err, -ENOMEM,
				  "memory_size: %llu bytes is more than this host has: %llu, swap "
				  "space included",
				  (unsigned long long)size, (unsigned long long)total);
	m->size = size;
	m->dump = dump;
	m->numa = (struct numa){.nodes = cfg->nodes, .count = cfg->node_count};
	ret = check_source(cfg, source, err);
	if (ret == 0)
		ret = memory_map_begin(&m->map, cfg, err);
	if (ret < 0)
		return ret;
	ret = add_region(m, kvm, 0, low, dump, source, err);
	if (ret == 0 && size > low)
		ret = add_region(m, kvm, MEMORY_HOLE_END, size - low, dump, source, err);
	if (ret < 0)
		memory_fini(m);
	return ret;
}

void memory_fini(struct memory *m)
{
	memory_areas_fini(m);
	for (unsigned int i = 0; i < m->count; i++)
		munmap(m->regions[i].host, m->regions[i].size);
	m->count = 0;
	memory_map_end(&m->map);
	free(m->dirty);
	free(m->lent);
	m->dirty = m->lent = NULL;
}

void memory_disown(struct memory *m)
{
	m->count = m->area_count = 0;
}

int memory_clear(struct memory *m, struct error *err)
{
	for (unsigned int i = 0; i < m->count; i++) {
		struct memory_region *r = &m->regions[i];
		const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
		int ret = 0;

		if (!r->mapped)
			memory_map_clear(&m->map, r->host, r->size);
		/* What is given back of a mapping would be the file's again. */
		else if (mmap(r->host, r->size, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
			return error_errno(err, -errno, "clearing guest memory");
		else
			ret = advise(r, m->dump, err);
		if (ret == 0 && r->mapped)
			ret = place(m, r, err);
		if (ret < 0)
			return ret;
		r->mapped = false;
		memory_wrote(m, r->gpa, r->size, false);
	}
	return 0;
}

/* -- what was written ------------------------------------------------------------------------- */

int memory_track(struct memory *m, const struct kvm *kvm, struct error *err)
{
	size_t words = memory_words(m->size);

	if (m->tracked)
		return 0;
	m->dirty = calloc(words, sizeof(*m->dirty));
	m->lent = calloc(words, sizeof(*m->lent));
	if (!m->dirty || !m->lent)
		return error_fail(err, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->regions[i];
		struct kvm_userspace_memory_region slot = {.slot = i,
							   .flags = KVM_MEM_LOG_DIRTY_PAGES,
							   .guest_phys_addr = r->gpa,
							   .memory_size = r->size,
							   .userspace_addr =
								   (uint64_t)(uintptr_t)r->host};

		if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return error_errno(err, -errno, "KVM_MEM_LOG_DIRTY_PAGES");
	}
	m->tracked = true;
	return 0;
}

int memory_collect(struct memory *m, const struct kvm *kvm, uint64_t *pages, struct error *err)
{
	size_t words = memory_words(m->size);
	uint64_t *log = calloc(words, sizeof(*log));

	if (!log)
		return error_fail(err, -ENOMEM, "out of memory");
	memset(pages, 0, words * sizeof(*pages));
	for (unsigned int i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->regions[i];
		struct kvm_dirty_log request = {.slot = i, .dirty_bitmap = log};
		uint64_t first = r->at / MEMORY_PAGE, n = r->size / MEMORY_PAGE;

		if (ioctl(kvm->vm_fd, KVM_GET_DIRTY_LOG, &request) < 0) {
			int ret = -errno;

			memory_put_back(m, pages);
			free(log);
			return error_errno(err, ret, "KVM_GET_DIRTY_LOG");
		}
		for (uint64_t k = 0; k < n; k++)
			if (log[k / 64] >> k % 64 & 1)
				pages[(first + k) / 64] |= UINT64_C(1) << (first + k) % 64;
	}
	free(log);
	for (size_t i = 0; i < words; i++) {
		pages[i] |= atomic_exchange_explicit(&m->dirty[i], 0, memory_order_relaxed);
		pages[i] |= relaxed_load(&m->lent[i]);
	}
	return 0;
}

void memory_put_back(struct memory *m, const uint64_t *pages)
{
	for (size_t i = 0; i < memory_words(m->size); i++)
		atomic_fetch_or_explicit(&m->dirty[i], pages[i], memory_order_relaxed);
}

static void mark(_Atomic uint64_t *bits, uint64_t first, uint64_t last)
{
	for (uint64_t p = first; p <= last; p++) {
		uint64_t bit = UINT64_C(1) << p % 64;

		/* Most are set already: then the line stays shared. */
		if (!(relaxed_load(&bits[p / 64]) & bit))
			atomic_fetch_or_explicit(&bits[p / 64], bit, memory_order_relaxed);
	}
}

void memory_wrote(struct memory *m, uint64_t gpa, uint64_t len, bool lent)
{
	if (!m->tracked || !len)
		return;
	for (unsigned int i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->regions[i];
		uint64_t at = r->at + (gpa - r->gpa);

		if (gpa >= r->gpa && gpa - r->gpa < r->size && r->size - (gpa - r->gpa) >= len)
			mark(lent ? m->lent : m->dirty, at / MEMORY_PAGE,
			     (at + len - 1) / MEMORY_PAGE);
	}
}

void *memory_at(const struct memory *m, uint64_t gpa, uint64_t len)
{
	for (unsigned int i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->regions[i];

		if (len && gpa >= r->gpa && gpa - r->gpa < r->size &&
		    r->size - (gpa - r->gpa) >= len)
			return r->host + (gpa - r->gpa);
	}
	return NULL;
}

static void *dma_memory(void *ctx, uint64_t gpa, uint64_t len)
{
	void *host = memory_at(ctx, gpa, len);

	return host ? host : memory_area_at(ctx, gpa, len);
}

static void dma_memory_wrote(void *ctx, uint64_t gpa, uint64_t len)
{
	memory_wrote(ctx, gpa, len, false);
}

static bool dma_memory_lost(void *ctx)
{
	return relaxed_load(&((struct memory *)ctx)->lost) != MEMORY_ANYWHERE;
}

struct dma memory_dma(struct memory *m)
{
	return (struct dma){
		.at = dma_memory, .wrote = dma_memory_wrote, .lost = dma_memory_lost, .ctx = m};
}
