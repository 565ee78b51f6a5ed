/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /catnap/halt-polling: how long halted vCPUs poll, told and changed while they run. Members are
 * those of struct catnap_halt_poll; cpu_max_percent is its cpu_max, as people write it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/api/resources.h"
#include "cli/json_out.h"
#include "cli/opts.h"
#include "vcpus.h"

static struct json_object *word_json(const struct opt_word *w, uint32_t value)
{
	while (w->name && w->value != (int)value)
		w++;
	return json_object_new_string(w->name ? w->name : "unknown");
}

struct json_object *own_halt_poll(struct catnap_vm *vm, uint32_t vcpu)
{
	struct catnap_halt_poll p = {.size = sizeof(p)};
	struct json_object *o = json_object_new_object();

	catnap_vm_get_halt_poll(vm, vcpu, &p);
	add_u64(o, "vcpu", vcpu);
	json_object_object_add(o, "policy", word_json(opt_policies, p.policy));
	add_u64(o, "max_ns", p.max_ns);
	add_u64(o, "grow", p.grow);
	add_u64(o, "grow_start_ns", p.grow_start_ns);
	add_u64(o, "shrink", p.shrink);
	json_object_object_add(o, "bias", word_json(opt_biases, p.bias));
	add_u64(o, "price_ns", p.price_ns);
	json_object_object_add(o, "cpu_max_percent",
			       json_object_new_double((double)p.cpu_max / 100));
	json_object_object_add(o, "group", json_object_new_boolean(p.group != 0));
	json_object_object_add(o, "spin", word_json(opt_spins, p.spin));
	return o;
}

static int refuse(char *why, size_t size, int err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int refuse(char *why, size_t size, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, size, fmt, ap);
	va_end(ap);
	return err;
}

/* Changes @p by @c. A default max follows the policy, as on the command line. */
static void overlay(struct catnap_halt_poll *p, const struct own_halt_change *c)
{
	struct catnap_halt_poll before, after;

	opt_policy_init(&before, p->policy);
	if (c->has_policy)
		p->policy = c->to.policy;
	opt_policy_init(&after, p->policy);
	if (c->has_max)
		p->max_ns = c->to.max_ns;
	else if (p->max_ns == before.max_ns)
		p->max_ns = after.max_ns;
	if (c->has_grow)
		p->grow = c->to.grow;
	if (c->has_grow_start)
		p->grow_start_ns = c->to.grow_start_ns;
	if (c->has_shrink)
		p->shrink = c->to.shrink;
	if (c->has_bias)
		p->bias = c->to.bias;
	if (c->has_price)
		p->price_ns = c->to.price_ns;
	if (c->has_cpu_max)
		p->cpu_max = c->to.cpu_max;
	if (c->has_group)
		p->group = c->to.group;
	if (c->has_spin)
		p->spin = c->to.spin;
}

/* Checks a change with irqchip kernel: KVM has its own rule, and one limit for all vCPUs. */
static int check_kernel(int32_t vcpu, const struct own_halt_change *c, char *why, size_t size)
{
	const struct {
		bool has;
		const char *name;
	} users[] = {{c->has_grow, "grow"},
		     {c->has_grow_start, "grow_start_ns"},
		     {c->has_shrink, "shrink"},
		     {c->has_group, "group"},
		     {c->has_spin, "spin"}};

	if (vcpu >= 0)
		return refuse(why, size, -EINVAL,
			      "with irqchip kernel KVM has one setting for all vCPUs: expected "
			      "/catnap/halt-polling");
	for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++)
		if (users[i].has)
			return refuse(why, size, -EINVAL,
				      "%s: has no effect with irqchip kernel: expected policy, "
				      "max_ns, bias, price_ns or cpu_max_percent",
				      users[i].name);
	return 0;
}

static int set(struct catnap_vm *vm, int32_t vcpu, const struct catnap_halt_poll *p, char *why,
	       size_t size)
{
	int ret = catnap_vm_set_halt_poll(vm, vcpu, p);

	return ret < 0 ? refuse(why, size, ret, "%s", catnap_vm_last_error(vm)) : 0;
}

