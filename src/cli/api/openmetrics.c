/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See openmetrics.h. A table has the metrics: where their figures are in the library's structures,
 * in which unit they are there, and what they mean. Figures are taken once, before the first line
 * is written, and are the library's counters as they are: none is reckoned from two others, for
 * such a difference could go back.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include <catnap/catnap.h>
#include "cli/api/metrics.h"
#include "cli/api/openmetrics.h"
#include "cli/api/own.h"
#include "cli/opts.h"

enum type { COUNTER, GAUGE, HISTOGRAM, INFO, STATESET };

/* The type of a figure in the structure, and with it how it is written. */
enum kind {
	U64,
	U32,
	NS,   /* uint64_t: seconds */
	NS32, /* uint32_t: seconds */
	CALL, /* .write does it */
};

/* The owners of a figure, with a sample each. */
enum whose {
	OF_VM,
	OF_VCPU,    /* struct catnap_vcpu_stats */
	OF_HALTS,   /* struct catnap_halt_stats: of the vCPUs, and of the I/O thread */
	OF_DEVICE,  /* struct catnap_device_stats */
	OF_QUEUE,   /* struct catnap_net_queue_stats */
	OF_BALLOON, /* struct catnap_balloon_stats */
};

#define MAX_DEVICES 64 /* more than a VM may have */

struct device {
	struct catnap_device_stats s;
	char labels[256];
};

/* The figures. */
struct look {
	const struct openmetrics *m;
	FILE *out;
	bool kernel; /* irqchip */
	uint32_t vcpus, n_devices;
	struct catnap_vcpu_stats vcpu[CATNAP_MAX_VCPUS];
	struct catnap_halt_poll poll[CATNAP_MAX_VCPUS];
	struct catnap_io_stats io;
	bool has_io, has_balloon;
	struct device device[MAX_DEVICES];
	struct catnap_balloon_stats balloon;
	struct catnap_vm_config cfg;
};

struct metric {
	const char *name; /* without _total */
	enum type type;
	const char *unit; /* "": none */
	const char *help;
	enum whose whose;
	enum kind kind;
	size_t at;
	bool user; /* known with irqchip user only */
	void (*write)(struct look *l, const struct metric *m);
};

static uint64_t u64_at(const void *s, size_t at)
{
	uint64_t value;

	memcpy(&value, (const char *)s + at, sizeof(value));
	return value;
}

static uint64_t figure(const void *s, const struct metric *m)
{
	uint32_t value;

	if (m->kind != U32 && m->kind != NS32)
		return u64_at(s, m->at);
	memcpy(&value, (const char *)s + m->at, sizeof(value));
	return value;
}

static void seconds(FILE *out, uint64_t ns)
{
	fprintf(out, "%" PRIu64 ".%09" PRIu64 "\n", ns / 1000000000, ns % 1000000000);
}

static const char *suffix(const struct metric *m)
{
	return m->type == COUNTER ? "_total" : m->type == INFO ? "_info" : "";
}

/* Writes the beginning of a line; @labels without braces, "": none. */
static void begin(struct look *l, const struct metric *m, const char *labels)
{
	if (*labels)
		fprintf(l->out, "catnap_%s%s{%s} ", m->name, suffix(m), labels);
	else
		fprintf(l->out, "catnap_%s%s ", m->name, suffix(m));
}

static void sample(struct look *l, const struct metric *m, const char *labels, uint64_t value)
{
	begin(l, m, labels);
	if (m->kind == NS || m->kind == NS32)
		seconds(l->out, value);
	else
		fprintf(l->out, "%" PRIu64 "\n", value);
}

/* Writes a text of others as a label's value. That is UTF-8, whatever is in it. */
static void quote(char *to, size_t size, const char *text)
{
	size_t n = 0;

	for (; *text && n + 3 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			to[n++] = '\\';
		if (c == '\n') {
			to[n++] = '\\';
			c = 'n';
		}
		to[n++] = c < 0x80 ? (char)c : '?';
	}
	to[n] = '\0';
}

/* ---- the samples of a metric ---- */

static void who(char *labels, size_t size, uint32_t vcpu)
{
	if (vcpu == CATNAP_IO_THREAD_VCPU)
		snprintf(labels, size, "vcpu=\"io\"");
	else
		snprintf(labels, size, "vcpu=\"%" PRIu32 "\"", vcpu);
}

