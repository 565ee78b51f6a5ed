/* SPDX-License-Identifier: Apache-2.0 */
/* See fc_device.h. */
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/api/fc_device.h"
#include "cli/api/limiter.h"

void fc_drive_library(const struct fc_drive *d, struct catnap_disk *disk)
{
	catnap_disk_init(disk);
	disk->path = d->path;
	disk->readonly = d->read_only;
	disk->id = strlen(d->id) <= CATNAP_MAX_DISK_ID ? d->id : NULL;
	/* A file of any beginning is taken, as Firecracker takes it: it is raw. */
	disk->format = CATNAP_DISK_RAW;
	fc_limiter_library(&d->limiter, &disk->limit);
}

void fc_net_library(const struct fc_net *n, struct catnap_net *net)
{
	unsigned int b[6] = {0};

	catnap_net_init(net);
	net->tap = n->tap;
	net->mtu = (uint16_t)n->mtu;
	if (n->mac)
		sscanf(n->mac, "%2x:%2x:%2x:%2x:%2x:%2x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]);
	for (int i = 0; i < 6; i++)
		net->mac[i] = (uint8_t)b[i];
	fc_limiter_library(&n->rx, &net->rx_limit);
	fc_limiter_library(&n->tx, &net->tx_limit);
}

int fc_fs_add(struct catnap_vm *vm, const struct fc_fs *f, int fd)
{
	struct catnap_vhost v;
	int ret;

	catnap_vhost_init(&v);
	v.type = VIRTIO_ID_FS;
	v.tag = f->tag;
	v.socket = f->socket;
	v.fd = fd;
	ret = catnap_vm_add_vhost(vm, &v);
	if (ret < 0 && fd >= 0)
		close(fd);
	return ret;
}

static void found(struct fc_model *m, uint32_t type, uint32_t place, uint32_t device)
{
	for (uint32_t i = 0; type == VIRTIO_ID_BLOCK && i < m->n_drives; i++)
		if (m->drives[i].place == place)
			m->drives[i].device = device;
	for (uint32_t i = 0; type == VIRTIO_ID_NET && i < m->n_nets; i++)
		if (m->nets[i].place == place)
			m->nets[i].device = device;
}

void fc_find_devices(struct fc_model *m, struct catnap_vm *vm)
{
	struct catnap_device_stats s = {.size = sizeof(s)};
	uint32_t places[VIRTIO_ID_BLOCK + 1] = {0}, fss = 0;

	for (uint32_t i = 0; catnap_vm_get_device_stats(vm, i, &s) == 0; i++) {
		if (s.type <= VIRTIO_ID_BLOCK)
			found(m, s.type, places[s.type]++, i);
		else if (s.type == VIRTIO_ID_FS && fss < m->n_fss)
			m->fss[fss++].device = i;
	}
}

uint32_t fc_next_disk(const struct fc_model *m)
{
	uint32_t next = 0, i = 0;

	while (i < m->n_drives) {
		const struct fc_drive *d = &m->drives[i++];

		if (d->socket || d->disk != next)
			continue;
		next++;
		i = 0;
	}
	return next;
}

uint32_t fc_next_net(const struct fc_model *m)
{
	uint32_t next = 0, i = 0;

	while (i < m->n_nets) {
		if (m->nets[i++].net != next)
			continue;
		next++;
		i = 0;
	}
	return next;
}

uint32_t fc_next_device(struct catnap_vm *vm)
{
	struct catnap_device_stats s = {.size = sizeof(s)};
	uint32_t i = 0;

	while (catnap_vm_get_device_stats(vm, i, &s) == 0)
		i++;
	return i;
}

static void drive_removed(struct fc_model *m, uint32_t disk)
{
	uint32_t i = 0;

	while (i < m->n_drives && (m->drives[i].socket || m->drives[i].disk != disk))
		i++;
	if (i == m->n_drives)
		return;
	fc_drive_free(&m->drives[i]);
	m->n_drives--;
	memmove(&m->drives[i], &m->drives[i + 1], (m->n_drives - i) * sizeof(m->drives[0]));
	m->drives[m->n_drives] = (struct fc_drive){.id = NULL}; /* its texts have moved */
}

static void net_removed(struct fc_model *m, uint32_t net)
{
	uint32_t i = 0;

	while (i < m->n_nets && m->nets[i].net != net)
		i++;
	if (i == m->n_nets)
		return;
	fc_net_free(&m->nets[i]);
	m->n_nets--;
	memmove(&m->nets[i], &m->nets[i + 1], (m->n_nets - i) * sizeof(m->nets[0]));
	m->nets[m->n_nets] = (struct fc_net){.id = NULL};
}

static void fs_removed(struct fc_model *m, uint32_t device)
{
	uint32_t i = 0;

	while (i < m->n_fss && m->fss[i].device != device)
		i++;
	if (i == m->n_fss)
		return;
	fc_fs_free(&m->fss[i]);
	m->n_fss--;
	memmove(&m->fss[i], &m->fss[i + 1], (m->n_fss - i) * sizeof(m->fss[0]));
	m->fss[m->n_fss] = (struct fc_fs){.id = NULL};
}

void fc_removed(struct fc_model *m, const struct catnap_event *e)
{
	if (e->type != CATNAP_EVENT_DEVICE_REMOVED)
		return;
	if (e->code == VIRTIO_ID_BLOCK)
		drive_removed(m, e->value);
	else if (e->code == VIRTIO_ID_NET)
		net_removed(m, e->value);
	else if (e->code == VIRTIO_ID_FS)
		fs_removed(m, e->device);
}