int own_halt_poll_change(struct catnap_vm *vm, int32_t vcpu, const struct own_halt_change *c,
			 char *why, size_t size)
{
	struct catnap_vm_config cfg = {.size = sizeof(cfg)};
	struct catnap_halt_poll p[CATNAP_MAX_VCPUS];
	uint32_t n = catnap_vm_get_vcpu_count(vm);
	bool same = true;
	int ret = 0;

	catnap_vm_get_config(vm, &cfg);
	if (cfg.irqchip == CATNAP_IRQCHIP_KERNEL && check_kernel(vcpu, c, why, size) < 0)
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		memset(&p[i], 0, sizeof(p[i]));
		p[i].size = sizeof(p[i]);
		catnap_vm_get_halt_poll(vm, i, &p[i]);
		if (vcpu < 0 || (uint32_t)vcpu == i)
			overlay(&p[i], c);
		same = same && memcmp(&p[i], &p[0], sizeof(p[i])) == 0;
	}
	if (vcpu >= 0)
		return set(vm, vcpu, &p[vcpu], why, size);
	if (same)
		return set(vm, -1, &p[0], why, size);
	/* The library takes each of them, or none: what can be wrong is the same in all. */
	for (uint32_t i = 0; i < n && ret == 0; i++)
		ret = set(vm, (int32_t)i, &p[i], why, size);
	return ret;
}

/* ---- the resources ---- */

struct halt_body {
	uint64_t given;
	int policy, bias, spin;
	uint64_t max_ns, grow, grow_start_ns, shrink, price_ns;
	double cpu_max;
	bool group;
};

enum { POLICY, MAX, GROW, GROW_START, SHRINK, BIAS, PRICE, CPU_MAX, GROUP, SPIN };

static const struct body_word policies[] = {
	{"off", CATNAP_POLICY_OFF},	      {"kernel", CATNAP_POLICY_KERNEL},
	{"fixed", CATNAP_POLICY_FIXED},	      {"always", CATNAP_POLICY_ALWAYS},
	{"adaptive", CATNAP_POLICY_ADAPTIVE}, {NULL, 0}};
static const struct body_word biases[] = {{"balanced", CATNAP_BIAS_BALANCED},
					  {"latency", CATNAP_BIAS_LATENCY},
					  {"power", CATNAP_BIAS_POWER},
					  {NULL, 0}};
static const struct body_word spins[] = {{"auto", CATNAP_SPIN_AUTO},
					 {"pause", CATNAP_SPIN_PAUSE},
					 {"umwait", CATNAP_SPIN_UMWAIT},
					 {"mwaitx", CATNAP_SPIN_MWAITX},
					 {NULL, 0}};

#define AT(member) .offset = offsetof(struct halt_body, member)
#define NUMBER(key, member)                                                    \
	{                                                                      \
		.name = (key), .type = BODY_U64, .max = UINT32_MAX, AT(member) \
	}
static const struct body_field halt_members[] = {
	[POLICY] = {.name = "policy", .type = BODY_WORD, .words = policies, AT(policy)},
	[MAX] = NUMBER("max_ns", max_ns),
	[GROW] = NUMBER("grow", grow),
	[GROW_START] = NUMBER("grow_start_ns", grow_start_ns),
	[SHRINK] = NUMBER("shrink", shrink),
	[BIAS] = {.name = "bias", .type = BODY_WORD, .words = biases, AT(bias)},
	[PRICE] = NUMBER("price_ns", price_ns),
	[CPU_MAX] = {.name = "cpu_max_percent", .type = BODY_NUMBER, .max = 100, AT(cpu_max)},
	[GROUP] = {.name = "group", .type = BODY_BOOL, AT(group)},
	[SPIN] = {.name = "spin", .type = BODY_WORD, .words = spins, AT(spin)},
	{.name = NULL},
};
#undef NUMBER
#undef AT