/* Calls @fn for the halts of each thread that has some. */
static void each_halts(struct look *l, const struct metric *m,
		       void (*fn)(struct look *l, const struct metric *m,
				  const struct catnap_halt_stats *h, const char *labels))
{
	char labels[32];

	for (uint32_t i = 0; i < l->vcpus; i++) {
		who(labels, sizeof(labels), i);
		fn(l, m, &l->vcpu[i].halt, labels);
	}
	if (!l->has_io)
		return;
	who(labels, sizeof(labels), CATNAP_IO_THREAD_VCPU);
	fn(l, m, &l->io.halt, labels);
}

static void halts(struct look *l, const struct metric *m, const struct catnap_halt_stats *h,
		  const char *labels)
{
	sample(l, m, labels, figure(h, m));
}

static void queues(struct look *l, const struct metric *m, const struct device *d)
{
	char labels[300];

	for (uint32_t i = 0; i < d->s.net_queues; i++) {
		snprintf(labels, sizeof(labels), "%s,queue=\"%" PRIu32 "\"", d->labels, i);
		sample(l, m, labels, figure(&d->s.net_queue[i], m));
	}
}

static void samples(struct look *l, const struct metric *m)
{
	char labels[32];

	switch (m->whose) {
	case OF_VM:
		break; /* has .write */
	case OF_VCPU:
		for (uint32_t i = 0; i < l->vcpus; i++) {
			who(labels, sizeof(labels), i);
			sample(l, m, labels, figure(&l->vcpu[i], m));
		}
		break;
	case OF_HALTS:
		each_halts(l, m, halts);
		break;
	case OF_DEVICE:
		for (uint32_t i = 0; i < l->n_devices; i++)
			sample(l, m, l->device[i].labels, figure(&l->device[i].s, m));
		break;
	case OF_QUEUE:
		for (uint32_t i = 0; i < l->n_devices; i++)
			queues(l, m, &l->device[i]);
		break;
	case OF_BALLOON:
		/* A figure that the guest does not say has no sample. */
		if (figure(&l->balloon, m) != UINT64_MAX)
			sample(l, m, "", figure(&l->balloon, m));
		break;
	}
}

/* ---- those that need more than a figure ---- */

static void vm_info(struct look *l, const struct metric *m)
{
	char id[2 * 64], labels[512];

	quote(id, sizeof(id), l->m->id);
	snprintf(labels, sizeof(labels), "id=\"%s\",version=\"%s\",irqchip=\"%s\"", id,
		 catnap_version(), l->kernel ? "kernel" : "user");
	sample(l, m, labels, 1);
}

static void vm_state(struct look *l, const struct metric *m)
{
	char labels[64];

	for (const char *const *s = own_states; *s; s++) {
		snprintf(labels, sizeof(labels), "catnap_vm_state=\"%s\"", *s);
		sample(l, m, labels, strcmp(*s, l->m->state) == 0);
	}
}

static void vm_start(struct look *l, const struct metric *m)
{
	if (!l->m->started_ns)
		return;
	begin(l, m, "");
	seconds(l->out, l->m->started_ns);
}

static void vm_vcpus(struct look *l, const struct metric *m)
{
	if (l->m->vm)
		sample(l, m, "", l->vcpus);
}

static void vm_memory(struct look *l, const struct metric *m)
{
	if (l->m->vm)
		sample(l, m, "", l->cfg.memory_size);
}

static void exits_by_reason(struct look *l, const struct metric *m)
{
#define AT(reason) offsetof(struct catnap_vcpu_stats, exits_##reason)
	static const struct {
		const char *reason;
		size_t at;
	} reasons[] = {{"io", AT(io)},	 {"mmio", AT(mmio)},	 {"msr", AT(msr)},
		       {"hlt", AT(hlt)}, {"window", AT(window)}, {"signal", AT(signal)}};
#undef AT
	char labels[64];

	for (uint32_t i = 0; i < l->vcpus; i++)
		for (size_t j = 0; j < sizeof(reasons) / sizeof(reasons[0]); j++) {
			snprintf(labels, sizeof(labels), "vcpu=\"%" PRIu32 "\",reason=\"%s\"", i,
				 reasons[j].reason);
			sample(l, m, labels, u64_at(&l->vcpu[i], reasons[j].at));
		}
}

