/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU's statistics; with irqchip=kernel the halts are KVM's, read from its binary statistics
 * (KVM Documentation/virt/kvm/api.rst 4.133 KVM_GET_STATS_FD).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relaxed.h"
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

/* The last three: enum vcpu_stat. */
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

#define N_WANTED (sizeof(wanted) / sizeof(wanted[0]))

_Static_assert(N_WANTED == VCPU_KERNEL_STATS, "a place for each");

static void find_one(struct vcpu_kernel_stats *k, const struct kvm_stats_header *head,
		     const struct kvm_stats_desc *desc)
{
	for (size_t i = 0; i < N_WANTED; i++) {
		if (strcmp(desc->name, wanted[i].name) != 0)
			continue;
		k->place[i] = (struct vcpu_stat_place){
			.offset = head->data_offset + desc->offset,
			.count = desc->size < wanted[i].count ? desc->size : wanted[i].count};
	}
}

/* Finds where they lie all together, if not too far apart. */
static void find_block(struct vcpu_kernel_stats *k)
{
	uint64_t from = UINT64_MAX, to = 0;

	for (size_t i = 0; i < N_WANTED; i++) {
		const struct vcpu_stat_place *p = &k->place[i];
		uint64_t end = p->offset + (uint64_t)p->count * sizeof(uint64_t);

		if (p->count && p->offset < from)
			from = p->offset;
		if (p->count && end > to)
			to = end;
	}
	if (to > from && to - from <= VCPU_STATS_BLOCK) {
		k->from = (uint32_t)from;
		k->len = (uint32_t)(to - from);
	}
}

void vcpu_find_kernel_stats(struct vcpu *v)
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
			find_one(&v->kernel_stats, &head,
				 (const struct kvm_stats_desc *)(const void *)(descs + i * step));
	free(descs);
	find_block(&v->kernel_stats);
}

bool vcpu_has_kernel_hists(const struct vcpu *v)
{
	const struct vcpu_kernel_stats *k = &v->kernel_stats;

	return v->stats_fd >= 0 && k->len && k->place[VCPU_STAT_SUCCESS_HIST].count &&
	       k->place[VCPU_STAT_FAIL_HIST].count && k->place[VCPU_STAT_WAIT_HIST].count;
}

void vcpu_read_kernel_stats(struct vcpu *v, struct catnap_halt_stats *stats)
{
	const struct vcpu_kernel_stats *k = &v->kernel_stats;
	char block[VCPU_STATS_BLOCK];

	/* A short read leaves what was there: statistics are not worth an error. */
	if (!k->len || pread(v->stats_fd, block, k->len, (off_t)k->from) != (ssize_t)k->len)
		return;
	for (size_t i = 0; i < N_WANTED; i++)
		if (k->place[i].count)
			memcpy((char *)stats + wanted[i].offset,
			       block + (k->place[i].offset - k->from),
			       k->place[i].count * sizeof(uint64_t));
}

void vcpu_get_stats(struct vcpu *v, struct catnap_vcpu_stats *s)
{
	s->vcpu = v->id;
	s->halt.size = sizeof(s->halt);
	halter_get_stats(&v->halter, &s->halt);
	/* The policy that was asked for, and what the guest wants: not what the halter makes of
	 * both. */
	pthread_mutex_lock(&v->poll_lock);
	s->halt.policy = v->halt_poll.policy;
	pthread_mutex_unlock(&v->poll_lock);
	s->halt.poll_allowed = vcpu_poll_allowed(v);
	s->after_guest_attempted = relaxed_load(&v->counters.after_guest_attempted);
	s->after_guest_successful = relaxed_load(&v->counters.after_guest_successful);
	s->after_guest_contended = relaxed_load(&v->counters.after_guest_contended);
	if (!v->host->irqchip_user)
		vcpu_read_kernel_stats(v, &s->halt);
	s->exits = relaxed_load(&v->counters.exits);
	s->exits_io = relaxed_load(&v->counters.io);
	s->exits_mmio = relaxed_load(&v->counters.mmio);
	s->exits_msr = relaxed_load(&v->counters.msr);
	s->exits_hlt = relaxed_load(&v->counters.hlt);
	s->exits_window = relaxed_load(&v->counters.window);
	s->exits_signal = relaxed_load(&v->counters.signal);
	s->injected = relaxed_load(&v->counters.injected);
	s->pv_eoi = relaxed_load(&v->counters.pv_eoi);
	s->timer_armed = relaxed_load(&v->counters.timer_armed);
	s->unclaimed = relaxed_load(&v->counters.unclaimed);
	s->tsc_offset = v->lapic.tsc_offset;
	s->cpu_ns = cpu_time_read(&v->cpu_time);
}