/* Returns @percent in hundredths. Less than a hundredth of a per cent is not "no limit". */
static uint32_t hundredths(double percent)
{
	uint32_t n = (uint32_t)(percent * 100 + 0.5);

	return n == 0 && percent > 0 ? 1 : n;
}

static struct own_halt_change change_of(const struct halt_body *b)
{
	struct own_halt_change c = {
		.has_policy = body_given(b->given, POLICY),
		.has_max = body_given(b->given, MAX),
		.has_grow = body_given(b->given, GROW),
		.has_grow_start = body_given(b->given, GROW_START),
		.has_shrink = body_given(b->given, SHRINK),
		.has_bias = body_given(b->given, BIAS),
		.has_cpu_max = body_given(b->given, CPU_MAX),
		.has_group = body_given(b->given, GROUP),
		.has_price = body_given(b->given, PRICE),
		.has_spin = body_given(b->given, SPIN),
	};

	c.to.policy = (uint32_t)b->policy;
	c.to.max_ns = (uint32_t)b->max_ns;
	c.to.grow = (uint32_t)b->grow;
	c.to.grow_start_ns = (uint32_t)b->grow_start_ns;
	c.to.shrink = (uint32_t)b->shrink;
	c.to.bias = (uint32_t)b->bias;
	c.to.cpu_max = hundredths(b->cpu_max);
	c.to.group = b->group;
	c.to.price_ns = (uint32_t)b->price_ns;
	c.to.spin = (uint32_t)b->spin;
	return c;
}

/* Takes the number in a path. Returns false if it is answered. */
static bool vcpu_of(struct api *api, struct reply *r, const char *id, uint32_t *vcpu)
{
	uint32_t n = catnap_vm_get_vcpu_count(api->vm);
	size_t len = strspn(id, "0123456789");

	*vcpu = len && !id[len] && len <= 3 ? (uint32_t)atoi(id) : n;
	if (*vcpu < n)
		return true;
	reply_fault(r, 400, "There is no vCPU \"%s\": the VM has %s.", id, vcpus_words(n).text);
	return false;
}

static void get_all(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	struct json_object *root = json_object_new_object(), *list = json_object_new_array();

	for (uint32_t i = 0; i < catnap_vm_get_vcpu_count(api->vm); i++)
		json_object_array_add(list, own_halt_poll(api->vm, i));
	json_object_object_add(root, "vcpus", list);
	reply_json(r, 200, root);
}

static void get_one(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	uint32_t vcpu;

	if (vcpu_of(api, r, rq->id, &vcpu))
		reply_json(r, 200, own_halt_poll(api->vm, vcpu));
}

static void change(struct api *api, struct reply *r, int32_t vcpu, const struct halt_body *b)
{
	const struct own_halt_change c = change_of(b);
	char why[512];

	if (!b->given)
		reply_fault(r, 400, "Nothing is to be changed: expected one member at least.");
	else if (own_halt_poll_change(api->vm, vcpu, &c, why, sizeof(why)) < 0)
		reply_fault(r, 400, "%s", why);
	else
		reply_empty(r);
}

static void patch_all(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	change(api, r, -1, body);
}

static void patch_one(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	uint32_t vcpu;

	if (vcpu_of(api, r, rq->id, &vcpu))
		change(api, r, (int32_t)vcpu, body);
}

const struct route own_halt_routes[] = {
	{"GET", "/catnap/halt-polling", ROUTE_AFTER, get_all},
	{"GET", "/catnap/halt-polling/{}", ROUTE_AFTER, get_one},
	{"PATCH", "/catnap/halt-polling", ROUTE_AFTER, patch_all, .body = halt_members,
	 .body_size = sizeof(struct halt_body)},
	{"PATCH", "/catnap/halt-polling/{}", ROUTE_AFTER, patch_one, .body = halt_members,
	 .body_size = sizeof(struct halt_body)},
	{NULL},
};