struct named {
	const char *name;
	size_t at;
};

/* Writes a sample for each of @list, which are figures of @h. */
static void by_name(struct look *l, const struct metric *m, const struct catnap_halt_stats *h,
		    const char *labels, const char *label, const struct named *list)
{
	char all[96];

	for (; list->name; list++) {
		snprintf(all, sizeof(all), "%s,%s=\"%s\"", labels, label, list->name);
		sample(l, m, all, u64_at(h, list->at));
	}
}

#define HALT(member) offsetof(struct catnap_halt_stats, member)

static void causes_of(struct look *l, const struct metric *m, const struct catnap_halt_stats *h,
		      const char *labels)
{
	static const struct named list[] = {{"ipi", HALT(wakeups[CATNAP_CAUSE_IPI])},
					    {"timer", HALT(wakeups[CATNAP_CAUSE_TIMER])},
					    {"io", HALT(wakeups[CATNAP_CAUSE_IO])},
					    {"eventfd", HALT(wakeups[CATNAP_CAUSE_EVENTFD])},
					    {"other", HALT(wakeups[CATNAP_CAUSE_OTHER])},
					    {NULL, 0}};

	by_name(l, m, h, labels, "cause", list);
}

static void causes(struct look *l, const struct metric *m)
{
	each_halts(l, m, causes_of);
}

static void wakes_of(struct look *l, const struct metric *m, const struct catnap_halt_stats *h,
		     const char *labels)
{
	static const struct named list[] = {{"guest", HALT(kicks_sent)},
					    {"awake", HALT(kicks_saved)},
					    {"asleep", HALT(futex_wakes)},
					    {NULL, 0}};

	by_name(l, m, h, labels, "found", list);
}

static void wakes(struct look *l, const struct metric *m)
{
	each_halts(l, m, wakes_of);
}

static void limited_of(struct look *l, const struct metric *m, const struct catnap_halt_stats *h,
		       const char *labels)
{
	static const struct named list[] = {{"contended", HALT(halt_poll_contended)},
					    {"throttled", HALT(halt_poll_throttled)},
					    {"pressure", HALT(halt_poll_pressure)},
					    {NULL, 0}};

	by_name(l, m, h, labels, "why", list);
}

static void limited(struct look *l, const struct metric *m)
{
	each_halts(l, m, limited_of);
}

/* Writes a histogram. Bucket 0 counts 0 ns, bucket i [2^(i-1), 2^i) ns, and the last one takes the
 * rest. */
static void histogram(struct look *l, const struct metric *m, const char *labels,
		      const uint64_t *hist, uint64_t sum_ns)
{
	uint64_t n;

	/* 0.0 is how OpenMetrics writes that one. */
	n = hist[0];
	fprintf(l->out, "catnap_%s_bucket{%s,le=\"0.0\"} %" PRIu64 "\n", m->name, labels, n);
	for (int i = 1; i < CATNAP_HIST_BUCKETS - 1; i++) {
		uint64_t most = (UINT64_C(1) << i) - 1;

		n += hist[i];
		fprintf(l->out,
			"catnap_%s_bucket{%s,le=\"%" PRIu64 ".%09" PRIu64 "\"} %" PRIu64 "\n",
			m->name, labels, most / 1000000000, most % 1000000000, n);
	}
	n += hist[CATNAP_HIST_BUCKETS - 1];
	fprintf(l->out, "catnap_%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", m->name, labels, n);
	fprintf(l->out, "catnap_%s_count{%s} %" PRIu64 "\ncatnap_%s_sum{%s} ", m->name, labels, n,
		m->name, labels);
	seconds(l->out, sum_ns);
}

static void hist_of(struct look *l, const struct metric *m, const struct catnap_halt_stats *h,
		    const char *labels)
{
	const uint64_t *hist = (const uint64_t *)(const void *)((const char *)h + m->at);
	uint64_t sum = hist == h->halt_poll_success_hist ? h->halt_poll_success_ns
		       : hist == h->halt_poll_fail_hist	 ? h->halt_poll_fail_ns
							 : h->halt_wait_ns;

	histogram(l, m, labels, hist, sum);
}

static void hist(struct look *l, const struct metric *m)
{
	each_halts(l, m, hist_of);
}

