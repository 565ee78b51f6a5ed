/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU's statistics; with irqchip=kernel the halts are KVM's, read from its binary statistics
 * (KVM Documentation/virt/kvm/api.rst 4.133 KVM_GET_STATS_FD).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vcpu/vcpu.h"

struct wanted {
	const char *name;
	size_t offset; /* in struct catnap_halt_stats */
	unsigned int count;
};

#define WANT(field, n)                                               \
	{                                                            \
#field, offsetof(struct catnap_halt_stats, field), n \
	}

static const struct wanted wanted[] = {
	WANT(halt_exits, 1),
	WANT(halt_attempted_poll, 1),
	WANT(halt_successful_poll, 1),
	WANT(halt_poll_invalid, 1),
	WANT(halt_wakeup, 1),
	WANT(halt_poll_success_ns, 1),
	WANT(halt_poll_fail_ns, 1),
	WANT(halt_wait_ns, 1),
	WANT(halt_poll_success_hist, CATNAP_HIST_BUCKETS),
	WANT(halt_poll_fail_hist, CATNAP_HIST_BUCKETS),
	WANT(halt_wait_hist, CATNAP_HIST_BUCKETS),
};

static void read_one(int fd, const struct kvm_stats_header *head, const struct kvm_stats_desc *desc,
		     struct catnap_halt_stats *stats)
{
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		unsigned int n = desc->size < wanted[i].count ? desc->size : wanted[i].count;

		if (strcmp(desc->name, wanted[i].name) != 0)
			continue;
		/* A short read leaves zeros: statistics are not worth an error. */
		if (pread(fd, (char *)stats + wanted[i].offset, n * sizeof(uint64_t),
			  (off_t)head->data_offset + (off_t)desc->offset) < 0)
			return;
	}
}

void vcpu_kernel_stats(struct vcpu *v, struct catnap_halt_stats *stats)
{
	struct kvm_stats_header head;
	size_t step, all;
	char *descs = NULL;

	if (v->stats_fd < 0)
		return;
	if (pread(v->stats_fd, &head, sizeof(head), 0) != sizeof(head) || head.num_desc > 4096 ||
	    head.name_size > 4096)
		return;
	step = sizeof(struct kvm_stats_desc) + head.name_size;
	all = step * head.num_desc;
	descs = calloc(1, all + 1);
	if (descs && pread(v->stats_fd, descs, all, head.desc_offset) == (ssize_t)all)
		for (uint32_t i = 0; i < head.num_desc; i++)
			read_one(v->stats_fd, &head,
				 (const struct kvm_stats_desc *)(const void *)(descs + i * step),
				 stats);
	free(descs);
}

void vcpu_get_stats(struct vcpu *v, struct catnap_vcpu_stats *s)
{
	s->vcpu = v->id;
	s->halt.size = sizeof(s->halt);
	halter_get_stats(&v->halter, &s->halt);
	/* What was asked for, and what the guest wants: not what the halter makes of both. */
	pthread_mutex_lock(&v->poll_lock);
	s->halt.policy = v->halt_poll.policy;
	pthread_mutex_unlock(&v->poll_lock);
	s->halt.poll_allowed = vcpu_poll_allowed(v);
	s->after_guest_attempted =
		atomic_load_explicit(&v->counters.after_guest_attempted, memory_order_relaxed);
	s->after_guest_successful =
		atomic_load_explicit(&v->counters.after_guest_successful, memory_order_relaxed);
	if (!v->host->irqchip_user)
		vcpu_kernel_stats(v, &s->halt);
	s->exits = atomic_load_explicit(&v->counters.exits, memory_order_relaxed);
	s->exits_io = atomic_load_explicit(&v->counters.io, memory_order_relaxed);
	s->exits_mmio = atomic_load_explicit(&v->counters.mmio, memory_order_relaxed);
	s->exits_msr = atomic_load_explicit(&v->counters.msr, memory_order_relaxed);
	s->exits_hlt = atomic_load_explicit(&v->counters.hlt, memory_order_relaxed);
	s->exits_window = atomic_load_explicit(&v->counters.window, memory_order_relaxed);
	s->exits_signal = atomic_load_explicit(&v->counters.signal, memory_order_relaxed);
	s->injected = atomic_load_explicit(&v->counters.injected, memory_order_relaxed);
	s->pv_eoi = atomic_load_explicit(&v->counters.pv_eoi, memory_order_relaxed);
	s->timer_armed = atomic_load_explicit(&v->counters.timer_armed, memory_order_relaxed);
	s->unclaimed = atomic_load_explicit(&v->counters.unclaimed, memory_order_relaxed);
	s->tsc_offset = v->lapic.tsc_offset;
	s->cpu_ns = cpu_time_read(&v->cpu_time);
}
