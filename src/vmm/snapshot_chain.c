/* SPDX-License-Identifier: Apache-2.0 */
/* The memory files that a state file names: a full one, and diffs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/snapshot.h"

#define VERSION 1

void chain_free(struct memory_chain *c)
{
	free(c->links);
	*c = (struct memory_chain){.count = 0};
}

int chain_copy(struct memory_chain *to, const struct memory_chain *from)
{
	*to = (struct memory_chain){.count = from->count};
	if (!from->count)
		return 0;
	to->links = malloc(from->count * sizeof(*to->links));
	if (!to->links) {
		to->count = 0;
		return -ENOMEM;
	}
	memcpy(to->links, from->links, from->count * sizeof(*to->links));
	return 0;
}

int chain_add(struct memory_chain *c, const struct memory_link *link)
{
	uint32_t before = link->kind == MEMORY_FULL ? 0 : c->count;
	struct memory_link *links = realloc(c->links, (before + 1) * sizeof(*links));

	if (!links)
		return -ENOMEM;
	links[before] = *link;
	c->links = links;
	c->count = before + 1;
	return 0;
}

bool chain_name_ok(const char *name)
{
	size_t len = name ? strlen(name) : 0;

	return len && len <= CATNAP_SNAPSHOT_NAME && !strchr(name, '/') && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

void chain_save(const struct memory_chain *c, uint64_t memory_size, struct state_writer *w)
{
	state_begin(w, STATE_MEMORY, 0, VERSION);
	state_put_u64(w, memory_size);
	state_put_u32(w, c->count);
	for (uint32_t i = 0; i < c->count; i++) {
		state_put_u32(w, c->links[i].kind);
		state_put_bytes(w, c->links[i].id, MEMORY_ID);
		state_put_text(w, c->links[i].name);
	}
	state_end(w);
}

int chain_load(struct memory_chain *c, uint64_t *memory_size, struct state_in *in,
	       struct error *err)
{
	uint32_t n;
	int ret = 0;

	*c = (struct memory_chain){.count = 0};
	*memory_size = state_get_u64(in);
	n = state_get_u32(in);
	state_check(in, n >= 1 && n <= CATNAP_SNAPSHOT_MEMORIES, "how many memory files there are");
	for (uint32_t i = 0; i < n && state_good(in) && ret == 0; i++) {
		struct memory_link link = {.kind = state_get_u32(in)};

		state_get_bytes(in, link.id, sizeof(link.id));
		state_get_text(in, link.name, sizeof(link.name));
		state_check(in, link.kind == (i ? MEMORY_DIFF : MEMORY_FULL),
			    "the kind of a memory file");
		state_check(in, chain_name_ok(link.name), "the name of a memory file");
		ret = chain_add(c, &link);
	}
	if (ret == 0)
		ret = state_finish(in, err);
	else
		error_set(err, "out of memory");
	if (ret < 0)
		chain_free(c);
	return ret;
}

int chain_open(const struct memory_chain *c, uint32_t n, int fd, uint64_t memory_size,
	       struct memory_file *f, struct error *err)
{
	const struct memory_link *link = &c->links[n];
	int ret = memory_file_open(f, fd, memory_size, err);

	if (ret == 0 && (f->kind != link->kind || memcmp(f->id, link->id, MEMORY_ID) != 0 ||
			 (n && memcmp(f->base, c->links[n - 1].id, MEMORY_ID) != 0)))
		ret = error_fail(err, -EINVAL, "is the memory of another snapshot");
	return ret < 0 ? error_prefix(err, ret, "%s: ", link->name) : 0;
}
