/* SPDX-License-Identifier: Apache-2.0 */
/* See model.h. */
#include <stdlib.h>
#include <string.h>

#include "cli/api/model.h"

void fc_model_init(struct fc_model *m)
{
	*m = (struct fc_model){.machine = {.vcpus = 1, .mem_mib = FC_DEFAULT_MEM_MIB}};
}

void fc_drive_free(struct fc_drive *d)
{
	free(d->id);
	free(d->path);
	free(d->socket);
	free(d->partuuid);
	*d = (struct fc_drive){.id = NULL};
}

void fc_net_free(struct fc_net *n)
{
	free(n->id);
	free(n->tap);
	free(n->mac);
	*n = (struct fc_net){.id = NULL};
}

void fc_pmem_free(struct fc_pmem *p)
{
	free(p->id);
	free(p->path);
	*p = (struct fc_pmem){.id = NULL};
}

void fc_fs_free(struct fc_fs *f)
{
	free(f->id);
	free(f->tag);
	free(f->path);
	free(f->socket);
	*f = (struct fc_fs){.id = NULL};
}

void fc_model_free(struct fc_model *m)
{
	for (uint32_t i = 0; i < m->n_drives; i++)
		fc_drive_free(&m->drives[i]);
	for (uint32_t i = 0; i < m->n_nets; i++)
		fc_net_free(&m->nets[i]);
	for (uint32_t i = 0; i < m->n_pmems; i++)
		fc_pmem_free(&m->pmems[i]);
	for (uint32_t i = 0; i < m->n_fss; i++)
		fc_fs_free(&m->fss[i]);
	free(m->boot.kernel);
	free(m->boot.initrd);
	free(m->boot.args);
	free(m->vsock.path);
	free(m->vsock.id);
	free(m->serial.path);
	free(m->cpu);
	fc_model_init(m);
}

struct fc_drive *fc_drive_find(struct fc_model *m, const char *id)
{
	for (uint32_t i = 0; i < m->n_drives; i++)
		if (strcmp(m->drives[i].id, id) == 0)
			return &m->drives[i];
	return NULL;
}

struct fc_net *fc_net_find(struct fc_model *m, const char *id)
{
	for (uint32_t i = 0; i < m->n_nets; i++)
		if (strcmp(m->nets[i].id, id) == 0)
			return &m->nets[i];
	return NULL;
}

struct fc_pmem *fc_pmem_find(struct fc_model *m, const char *id)
{
	for (uint32_t i = 0; i < m->n_pmems; i++)
		if (strcmp(m->pmems[i].id, id) == 0)
			return &m->pmems[i];
	return NULL;
}

struct fc_fs *fc_fs_find(struct fc_model *m, const char *id)
{
	for (uint32_t i = 0; i < m->n_fss; i++)
		if (strcmp(m->fss[i].id, id) == 0)
			return &m->fss[i];
	return NULL;
}

const char *fc_root_of(const struct fc_model *m)
{
	for (uint32_t i = 0; i < m->n_pmems; i++)
		if (m->pmems[i].root)
			return m->pmems[i].id;
	return m->n_drives && m->drives[0].root ? m->drives[0].id : NULL;
}
