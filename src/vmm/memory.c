/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "vmm/memory.h"

static int add_region(struct memory *m, const struct kvm *kvm, uint64_t gpa, uint64_t size,
		      struct kvm_error *err)
{
	struct memory_region *r = &m->regions[m->count];
	struct kvm_userspace_memory_region slot = {
		.slot = m->count, .guest_phys_addr = gpa, .memory_size = size};
	int ret;

	r->host = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (r->host == MAP_FAILED) {
		ret = -errno;
		r->host = NULL;
		snprintf(err->text, sizeof(err->text), "memory: cannot map %llu MiB: %s",
			 (unsigned long long)size >> 20, strerror(-ret));
		return ret;
	}
	r->gpa = gpa;
	r->size = size;
	m->count++;
	slot.userspace_addr = (uint64_t)(uintptr_t)r->host;
	if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0) {
		ret = -errno;
		snprintf(err->text, sizeof(err->text), "KVM_SET_USER_MEMORY_REGION: %s",
			 strerror(-ret));
		return ret;
	}
	return 0;
}

int memory_init(struct memory *m, const struct kvm *kvm, uint64_t size, struct kvm_error *err)
{
	uint64_t low = size < MEMORY_HOLE_START ? size : MEMORY_HOLE_START;
	struct sysinfo si;
	int ret;

	memset(m, 0, sizeof(*m));
	if (sysinfo(&si) == 0) {
		uint64_t total = ((uint64_t)si.totalram + si.totalswap) * si.mem_unit;

		if (size > total) {
			snprintf(err->text, sizeof(err->text),
				 "memory: %llu MiB is more than this host has (%llu MiB)",
				 (unsigned long long)(size >> 20),
				 (unsigned long long)(total >> 20));
			return -ENOMEM;
		}
	}
	m->size = size;
	ret = add_region(m, kvm, 0, low, err);
	if (ret == 0 && size > low)
		ret = add_region(m, kvm, MEMORY_HOLE_END, size - low, err);
	if (ret < 0)
		memory_fini(m);
	return ret;
}

void memory_fini(struct memory *m)
{
	for (unsigned int i = 0; i < m->count; i++)
		munmap(m->regions[i].host, m->regions[i].size);
	m->count = 0;
}

void memory_inherit(const struct memory *m, bool on)
{
	for (unsigned int i = 0; i < m->count; i++)
		(void)madvise(m->regions[i].host, m->regions[i].size,
			      on ? MADV_DOFORK : MADV_DONTFORK);
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