static void window_of(struct look *l, const struct metric *m, const struct catnap_halt_stats *h,
		      const char *labels)
{
	begin(l, m, labels);
	if (h->window_ns == CATNAP_WINDOW_FOREVER)
		fputs("+Inf\n", l->out);
	else
		seconds(l->out, h->window_ns);
}

static void window(struct look *l, const struct metric *m)
{
	each_halts(l, m, window_of);
}

static void max_of(struct look *l, const struct metric *m)
{
	char labels[96];

	for (uint32_t i = 0; i < l->vcpus; i++) {
		const char *policy = opt_policy_name(l->poll[i].policy);

		snprintf(labels, sizeof(labels), "vcpu=\"%" PRIu32 "\",policy=\"%s\"", i,
			 policy ? policy : "unknown");
		sample(l, m, labels, l->poll[i].max_ns);
	}
}

static void drivers(struct look *l, const struct metric *m)
{
	const uint32_t all =
		VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED;

	for (uint32_t i = 0; i < l->n_devices; i++)
		sample(l, m, l->device[i].labels,
		       (l->device[i].s.status & all) == VIRTIO_CONFIG_S_DRIVER_OK);
}

static void requests(struct look *l, const struct metric *m)
{
	char labels[128];

	for (unsigned int i = 0; i < API_METHODS; i++)
		for (unsigned int j = 0; j < API_RESOURCES; j++) {
			uint64_t n = m->at ? l->m->api->fails[i][j] : l->m->api->count[i][j];

			/* Requests that were never made would be most of the text. */
			if (!l->m->api->count[i][j])
				continue;
			snprintf(labels, sizeof(labels), "method=\"%s\",resource=\"/%s\"",
				 api_method_name((enum api_method)i),
				 api_resource_name((enum api_resource)j));
			sample(l, m, labels, n);
		}
}

/* ---- the table ---- */

#define VCPU(member) offsetof(struct catnap_vcpu_stats, member)
#define DEV(member)  offsetof(struct catnap_device_stats, member)
#define NETQ(member) offsetof(struct catnap_net_queue_stats, member)
#define BAL(member)  offsetof(struct catnap_balloon_stats, member)

