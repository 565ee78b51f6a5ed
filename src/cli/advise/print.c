/* SPDX-License-Identifier: Apache-2.0 */
/* The findings, as text for 80 columns and as JSON. */
#include <json-c/json.h>

#include "cli/advise/advise.h"
#include "cli/json_out.h"
#include "cli/wrap.h"

/* -- text ------------------------------------------------------------------------------------- */

static double per_second(const struct advise_found *f, uint64_t n)
{
	return f->lasted_ns ? (double)n * 1e9 / (double)f->lasted_ns : 0;
}

/* Returns the per cent of one processor. */
static double percent(const struct advise_found *f, uint64_t ns)
{
	return f->lasted_ns ? 100 * (double)ns / (double)f->lasted_ns : 0;
}

static void figures(FILE *out, const struct advise_found *f, const struct advise_tried *t,
		    uint64_t halts, const char *kvm)
{
	const struct advise_cost *now = &t->cost[ADVISE_LIMITS];
	size_t best = advise_best(f, t);

	fprintf(out, " %7.0f %7.0f %6.2f %6s %6.2f", per_second(f, halts),
		per_second(f, now->sleeps), percent(f, now->polled_ns), kvm,
		percent(f, now->found * f->price_ns));
	if (best == ADVISE_LIMITS)
		fputc('\n', out);
	else
		fprintf(out, " %5.0f %6.2f %5.0f\n", advise_limits[best] / 1e3,
			percent(f, t->cost[best].polled_ns),
			now->cost_ns ? 100 * (double)t->cost[best].cost_ns / (double)now->cost_ns
				     : 100);
}

void advise_print(FILE *out, const struct advise_found *f)
{
	uint64_t halts = 0;
	unsigned long long lost = f->lost;
	bool others = false, counted;
	char kvm[16], name[24];

	fprintf(out,
		"%.1f s; a sleep costs %.1f us\nhalt_poll_ns %u, grow %u, grow_start %u, shrink "
		"%u\n\n",
		(double)f->lasted_ns / 1e9, (double)f->price_ns / 1e3, f->rule.max_ns, f->rule.grow,
		f->rule.grow_start_ns, f->rule.shrink);
	fprintf(out, "%-22s %7s %7s %6s %6s %6s %5s %6s %5s\n", "process", "halts/s", "sleep/s",
		"polls%", "KVM%", "saves%", "us", "polls%", "cost%");
	for (size_t i = 0; i < f->vms->n; i++) {
		const struct advise_vm *vm = &f->vms->v[i];
		bool other;

		if (!vm->halts)
			continue;
		halts += vm->halts;
		snprintf(name, sizeof(name), "%d %.14s", (int)vm->pid, vm->name);
		snprintf(kvm, sizeof(kvm), "%.2f", percent(f, advise_vm_polled(vm, &counted)));
		other = advise_another_rule(f, vm, &f->vm[i]);
		others |= other;
		fprintf(out, "%-21s%c", name, other ? '*' : ' ');
		figures(out, f, &f->vm[i], vm->halts, kvm);
	}
	if (!halts) {
		fprintf(out, "\nNo virtual CPU has halted in KVM.\n");
		return;
	}
	fprintf(out, "%-22s", "all");
	figures(out, f, &f->all, halts, "");
	fputc('\n', out);
	wrap_line(
		out, 2,
		"polls%%: time polled, of one processor, by KVM's rule over these halts; KVM%%: as "
		"KVM has really polled; saves%%: sleeps saved, at that price; us: the limit that "
		"costs least, and what it would poll and cost, of today's cost");
	if (others)
		wrap_line(out, 2,
			  "* KVM polls another time than the module's parameters say: the VM has a "
			  "limit of its own (KVM_CAP_HALT_POLL), or its guest polls by itself.");
	lost += f->vms->dropped;
	if (lost)
		wrap_line(out, 2, "%llu halts were lost: there were too many.", lost);
	if (advise_worth(f, &f->all))
		wrap_line(
			out, 2,
			"Better: halt_poll_ns %u. KVM polls %.2f %% of a processor now, and would "
			"poll %.2f %%.",
			advise_limits[advise_best(f, &f->all)], percent(f, advise_polled(f)),
			percent(f, advise_expected(f, advise_best(f, &f->all))));
	else
		wrap_line(out, 2, "halt_poll_ns is good as it is.");
}

void advise_print_applied(FILE *out, const struct advise_applied *a)
{
	if (!a->set) {
		wrap_line(out, 2, "Nothing was changed.");
		return;
	}
	wrap_line(out, 2,
		  "halt_poll_ns was set to %u and watched for %.1f s: %.2f %% of a processor were "
		  "polled (%s), %.2f %% before, %.2f %% expected; a halt costs %.2f us, %.2f us "
		  "before. %s",
		  a->now_ns, (double)a->lasted_ns / 1e9, a->polled_now / 1e7,
		  a->counted ? "by KVM's count" : "by its windows", a->polled_before / 1e7,
		  a->polled_expected / 1e7, a->cost_now / 1e3, a->cost_before / 1e3,
		  a->kept ? "It stays." : "It has been taken back.");
}

