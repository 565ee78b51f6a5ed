/* SPDX-License-Identifier: Apache-2.0 */
/* --memory: how much, and of what. */
#include <errno.h>

#include "cli/run/run.h"

static const struct opt_word huge_pages[] = {
	{"2M", CATNAP_PAGES_2M}, {"1G", CATNAP_PAGES_1G}, {NULL, 0}};
static const struct opt_word transparent[] = {
	{"on", CATNAP_PAGES_TRANSPARENT}, {"off", CATNAP_PAGES_SMALL}, {NULL, 0}};

struct memory_option {
	uint64_t size, nodes, max, plug, block;
	int huge, thp, shared; /* 0: not given */
	bool prefault, lock;
};

static int set_nodes(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	return run_parse_mask(o, arg, "nodes", &((struct memory_option *)ptr)->nodes);
}

static const struct opt_word shared[] = {{"on", SHARED_ON}, {"off", SHARED_OFF}, {NULL, 0}};

#define AT(member) .offset = offsetof(struct memory_option, member)
/* clang-format off */
const struct opt_field run_memory_keys[] = {
	{.name = "size", .type = OPT_SIZE, AT(size), .min = 1 << 20, .max = UINT64_C(1) << 46},
	{.name = "shared", .type = OPT_SWITCH, AT(shared), .words = shared},
	{.name = "hugepages", .type = OPT_WORD, AT(huge), .words = huge_pages},
	{.name = "thp", .type = OPT_SWITCH, AT(thp), .words = transparent},
	{.name = "prefault", .type = OPT_SWITCH, AT(prefault)},
	{.name = "lock", .type = OPT_SWITCH, AT(lock)},
	{.name = "host-nodes", .type = OPT_CALL, .set = set_nodes},
	{.name = "max", .type = OPT_SIZE, AT(max), .min = 1 << 20, .max = UINT64_C(1) << 46},
	{.name = "plug", .type = OPT_SIZE, AT(plug), .max = UINT64_C(1) << 46},
	{.name = "block", .type = OPT_SIZE, AT(block), .min = 2 << 20, .max = 1 << 30},
	{.name = NULL},
};
/* clang-format on */
#undef AT

/* Takes what may be plugged, beyond the memory that is there at first. */
static int set_hotplug(struct opts *o, const struct memory_option *m, struct catnap_hotplug *h)
{
	const uint64_t block = m->block ? m->block : UINT64_C(2) << 20;

	*h = (struct catnap_hotplug){.size = 0};
	if (!m->max && (m->plug || m->block))
		return opts_fail(o, "--memory: %s: has no effect without max",
				 m->plug ? "plug" : "block");
	if (!m->max)
		return 0;
	if (m->max <= m->size)
		return opts_fail(o,
				 "--memory: max: is not more than the memory that is there at "
				 "first: expected more than %lluM",
				 (unsigned long long)(m->size >> 20));
	if (block & (block - 1))
		return opts_fail(o, "--memory: block: is no power of two: expected 2M, 4M, ... 1G");
	if ((m->max - m->size) % block || m->plug % block)
		return opts_fail(o, "--memory: %s: is no multiple of a block, %lluM%s",
				 m->plug % block ? "plug" : "max",
				 (unsigned long long)(block >> 20),
				 m->plug % block ? "" : ", more than what is there at first");
	if (m->plug > m->max - m->size)
		return opts_fail(o,
				 "--memory: plug: is more than max leaves: expected at most "
				 "%lluM",
				 (unsigned long long)((m->max - m->size) >> 20));
	catnap_hotplug_init(h);
	h->max = m->max - m->size;
	h->requested = m->plug;
	h->block = block;
	return 0;
}

int run_set_memory(struct opts *o, const struct opt_arg *arg, void *ptr)
{
	struct run_cfg *cfg = ptr;
	struct memory_option m = {.size = cfg->memory};
	uint64_t page = 4096;

	if (opt_keys(o, arg, run_memory_keys, &m))
		return -EINVAL;
	if (m.huge && m.thp)
		return opts_fail(o, "--memory: thp: has no effect with hugepages: expected one of "
				    "them");
	if (m.huge)
		page = UINT64_C(1) << (m.huge == CATNAP_PAGES_1G ? 30 : 21);
	if (m.size % page)
		return opt_fail(o, arg, "is not a multiple of %s",
				page == 4096		    ? "4K"
				: m.huge == CATNAP_PAGES_1G ? "1G, as hugepages has it"
							    : "2M, as hugepages has it");
	if (m.size > catnap_host_memory())
		return opt_fail(o, arg, "is more than this host has: expected at most %lluM",
				(unsigned long long)(catnap_host_memory() >> 20));
	if (set_hotplug(o, &m, &cfg->hotplug))
		return -EINVAL;
	cfg->memory = m.size;
	cfg->memory_pages = m.huge ? m.huge : m.thp;
	cfg->memory_shared = m.shared;
	cfg->memory_prefault = m.prefault;
	cfg->memory_lock = m.lock;
	cfg->memory_host_nodes = m.nodes;
	return 0;
}

void run_fill_memory(struct catnap_vm_config *vc, const struct run_cfg *cfg)
{
	vc->memory_size = cfg->memory;
	vc->memory_pages = (uint32_t)cfg->memory_pages;
	vc->memory_shared = cfg->memory_shared == SHARED_ON || run_has_backs(cfg);
	vc->memory_prefault = cfg->memory_prefault;
	vc->memory_lock = cfg->memory_lock;
	vc->memory_host_nodes = cfg->memory_host_nodes;
	vc->nodes = cfg->nodes;
	vc->node_count = cfg->n_nodes;
}