/* clang-format off */
static const struct metric metrics[] = {
	{"vm", INFO, "", "The virtual machine: its name, catnap's version, who has the local APIC.",
	 OF_VM, CALL, 0, false, vm_info},
	{"vm_state", STATESET, "", "Where it stands in its life.", OF_VM, CALL, 0, false, vm_state},
	{"vm_start_time_seconds", GAUGE, "seconds", "When it was started, since 1970.",
	 OF_VM, CALL, 0, false, vm_start},
	{"vm_vcpus", GAUGE, "", "How many vCPUs it has.", OF_VM, CALL, 0, false, vm_vcpus},
	{"vm_memory_bytes", GAUGE, "bytes", "The guest's memory.", OF_VM, CALL, 0, false, vm_memory},

	{"vcpu_cpu_seconds", COUNTER, "seconds", "Processor time of the vCPU's thread.",
	 OF_VCPU, NS, VCPU(cpu_ns), false, NULL},
	{"vcpu_exits", COUNTER, "", "Returns of KVM_RUN.", OF_VCPU, U64, VCPU(exits), false, NULL},
	{"vcpu_exits_by_reason", COUNTER, "", "Those of them with a reason that is counted.",
	 OF_VM, CALL, 0, false, exits_by_reason},
	{"vcpu_injected_interrupts", COUNTER, "", "Interrupts given to the guest.",
	 OF_VCPU, U64, VCPU(injected), true, NULL},
	{"vcpu_pv_eoi", COUNTER, "", "Ends of interrupts that cost no exit.",
	 OF_VCPU, U64, VCPU(pv_eoi), true, NULL},
	{"vcpu_timer_armed", COUNTER, "", "Times a kernel timer was set for the guest's own.",
	 OF_VCPU, U64, VCPU(timer_armed), true, NULL},
	{"vcpu_unclaimed_accesses", COUNTER, "", "Accesses of the guest that no device answered.",
	 OF_VCPU, U64, VCPU(unclaimed), false, NULL},

	{"halt_exits", COUNTER, "", "Halts.", OF_HALTS, U64, HALT(halt_exits), false, NULL},
	{"halt_attempted_polls", COUNTER, "", "Halts in which polling was on.",
	 OF_HALTS, U64, HALT(halt_attempted_poll), false, NULL},
	{"halt_successful_polls", COUNTER, "", "Of those, the ones that did not sleep.",
	 OF_HALTS, U64, HALT(halt_successful_poll), false, NULL},
	{"halt_invalid_polls", COUNTER, "", "Polls that were disturbed.",
	 OF_HALTS, U64, HALT(halt_poll_invalid), false, NULL},
	{"halt_wakeups", COUNTER, "", "Halts ended by a wake-up, and not by the deadline.",
	 OF_HALTS, U64, HALT(halt_wakeup), false, NULL},
	{"halt_poll_success_seconds", HISTOGRAM, "seconds", "Time polled in halts that did not sleep.",
	 OF_HALTS, CALL, HALT(halt_poll_success_hist), false, hist},
	{"halt_poll_fail_seconds", HISTOGRAM, "seconds", "Time polled in halts that then slept.",
	 OF_HALTS, CALL, HALT(halt_poll_fail_hist), false, hist},
	{"halt_wait_seconds", HISTOGRAM, "seconds", "Time slept.",
	 OF_HALTS, CALL, HALT(halt_wait_hist), false, hist},
	{"halt_causes", COUNTER, "", "Halts by what ended them.", OF_VM, CALL, 0, true, causes},
	{"halt_limited_polls", COUNTER, "",
	 "Polls that were cut short, or left out, for others who want the processor.",
	 OF_VM, CALL, 0, true, limited},
	{"halt_wakes", COUNTER, "", "Wakes, by where they found the vCPU: in the guest (a kick), awake "
	 "(no system call), asleep (one).", OF_VM, CALL, 0, true, wakes},
	{"halt_group_watched", COUNTER, "", "Halts in which the poller of its group watched its work.",
	 OF_HALTS, U64, HALT(group_watched), true, NULL},
	{"halt_group_wakes", COUNTER, "", "Wakes that it brought to others while it was the poller.",
	 OF_HALTS, U64, HALT(group_wakes), true, NULL},
	{"halt_group_handovers", COUNTER, "", "How often it handed polling over to another.",
	 OF_HALTS, U64, HALT(group_handovers), true, NULL},
	{"halt_after_guest_polls", COUNTER, "", "Halts that were polled for after the guest's own poll.",
	 OF_VCPU, U64, VCPU(after_guest_attempted), true, NULL},
	{"halt_after_guest_successful_polls", COUNTER, "", "Of those, the ones that did not sleep.",
	 OF_VCPU, U64, VCPU(after_guest_successful), true, NULL},
	{"halt_after_guest_contended_polls", COUNTER, "",
	 "Halts of a guest that polls by itself, at which others wanted the processor.",
	 OF_VCPU, U64, VCPU(after_guest_contended), true, NULL},
	{"halt_window_seconds", GAUGE, "seconds", "For how long the next halt polls at most.",
	 OF_VM, CALL, 0, true, window},
	{"halt_price_seconds", GAUGE, "seconds", "What a sleep costs, as it was measured; 0: not yet.",
	 OF_HALTS, NS, HALT(price_ns), true, NULL},
	{"halt_poll_allowed", GAUGE, "", "1: the guest has not switched the host's polling off.",
	 OF_HALTS, U32, HALT(poll_allowed), true, NULL},
	{"halt_poll_max_seconds", GAUGE, "seconds", "The longest poll that was asked for, and the policy.",
	 OF_VM, NS, 0, false, max_of},

	{"io_cpu_seconds", COUNTER, "seconds", "Processor time of the I/O thread.",
	 OF_VM, NS, 0, false, NULL},

	{"device_driver", GAUGE, "", "1: a driver of the guest's uses the device.",
	 OF_VM, CALL, 0, false, drivers},
	{"device_requests", COUNTER, "", "Requests that the guest has made.",
	 OF_DEVICE, U64, DEV(requests), false, NULL},
	{"device_errors", COUNTER, "", "Of them, those that ended with an error.",
	 OF_DEVICE, U64, DEV(errors), false, NULL},
	{"device_read_bytes", COUNTER, "bytes", "Read from the device by the guest.",
	 OF_DEVICE, U64, DEV(read_bytes), false, NULL},
	{"device_written_bytes", COUNTER, "bytes", "Written to the device by the guest.",
	 OF_DEVICE, U64, DEV(written_bytes), false, NULL},
	{"device_faults", COUNTER, "", "What its driver did that no driver may do.",
	 OF_DEVICE, U64, DEV(faults), false, NULL},
	{"device_inflight_requests", GAUGE, "", "Requests that are under way.",
	 OF_DEVICE, U32, DEV(inflight), false, NULL},
	{"device_limit_waits", COUNTER, "", "Times a queue had to wait for the rate limit.",
	 OF_DEVICE, U64, DEV(limit_waits), false, NULL},
	{"device_limit_wait_seconds", COUNTER, "seconds", "For how long some queue did.",
	 OF_DEVICE, NS, DEV(limit_wait_ns), false, NULL},

	{"net_receive_packets", COUNTER, "", "Packets that the guest has received.",
	 OF_QUEUE, U64, NETQ(rx_packets), false, NULL},
	{"net_receive_bytes", COUNTER, "bytes", "The bytes of these.",
	 OF_QUEUE, U64, NETQ(rx_bytes), false, NULL},
	{"net_receive_dropped_packets", COUNTER, "", "Lost, since they did not fit in the guest's buffers.",
	 OF_QUEUE, U64, NETQ(rx_dropped), false, NULL},
	{"net_receive_unwanted_packets", COUNTER, "", "Passed over: for an address that is not the guest's.",
	 OF_QUEUE, U64, NETQ(rx_unwanted), false, NULL},
	{"net_receive_starved", COUNTER, "", "Times that reading stopped for want of the guest's buffers.",
	 OF_QUEUE, U64, NETQ(rx_starved), false, NULL},
	{"net_transmit_packets", COUNTER, "", "Packets that the guest has sent.",
	 OF_QUEUE, U64, NETQ(tx_packets), false, NULL},
	{"net_transmit_bytes", COUNTER, "bytes", "The bytes of these.",
	 OF_QUEUE, U64, NETQ(tx_bytes), false, NULL},
	{"net_transmit_dropped_packets", COUNTER, "", "Malformed, or refused by the interface.",
	 OF_QUEUE, U64, NETQ(tx_dropped), false, NULL},
	{"net_transmit_blocked", COUNTER, "", "Times that sending stopped since the interface was full.",
	 OF_QUEUE, U64, NETQ(tx_blocked), false, NULL},

	{"balloon_target_bytes", GAUGE, "bytes", "What the guest was asked to give away.",
	 OF_BALLOON, U64, BAL(target), false, NULL},
	{"balloon_actual_bytes", GAUGE, "bytes", "What it has given away, as it says.",
	 OF_BALLOON, U64, BAL(actual), false, NULL},
	{"balloon_released_bytes", COUNTER, "bytes", "Given back to the host since the start.",
	 OF_BALLOON, U64, BAL(released), false, NULL},
	{"balloon_reported_bytes", COUNTER, "bytes", "Of them, those that were reported to be free.",
	 OF_BALLOON, U64, BAL(reported), false, NULL},
	{"balloon_guest_memory_bytes", GAUGE, "bytes", "The guest's memory, as it says.",
	 OF_BALLOON, U64, BAL(total), false, NULL},
	{"balloon_guest_free_bytes", GAUGE, "bytes", "What is free of it.",
	 OF_BALLOON, U64, BAL(free), false, NULL},
	{"balloon_guest_available_bytes", GAUGE, "bytes", "What it could give to programs.",
	 OF_BALLOON, U64, BAL(available), false, NULL},
	{"balloon_guest_caches_bytes", GAUGE, "bytes", "What its file cache has.",
	 OF_BALLOON, U64, BAL(caches), false, NULL},
	{"balloon_guest_swap_in_bytes", GAUGE, "bytes", "What it has read from swap space, as it says.",
	 OF_BALLOON, U64, BAL(swap_in), false, NULL},
	{"balloon_guest_swap_out_bytes", GAUGE, "bytes", "What it has written there, as it says.",
	 OF_BALLOON, U64, BAL(swap_out), false, NULL},
	{"balloon_guest_major_faults", GAUGE, "", "Its page faults that had to read, as it says.",
	 OF_BALLOON, U64, BAL(major_faults), false, NULL},
	{"balloon_guest_minor_faults", GAUGE, "", "Its other page faults, as it says.",
	 OF_BALLOON, U64, BAL(minor_faults), false, NULL},

	{"api_requests", COUNTER, "", "Requests to the control socket that were answered.",
	 OF_VM, CALL, 0, false, requests},
	{"api_failed_requests", COUNTER, "", "Of them, those that were answered with an error.",
	 OF_VM, CALL, 1, false, requests},
};
/* clang-format on */

