/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's statistics as JSON: what GET /catnap/stats gives, and `catnap run --stats` writes. Names
 * as in catnap/poll.h and catnap/catnap.h.
 */
#include <stdlib.h>
#include <string.h>
#include <json-c/json.h>

#include "cli/api/own.h"
#include "cli/json_out.h"
#include "cli/opts.h"

static void add_hist(struct json_object *o, const char *name, const uint64_t *hist)
{
	struct json_object *a = json_object_new_array_ext(CATNAP_HIST_BUCKETS);

	for (int i = 0; i < CATNAP_HIST_BUCKETS; i++)
		json_object_array_add(a, json_object_new_uint64(hist[i]));
	json_object_object_add(o, name, a);
}

static void add_halt(struct json_object *o, const struct catnap_halt_stats *h, bool kernel)
{
	static const char *const causes[CATNAP_CAUSES] = {"ipi", "timer", "io", "eventfd", "other"};
	const char *policy = kernel ? "kvm" : opt_policy_name(h->policy);

	json_object_object_add(o, "policy", json_object_new_string(policy ? policy : "unknown"));
	add_u64(o, "halt_exits", h->halt_exits);
	add_u64(o, "halt_attempted_poll", h->halt_attempted_poll);
	add_u64(o, "halt_successful_poll", h->halt_successful_poll);
	add_u64(o, "halt_poll_invalid", h->halt_poll_invalid);
	add_u64(o, "halt_wakeup", h->halt_wakeup);
	add_u64(o, "halt_poll_success_ns", h->halt_poll_success_ns);
	add_u64(o, "halt_poll_fail_ns", h->halt_poll_fail_ns);
	add_u64(o, "halt_wait_ns", h->halt_wait_ns);
	add_hist(o, "halt_poll_success_hist", h->halt_poll_success_hist);
	add_hist(o, "halt_poll_fail_hist", h->halt_poll_fail_hist);
	add_hist(o, "halt_wait_hist", h->halt_wait_hist);
	if (kernel)
		return; /* the rest is not known of halts inside KVM */
	for (int i = 0; i < CATNAP_CAUSES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "wakeups_%s", causes[i]);
		add_u64(o, name, h->wakeups[i]);
	}
	add_u64(o, "kicks_sent", h->kicks_sent);
	add_u64(o, "kicks_saved", h->kicks_saved);
	add_u64(o, "futex_wakes", h->futex_wakes);
	add_window(o, h->window_ns);
	add_u64(o, "price_ns", h->price_ns);
	add_u64(o, "halt_poll_contended", h->halt_poll_contended);
	add_u64(o, "halt_poll_throttled", h->halt_poll_throttled);
	add_u64(o, "halt_poll_pressure", h->halt_poll_pressure);
	add_u64(o, "group_watched", h->group_watched);
	add_u64(o, "group_wakes", h->group_wakes);
	add_u64(o, "group_handovers", h->group_handovers);
	json_object_object_add(o, "poll_allowed", json_object_new_boolean(h->poll_allowed != 0));
}

/* Adds what was learned: only policy adaptive learns. */
static void add_learned(struct json_object *o, struct catnap_vm *vm, uint32_t vcpu)
{
	struct catnap_policy_stats s = {.size = sizeof(s), .context_size = sizeof(s.context[0])};

	if (catnap_vm_get_policy_stats(vm, vcpu, &s) == 0 && s.contexts)
		json_object_object_add(o, "learned", policy_json(&s));
}

static struct json_object *vcpu_stats(struct catnap_vm *vm, uint32_t i, bool kernel)
{
	struct catnap_vcpu_stats s = {.size = sizeof(s)};
	struct json_object *o = json_object_new_object();

