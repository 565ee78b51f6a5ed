/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory that is a file's, and of which a page cannot be had: the file was made shorter, or its
 * file system is full or fails. The guest finds out by KVM_RUN (EFAULT, or MMIO where KVM emulates
 * the access), we do by SIGBUS. Either ends the VM.
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vmm/vm.h"

#define WHY	       "made shorter, or its file system is full or fails"
#define LOST	       "guest memory at 0x%llx is a file's, whose page there is gone: it was " WHY
#define LOST_SOMEWHERE "a page of guest memory that is a file's is gone: the file was " WHY

static bool holds(uint64_t first, uint64_t size, uint64_t at)
{
	return at >= first && at - first < size;
}

/* A piece of guest memory that is a file's. */
struct piece {
	uint64_t host, size, gpa;
};

/* Finds that which has @address in it, if that is in memory that is a file's. For signal handlers,
 * too. */
static bool find_piece(const struct memory *m, const void *address, struct piece *p)
{
	const uint64_t at = (uint64_t)(uintptr_t)address;

	for (unsigned int i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->regions[i];

		*p = (struct piece){(uint64_t)(uintptr_t)r->host, r->size, r->gpa};
		if (r->mapped && holds(p->host, p->size, at))
			return true;
	}
	for (unsigned int i = 0; i < m->area_count; i++) {
		const struct memory_area *a = &m->areas[i];

		*p = (struct piece){(uint64_t)(uintptr_t)a->host, a->size, a->gpa};
		if (a->file && holds(p->host, p->size, at))
			return true;
	}
	return false;
}

/* Puts zeroes, which are no file's, in the place of the page of @p that has @at in it: of a huge page,
 * if the file's are such, of which nothing smaller can be replaced. 0 or -errno. */
static int put_zeroes(const struct piece *p, uint64_t at)
{
	static const unsigned int shifts[] = {12, 21, 30};
	int ret = -EINVAL;

	for (size_t i = 0; i < sizeof(shifts) / sizeof(shifts[0]) && ret == -EINVAL; i++) {
		const uint64_t size = UINT64_C(1) << shifts[i], page = at & ~(size - 1);

		if (page < p->host || p->size - (page - p->host) < size)
			break;
		ret = mmap((void *)(uintptr_t)page, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			   0) == MAP_FAILED
			      ? -errno
			      : 0;
	}
	return ret;
}

/* Returns whether [gpa] is memory that is a file's, and that the guest may write to, if it is to
 * (@write). MEMORY_ANYWHERE: whether there is any. */
static bool is_file(const struct memory *m, uint64_t gpa, bool write)
{
	for (unsigned int i = 0; i < m->count; i++)
		if (m->regions[i].mapped &&
		    (gpa == MEMORY_ANYWHERE || holds(m->regions[i].gpa, m->regions[i].size, gpa)))
			return true;
	for (unsigned int i = 0; i < m->area_count; i++)
		if (m->areas[i].file &&
		    (gpa == MEMORY_ANYWHERE || holds(m->areas[i].gpa, m->areas[i].size, gpa)))
			return !write || !m->areas[i].readonly;
	return false;
}

/* Returns whether a page cannot be read. The kernel tells by its futex call, which only compares: by
 * reading there we would find out by a signal. */
static bool is_gone(const uint8_t *page)
{
	static const struct timespec now;

	return syscall(SYS_futex, page, FUTEX_WAIT_PRIVATE, 0, &now, NULL, 0) < 0 &&
	       errno == EFAULT;
}

/* Returns whether a file is shorter than it was: then its last page is gone. */
static bool is_cut_off(const struct memory *m)
{
	for (unsigned int i = 0; i < m->count; i++) {
		const struct memory_region *r = &m->regions[i];

		if (r->mapped && is_gone(r->host + r->size - MEMORY_PAGE))
			return true;
	}
	for (unsigned int i = 0; i < m->area_count; i++) {
		const struct memory_area *a = &m->areas[i];

		if (a->file && is_gone(a->host + (a->file - 1) / MEMORY_PAGE * MEMORY_PAGE))
			return true;
	}
	return false;
}

/* -- the VM's ---------------------------------------------------------------------------------- */

int catnap_vm_memory_fault(struct catnap_vm *vm, const void *address)
{
	const uint64_t at = (uint64_t)(uintptr_t)address;
	uint64_t none = MEMORY_ANYWHERE;
	struct piece p;
	int ret;

	if (vm_is_copy(vm))
		return vm_in_child(vm, "memory_fault") ? -EPERM : 0;
	if (!find_piece(&vm->memory, address, &p))
		return 0;
	/* First: whoever reads zeroes there finds that it was told so. */
	if (atomic_compare_exchange_strong(&vm->memory.lost, &none, p.gpa + (at - p.host)) &&
	    vm->vcpu_count)
		vcpu_wake(vm->vcpus[0], VCPU_WORK_LOST);
	ret = put_zeroes(&p, at);
	return ret < 0 ? ret : 1;
}

void vm_memory_say(struct catnap_vm *vm)
{
	struct sigaction now;
	bool files = false;

	for (unsigned int i = 0; i < vm->memory.count; i++)
		files |= vm->memory.regions[i].mapped;
	for (unsigned int i = 0; i < vm->memory.area_count; i++)
		files |= vm->memory.areas[i].file != 0;
	if (files && sigaction(SIGBUS, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
		vm_log(vm, CATNAP_LOG_WARN,
		       "guest memory is a file's: if that is made shorter, SIGBUS ends this "
		       "process, which has no handler for it (catnap_vm_memory_fault())");
}

bool vm_memory_is_lost(struct catnap_vm *vm, struct error *err)
{
	const uint64_t gpa = atomic_load(&vm->memory.lost);

	if (gpa != MEMORY_ANYWHERE)
		error_set(err, LOST, (unsigned long long)gpa);
	return gpa != MEMORY_ANYWHERE;
}

bool vm_memory_lost(struct catnap_vm *vm, struct vcpu *v, uint64_t gpa, bool write)
{
	struct error err = {.text = ""};

	if (vm_memory_is_lost(vm, &err))
		;
	else if (gpa == VCPU_IF_CUT_OFF ? !is_cut_off(&vm->memory)
					: !is_file(&vm->memory, gpa, write))
		return false;
	else if (gpa < VCPU_IF_CUT_OFF)
		error_set(&err, LOST, (unsigned long long)gpa);
	else
		error_set(&err, LOST_SOMEWHERE);
	vcpu_end(v, CATNAP_EXIT_HOST_ERROR, -EIO, err.text);
	return true;
}