/* -- JSON ------------------------------------------------------------------------------------- */

static void add_real(struct json_object *o, const char *name, double value)
{
	json_object_object_add(o, name, json_object_new_double(value));
}

static struct json_object *cost_json(const struct advise_cost *c)
{
	struct json_object *o = json_object_new_object();

	add_u64(o, "polled_ns", c->polled_ns);
	add_u64(o, "polled_in_vain_ns", c->in_vain_ns);
	add_u64(o, "sleeps", c->sleeps);
	add_u64(o, "sleeps_saved", c->found);
	add_u64(o, "cost_ns", c->cost_ns);
	return o;
}

static void add_tried(struct json_object *o, const struct advise_found *f,
		      const struct advise_tried *t)
{
	struct json_object *all = json_object_new_array();
	size_t best = advise_best(f, t);

	json_object_object_add(o, "now", cost_json(&t->cost[ADVISE_LIMITS]));
	for (size_t i = 0; i < ADVISE_LIMITS; i++) {
		struct json_object *limit = cost_json(&t->cost[i]);

		add_u64(limit, "halt_poll_ns", advise_limits[i]);
		json_object_array_add(all, limit);
	}
	json_object_object_add(o, "limits", all);
	if (best < ADVISE_LIMITS)
		add_u64(o, "best_halt_poll_ns", advise_limits[best]);
	json_object_object_add(o, "worth_a_change", json_object_new_boolean(advise_worth(f, t)));
}

static struct json_object *vm_json(const struct advise_found *f, size_t i)
{
	const struct advise_vm *vm = &f->vms->v[i];
	struct json_object *o = json_object_new_object();
	bool counted;
	uint64_t ns = advise_vm_polled(vm, &counted);

	json_object_object_add(o, "pid", json_object_new_int(vm->pid));
	json_object_object_add(o, "name", json_object_new_string(vm->name));
	add_u64(o, "vcpus", vm->n_threads);
	add_u64(o, "halts", vm->halts);
	add_u64(o, "kvm_polled_ns", ns);
	json_object_object_add(o, "counted_by_kvm", json_object_new_boolean(counted));
	json_object_object_add(o, "another_rule",
			       json_object_new_boolean(advise_another_rule(f, vm, &f->vm[i])));
	add_tried(o, f, &f->vm[i]);
	return o;
}

static struct json_object *applied_json(const struct advise_applied *a)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "set", json_object_new_boolean(a->set));
	json_object_object_add(o, "kept", json_object_new_boolean(a->kept));
	if (!a->set)
		return o;
	add_u64(o, "halt_poll_ns_before", a->before_ns);
	add_u64(o, "halt_poll_ns", a->now_ns);
	add_u64(o, "lasted_ns", a->lasted_ns);
	json_object_object_add(o, "counted_by_kvm", json_object_new_boolean(a->counted));
	add_real(o, "polled_ns_per_s_before", a->polled_before);
	add_real(o, "polled_ns_per_s_expected", a->polled_expected);
	add_real(o, "polled_ns_per_s", a->polled_now);
	add_real(o, "cost_ns_per_halt_before", a->cost_before);
	add_real(o, "cost_ns_per_halt", a->cost_now);
	return o;
}

int advise_json(FILE *out, const struct advise_found *f, const struct advise_applied *applied)
{
	struct json_object *root = json_object_new_object(), *all = json_object_new_array();
	struct json_object *sum = json_object_new_object();

	add_u64(root, "lasted_ns", f->lasted_ns);
	add_u64(root, "price_ns", f->price_ns);
	add_u64(root, "halt_poll_ns", f->rule.max_ns);
	add_u64(root, "grow", f->rule.grow);
	add_u64(root, "grow_start_ns", f->rule.grow_start_ns);
	add_u64(root, "shrink", f->rule.shrink);
	add_u64(root, "lost", f->lost + f->vms->dropped);
	for (size_t i = 0; i < f->vms->n; i++)
		if (f->vms->v[i].halts)
			json_object_array_add(all, vm_json(f, i));
	json_object_object_add(root, "processes", all);
	add_u64(sum, "kvm_polled_ns", advise_polled(f));
	if (advise_best(f, &f->all) < ADVISE_LIMITS)
		add_u64(sum, "expected_polled_ns", advise_expected(f, advise_best(f, &f->all)));
	add_tried(sum, f, &f->all);
	json_object_object_add(root, "all", sum);
	if (applied)
		json_object_object_add(root, "applied", applied_json(applied));
	return json_write(root, out);
}
