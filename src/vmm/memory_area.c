/* SPDX-License-Identifier: Apache-2.0 */
/* Areas of guest memory that belong to devices, behind the VM's own. See memory.h. */
#include <cpuid.h>
#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "vmm/memory.h"

#define CPUID_ADDRESS_SIZES 0x80000008u /* EAX, bits 0 to 7: of physical addresses */
#define ADDRESS_BITS_LEAST  36		/* where CPUID does not tell */

static uint64_t address_end(void)
{
	unsigned int eax, ebx, ecx, edx;
	unsigned int bits = ADDRESS_BITS_LEAST;

	if (__get_cpuid(CPUID_ADDRESS_SIZES, &eax, &ebx, &ecx, &edx) && (eax & 0xff) > bits)
		bits = eax & 0xff;
	return UINT64_C(1) << (bits > 52 ? 52 : bits);
}

static uint64_t align(uint64_t at)
{
	return (at + MEMORY_AREA_ALIGN - 1) & ~(MEMORY_AREA_ALIGN - 1);
}

uint64_t memory_area_place(const struct memory *m, uint64_t size)
{
	uint64_t at = MEMORY_HOLE_END, end = address_end();

	for (unsigned int i = 0; i < m->count; i++)
		if (m->regions[i].gpa + m->regions[i].size > at)
			at = m->regions[i].gpa + m->regions[i].size;
	for (unsigned int i = 0; i < m->area_count; i++)
		if (m->areas[i].gpa + m->areas[i].size > at)
			at = m->areas[i].gpa + m->areas[i].size;
	at = align(at);
	return at < end && size <= end - at ? at : 0;
}

/* Maps @file bytes of @fd, and zeroes behind that. A mapping for reading only is private, so that a
 * device that the guest has write there does no harm. */
static int map_file(const struct memory_area *a, int fd, uint64_t file, bool readonly,
		    struct error *err)
{
	const int flags = (readonly ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED) | MAP_FIXED;

	if (mmap(a->host, file, PROT_READ | PROT_WRITE, flags, fd, 0) == MAP_FAILED)
		return error_errno(err, -errno, "mapping it");
	return 0;
}

#define HUGE_PAGE (UINT64_C(2) << 20)

/* Returns the size of @fd's pages where those are huge ones; else 0. */
static uint64_t huge_pages_of(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : 0;
}

/* Reserves addresses, at a multiple of @huge, 2 MiB at least as the guest's are, so that pages of that
 * size serve. */
static int reserve(struct memory_area *a, uint64_t huge, struct error *err)
{
	uint8_t *host = mmap(NULL, a->size + huge, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t before;

	if (host == MAP_FAILED)
		return error_errno(err, -errno, "mapping %llu bytes", (unsigned long long)a->size);
	before = -(uint64_t)(uintptr_t)host & (huge - 1);
	if (before)
		munmap(host, before);
	a->host = host + before;
	munmap(a->host + a->size, huge - before);
	return 0;
}

static int set_slot(const struct kvm *kvm, unsigned int n, const struct memory_area *a,
		    uint64_t size, bool readonly)
{
	struct kvm_userspace_memory_region slot = {.slot = MEMORY_REGIONS + n,
						   .flags = readonly ? KVM_MEM_READONLY : 0,
						   .guest_phys_addr = a->gpa,
						   .memory_size = size,
						   .userspace_addr = (uint64_t)(uintptr_t)a->host};

	return ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0 ? -errno : 0;
}

/* Begins an area: reserves its addresses, for pages of size @huge. */
static int begin(const struct memory *m, struct memory_area *a, uint64_t huge, struct error *err)
{
	if (m->area_count == MEMORY_AREAS)
		return error_fail(err, -ENOSPC, "there are %d areas, which is the most",
				  MEMORY_AREAS);
	return reserve(a, huge, err);
}

/* Ends the making of an area, if @ret is 0, and takes it apart otherwise. Returns the same. */
static int end(struct memory *m, const struct kvm *kvm, const struct memory_area *a, bool readonly,
	       bool dump, int ret, struct error *err)
{
	if (ret == 0 && (madvise(a->host, a->size, MADV_DONTFORK) < 0 ||
			 (!dump && madvise(a->host, a->size, MADV_DONTDUMP) < 0)))
		ret = error_errno(err, -errno, "madvise");
	if (ret == 0) {
		ret = set_slot(kvm, m->area_count, a, a->size, readonly);
		if (ret < 0)
			error_errno(err, ret, "KVM_SET_USER_MEMORY_REGION");
	}
	if (ret == 0)
		m->areas[m->area_count++] = *a;
	else
		munmap(a->host, a->size);
	return ret;
}

int memory_area_add_file(struct memory *m, const struct kvm *kvm, uint64_t gpa, uint64_t size,
			 int fd, uint64_t file, bool readonly, bool dump, struct error *err)
{
	struct memory_area a = {.gpa = gpa, .size = size, .file = file, .readonly = readonly};
	const uint64_t pages = huge_pages_of(fd);
	int ret = begin(m, &a, pages > HUGE_PAGE ? pages : HUGE_PAGE, err);

	if (ret < 0)
		return ret;
	return end(m, kvm, &a, readonly, dump, map_file(&a, fd, file, readonly, err), err);
}

int memory_area_add(struct memory *m, const struct kvm *kvm, uint64_t gpa, uint64_t size, bool dump,
		    struct error *err)
{
	struct memory_area a = {.gpa = gpa, .size = size};
	struct memory_map as = m->map;
	int ret = begin(m, &a, HUGE_PAGE, err);

	if (ret < 0)
		return ret;
	as.prefault = as.lock = false;
	ret = memory_map_bind(&as, a.host, size, 0, err);
	if (ret == 0)
		ret = memory_map_settle(&as, a.host, size, err);
	return end(m, kvm, &a, false, dump, ret, err);
}

void memory_area_drop(struct memory *m, const struct kvm *kvm)
{
	const struct memory_area *a = &m->areas[--m->area_count];

	set_slot(kvm, m->area_count, a, 0, false);
	munmap(a->host, a->size);
}

void memory_areas_fini(struct memory *m)
{
	for (unsigned int i = 0; i < m->area_count; i++)
		munmap(m->areas[i].host, m->areas[i].size);
	m->area_count = 0;
}

void *memory_area_at(const struct memory *m, uint64_t gpa, uint64_t len)
{
	for (unsigned int i = 0; i < m->area_count; i++) {
		const struct memory_area *a = &m->areas[i];

		if (len && gpa >= a->gpa && gpa - a->gpa < a->size &&
		    a->size - (gpa - a->gpa) >= len)
			return a->host + (gpa - a->gpa);
	}
	return NULL;
}
