/* SPDX-License-Identifier: Apache-2.0 */
/* The driver of virtio.h. Registers are those of struct virtio_pci_common_cfg (4.1.4.3). */
#include "virtio.h"
#include "pci.h"

#include <stddef.h>

#define VENDOR	      0x1af4
#define DEVICE_MODERN 0x1040 /* + id */

#define CAP_COMMON 1
#define CAP_NOTIFY 2
#define CAP_DEVICE 4

#define STATUS_ACKNOWLEDGE 1
#define STATUS_DRIVER	   2
#define STATUS_DRIVER_OK   4
#define STATUS_FEATURES_OK 8

struct common_cfg {
	uint32_t device_feature_select, device_feature;
	uint32_t driver_feature_select, driver_feature;
	uint16_t msix_config, num_queues;
	uint8_t status, config_generation;
	uint16_t queue_select, queue_size, queue_msix_vector, queue_enable, queue_notify_off;
	uint32_t queue_addr[3][2]; /* descriptors, driver area, device area; low half, high half */
};

_Static_assert(sizeof(struct common_cfg) == 56, "fixed by the specification");

static struct pci_dev dev;
static volatile struct common_cfg *common;
static volatile uint32_t *device_cfg;
static uint64_t notify;
static uint32_t notify_multiplier;

static void map_regions(void)
{
	uint32_t cap = 0;

	common = NULL;
	while ((cap = pci_cap(&dev, PCI_CAP_VENDOR, cap)) != 0) {
		uint32_t type = pci_read8(&dev, cap + 3), bar = pci_read8(&dev, cap + 4);
		uint64_t at;

		if (bar > 5 || !dev.bar[bar])
			continue;
		at = dev.bar[bar] + pci_read32(&dev, cap + 8);
		if (type == CAP_COMMON)
			common = (volatile struct common_cfg *)(uintptr_t)at;
		if (type == CAP_DEVICE)
			device_cfg = (volatile uint32_t *)(uintptr_t)at;
		if (type == CAP_NOTIFY) {
			notify = at;
			notify_multiplier = pci_read32(&dev, cap + 16);
		}
	}
}

/* Transitional devices have ids of their own (5.1 and on); they offer the modern interface, too. */
static uint32_t transitional_id(uint32_t id)
{
	return id == 1 ? 0x1000 : id == 2 ? 0x1001 : DEVICE_MODERN + id;
}

int virtio_find(uint32_t id, uint32_t *features)
{
	uint32_t offered;

	if (!pci_find(VENDOR, DEVICE_MODERN + id, transitional_id(id), &dev))
		return 0;
	map_regions();
	if (!common || !notify)
		return 0;
	common->status = 0;
	while (common->status)
		;
	common->status = STATUS_ACKNOWLEDGE;
	common->status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
	common->device_feature_select = 0;
	offered = common->device_feature;
	*features &= offered;
	common->driver_feature_select = 0;
	common->driver_feature = *features;
	common->driver_feature_select = 1;
	common->driver_feature = 1; /* VIRTIO_F_VERSION_1 */
	common->status = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK;
	common->msix_config = 0xffff;
	return (common->status & STATUS_FEATURES_OK) != 0;
}

static void set_addr(uint32_t part, volatile void *at)
{
	common->queue_addr[part][0] = (uint32_t)(uintptr_t)at;
	common->queue_addr[part][1] = 0;
}

uint64_t virtio_queue(uint32_t index, uint32_t apic_id, uint32_t vector)
{
	volatile struct vq *vq = virtio_vq(index);
	uint32_t i;

	for (i = 0; i < sizeof(*vq) / 8; i++)
		((volatile uint64_t *)vq)[i] = 0;
	common->queue_select = (uint16_t)index;
	if (common->queue_size < QUEUE_SIZE)
		return 0;
	common->queue_size = QUEUE_SIZE;
	if (!pci_msix(&dev, index, apic_id, vector))
		return 0;
	common->queue_msix_vector = (uint16_t)index;
	if (common->queue_msix_vector != index)
		return 0;
	set_addr(0, vq->desc);
	set_addr(1, &vq->avail_flags);
	set_addr(2, &vq->used_flags);
	common->queue_enable = 1;
	return notify + common->queue_notify_off * notify_multiplier;
}

void virtio_run(void)
{
	common->status = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK;
}

void virtio_reset(void)
{
	common->status = 0;
}

uint32_t virtio_config(uint32_t offset)
{
	return device_cfg ? device_cfg[offset / 4] : 0;
}