#define N_METRICS (sizeof(metrics) / sizeof(metrics[0]))

/* Declares a metric. OpenMetrics declares a counter without what its samples end with; Prometheus
 * with it. */
static void declare(struct look *l, const struct metric *m)
{
	static const char *const strict[] = {"counter", "gauge", "histogram", "info", "stateset"};
	static const char *const lax[] = {"counter", "gauge", "histogram", "gauge", "gauge"};
	const char *ends = l->m->strict ? "" : suffix(m);

	fprintf(l->out, "# HELP catnap_%s%s %s\n", m->name, ends, m->help);
	fprintf(l->out, "# TYPE catnap_%s%s %s\n", m->name, ends,
		(l->m->strict ? strict : lax)[m->type]);
	if (*m->unit)
		fprintf(l->out, "# UNIT catnap_%s%s %s\n", m->name, ends, m->unit);
}

static bool is_known(const struct look *l, const struct metric *m)
{
	if (m->user && l->kernel)
		return false;
	switch (m->whose) {
	case OF_VM:
		return true;
	case OF_BALLOON:
		return l->has_balloon;
	case OF_DEVICE:
	case OF_QUEUE:
	case OF_VCPU:
	case OF_HALTS:
		break;
	}
	return l->m->vm != NULL;
}

static void write_all(struct look *l)
{
	for (size_t i = 0; i < N_METRICS; i++) {
		const struct metric *m = &metrics[i];

		if (!is_known(l, m))
			continue;
		declare(l, m);
		if (m->write)
			m->write(l, m);
		else if (m->whose == OF_VM && l->has_io)
			sample(l, m, "", l->io.cpu_ns);
		else
			samples(l, m);
	}
	fputs("# EOF\n", l->out);
}