	catnap_vm_get_stats(vm, i, &s);
	add_u64(o, "vcpu", i);
	add_halt(o, &s.halt, kernel);
	add_learned(o, vm, i);
	if (!kernel) {
		add_u64(o, "after_guest_attempted", s.after_guest_attempted);
		add_u64(o, "after_guest_successful", s.after_guest_successful);
		add_u64(o, "after_guest_contended", s.after_guest_contended);
	}
	add_u64(o, "exits", s.exits);
	add_u64(o, "exits_io", s.exits_io);
	add_u64(o, "exits_mmio", s.exits_mmio);
	add_u64(o, "exits_msr", s.exits_msr);
	add_u64(o, "exits_hlt", s.exits_hlt);
	add_u64(o, "exits_window", s.exits_window);
	add_u64(o, "exits_signal", s.exits_signal);
	add_u64(o, "injected", s.injected);
	add_u64(o, "pv_eoi", s.pv_eoi);
	add_u64(o, "timer_armed", s.timer_armed);
	add_u64(o, "unclaimed", s.unclaimed);
	add_u64(o, "cpu_ns", s.cpu_ns);
	return o;
}

static struct json_object *devices(struct catnap_vm *vm)
{
	struct json_object *list = json_object_new_array();
	struct catnap_device_stats s = {.size = sizeof(s),
					.net_queue_size = sizeof(s.net_queue[0])};

	for (uint32_t i = 0; own_next_device(vm, &i, &s); i++)
		json_object_array_add(list, own_device(&s));
	return list;
}

/* Returns NULL if there is no such thread. */
static struct json_object *io_thread(struct catnap_vm *vm)
{
	struct catnap_io_stats s = {.size = sizeof(s)};
	struct json_object *o;

	if (catnap_vm_get_io_stats(vm, &s) < 0)
		return NULL;
	o = json_object_new_object();
	add_halt(o, &s.halt, false);
	add_learned(o, vm, CATNAP_IO_THREAD_VCPU);
	add_u64(o, "cpu_ns", s.cpu_ns);
	return o;
}

const char *own_exit_reason(uint32_t reason)
{
	static const char *const reasons[] = {"none",	      "poweroff",   "reset",
					      "triple-fault", "kvm-error",  "debug",
					      "stopped",      "host-error", "panic"};

	return reason < sizeof(reasons) / sizeof(reasons[0]) ? reasons[reason] : "unknown";
}

struct json_object *own_exit(const struct catnap_exit *e)
{
	struct json_object *exit;

	if (!e)
		return NULL;
	exit = json_object_new_object();
	json_object_object_add(exit, "reason", json_object_new_string(own_exit_reason(e->reason)));
	json_object_object_add(exit, "code", json_object_new_int(e->code));
	return exit;
}

/* Returns, with irqchip kernel, up to what KVM polls for this VM. */
static struct json_object *poll_limit(const struct catnap_poll_limit_stats *s)
{
	struct json_object *o = json_object_new_object();

	add_u64(o, "limit_ns", s->limit_ns);
	json_object_object_add(o, "learned", json_object_new_boolean(s->learned != 0));
	add_u64(o, "worth_ns", s->worth_ns);
	add_u64(o, "looks", s->looks);
	add_u64(o, "changes", s->changes);
	add_u64(o, "interval_ns", s->interval_ns);
	return o;
}

struct json_object *own_stats(struct catnap_vm *vm, const struct catnap_exit *e)
{
	struct catnap_vm_config cfg = {.size = sizeof(cfg)};
	struct catnap_poll_limit_stats limit = {.size = sizeof(limit)};
	struct json_object *root = json_object_new_object();
	struct json_object *vcpus = json_object_new_array();
	bool kernel;

	catnap_vm_get_config(vm, &cfg);
	kernel = cfg.irqchip == CATNAP_IRQCHIP_KERNEL;
	if (catnap_vm_get_name(vm)[0])
		json_object_object_add(root, "name",
				       json_object_new_string(catnap_vm_get_name(vm)));
	json_object_object_add(root, "irqchip", json_object_new_string(kernel ? "kernel" : "user"));
	json_object_object_add(root, "exit", own_exit(e));
	if (catnap_vm_get_poll_limit_stats(vm, &limit) == 0)
		json_object_object_add(root, "poll_limit", poll_limit(&limit));
	for (uint32_t i = 0; i < catnap_vm_get_vcpu_count(vm); i++)
		json_object_array_add(vcpus, vcpu_stats(vm, i, kernel));
	json_object_object_add(root, "vcpus", vcpus);
	json_object_object_add(root, "devices", devices(vm));
	if (cfg.io == CATNAP_IO_THREAD)
		json_object_object_add(root, "io", io_thread(vm));
	return root;
}
