/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions that only running a vCPU answers. Whether a write of IA32_TSC_DEADLINE comes to user
 * space is one: newer kernels handle it in the fast path of the exit, before they look at the MSR
 * filter. Since CPUID cannot change any more once a vCPU has run, the question goes to a vCPU that
 * is used for nothing else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vcpu/vcpu.h"

#define PROBE_VCPU_ID CATNAP_MAX_VCPUS /* no vCPU of the VM has it */
#define PROBE_TURNS   4
#define COST_RUNS     501

/* mov $0x6e0, %ecx; mov $-1, %eax; mov %eax, %edx; wrmsr; hlt - in real mode */
static const uint8_t tsc_deadline_code[] = {0x66, 0xb9, 0xe0, 0x06, 0x00, 0x00, 0x66, 0xb8, 0xff,
					    0xff, 0xff, 0xff, 0x66, 0x89, 0xc2, 0x0f, 0x30, 0xf4};

static int run_code(int fd, struct kvm_run *run, uint64_t gpa)
{
	struct kvm_regs r = {.rflags = 2};
	struct kvm_sregs s;

	if (ioctl(fd, KVM_GET_SREGS, &s) < 0)
		return -errno;
	s.cs.base = gpa;
	s.cs.selector = (uint16_t)(gpa >> 4);
	if (ioctl(fd, KVM_SET_SREGS, &s) < 0 || ioctl(fd, KVM_SET_REGS, &r) < 0)
		return -errno;
	/* A bounded number of turns: a host may exit for reasons that are not expected here. */
	for (int i = 0; i < PROBE_TURNS; i++) {
		int ret;

		/* A signal, or a request of this thread's to some io_uring that is done. */
		do
			ret = ioctl(fd, KVM_RUN, 0);
		while (ret < 0 && errno == EINTR);
		if (ret < 0)
			return -errno;
		if (run->exit_reason == KVM_EXIT_X86_WRMSR &&
		    run->msr.index == LAPIC_MSR_TSC_DEADLINE)
			return 1;
		if (run->exit_reason == KVM_EXIT_HLT)
			return 0;
	}
	return -EIO;
}

int vcpu_probe_tsc_deadline(const struct vcpu_host *host, uint64_t gpa)
{
	uint8_t *page = dma_at(host->dma, gpa, 4096), before[sizeof(tsc_deadline_code)];
	struct kvm_run *run;
	int fd, ret;

	if (!page || gpa >> 4 > 0xffff)
		return -EINVAL;
	fd = ioctl(host->kvm->vm_fd, KVM_CREATE_VCPU, PROBE_VCPU_ID);
	if (fd < 0)
		return -errno;
	run = mmap(NULL, host->kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (run == MAP_FAILED) {
		ret = -errno;
		close(fd);
		return ret;
	}
	memcpy(before, page, sizeof(before));
	memcpy(page, tsc_deadline_code, sizeof(tsc_deadline_code));
	ret = run_code(fd, run, gpa);
	memcpy(page, before, sizeof(before));
	munmap(run, host->kvm->run_size);
	close(fd);
	return ret;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

uint64_t vcpu_probe_run_cost(struct vcpu *v)
{
	uint64_t cost[COST_RUNS];

	for (int i = 0; i < COST_RUNS; i++) {
		uint64_t start = clock_now(v->host->clock);

		v->run->immediate_exit = 1;
		if (ioctl(v->fd, KVM_RUN, 0) == 0 || errno != EINTR)
			return 0;
		cost[i] = clock_ticks_to_ns(v->host->clock, clock_now(v->host->clock) - start);
	}
	v->run->immediate_exit = 0;
	qsort(cost, COST_RUNS, sizeof(cost[0]), compare);
	return cost[COST_RUNS / 2];
}