static void look_at_device(struct device *d, uint32_t number)
{
	char name[2 * sizeof(d->s.name)];

	quote(name, sizeof(name), d->s.name);
	snprintf(d->labels, sizeof(d->labels), "device=\"%" PRIu32 "\",kind=\"%s\",name=\"%s\"",
		 number, own_device_kind(d->s.type), name);
}

static void look(struct look *l, struct catnap_vm *vm)
{
	l->cfg.size = sizeof(l->cfg);
	catnap_vm_get_config(vm, &l->cfg);
	l->kernel = l->cfg.irqchip == CATNAP_IRQCHIP_KERNEL;
	l->vcpus = catnap_vm_get_vcpu_count(vm);
	for (uint32_t i = 0; i < l->vcpus; i++) {
		l->vcpu[i].size = sizeof(l->vcpu[i]);
		catnap_vm_get_stats(vm, i, &l->vcpu[i]);
		l->poll[i].size = sizeof(l->poll[i]);
		catnap_vm_get_halt_poll(vm, i, &l->poll[i]);
	}
	l->io.size = sizeof(l->io);
	l->has_io = catnap_vm_get_io_stats(vm, &l->io) == 0;
	for (uint32_t i = 0; l->n_devices < MAX_DEVICES; i++) {
		struct device *d = &l->device[l->n_devices];

		d->s.size = sizeof(d->s);
		d->s.net_queue_size = sizeof(d->s.net_queue[0]);
		if (!own_next_device(vm, &i, &d->s))
			break;
		look_at_device(d, i);
		l->n_devices++;
	}
	l->balloon.size = sizeof(l->balloon);
	l->has_balloon = catnap_vm_get_balloon_stats(vm, &l->balloon) == 0;
}

char *openmetrics_text(const struct openmetrics *m, size_t *len)
{
	struct look *l = calloc(1, sizeof(*l));
	char *text = NULL;
	bool failed = true;

	if (!l)
		return NULL;
	l->m = m;
	if (m->vm)
		look(l, m->vm);
	l->out = open_memstream(&text, len);
	if (l->out) {
		write_all(l);
		failed = ferror(l->out);
		failed = fclose(l->out) != 0 || failed;
	}
	free(l);
	if (failed) {
		free(text);
		text = NULL;
	}
	return text;
}
