/* SPDX-License-Identifier: Apache-2.0 */
/* The counters of a VM: of its vCPUs, its I/O thread, its devices. Any thread may ask. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "devices/virtio/net.h"
#include "devices/virtio/throttle.h"
#include "relaxed.h"
#include "sized.h"
#include "vcpus.h"
#include "vmm/vm.h"

static int no_vcpu(struct catnap_vm *vm, const char *what, uint32_t vcpu)
{
	return vm_fail(vm, -EINVAL, "%s: there is no vCPU %u: the VM has %s", what, vcpu,
		       vcpus_words(vm->vcpu_count).text);
}

static int no_io_thread(struct catnap_vm *vm, const char *what)
{
	return vm_fail(vm, -ENOENT, "%s: this VM has no I/O thread", what);
}

/* Returns how much there is of a last member at @offset, of @own bytes, in a struct of the caller's
 * @size. */
static uint32_t last_size(uint32_t size, size_t offset, size_t own)
{
	return size <= offset ? 0 : (uint32_t)(size - offset < own ? size - offset : own);
}

int catnap_vm_get_stats(struct catnap_vm *vm, uint32_t vcpu, struct catnap_vcpu_stats *stats)
{
	static const char what[] = "get_stats";
	struct catnap_vcpu_stats s = {.size = sizeof(s)};

	if (vm_in_child(vm, "get_stats"))
		return -EPERM;
	if (vcpu >= vm->vcpu_count)
		return no_vcpu(vm, what, vcpu);
	if (!stats || stats->size < offsetof(struct catnap_vcpu_stats, exits))
		return vm_wrong_size(vm, what);
	vcpu_get_stats(vm->vcpus[vcpu], &s);
	s.halt.size =
		last_size(stats->size, offsetof(struct catnap_vcpu_stats, halt), sizeof(s.halt));
	return sized_out(stats, &s, sizeof(s), sizeof(s.size));
}

int catnap_vm_get_policy_stats(struct catnap_vm *vm, uint32_t vcpu,
			       struct catnap_policy_stats *stats)
{
	static const char what[] = "get_policy_stats";
	struct catnap_halter *h;

	if (vm_in_child(vm, "get_policy_stats"))
		return -EPERM;
	if (vcpu == CATNAP_IO_THREAD_VCPU && !vm->io)
		return no_io_thread(vm, what);
	if (vcpu != CATNAP_IO_THREAD_VCPU && vcpu >= vm->vcpu_count)
		return no_vcpu(vm, what, vcpu);
	if (vcpu != CATNAP_IO_THREAD_VCPU && !vm->host.irqchip_user)
		return vm_fail(vm, -ENOTSUP, "%s: with irqchip kernel the policy is KVM's", what);
	h = vcpu == CATNAP_IO_THREAD_VCPU ? &vm->io->halter : &vm->vcpus[vcpu]->halter;
	if (stats && halter_get_policy_stats(h, stats) == 0)
		return 0;
	return vm_fail(vm, -EINVAL,
		       "%s: the structure's size, or its context_size, is not this library's",
		       what);
}

static void net_queues(struct virtio_device *dev, struct catnap_device_stats *s)
{
	struct net_counters c;

	while (net_get_counters(net_of(dev), s->net_queues, &c))
		s->net_queue[s->net_queues++] =
			(struct catnap_net_queue_stats){.rx_packets = c.rx_packets,
							.rx_bytes = c.rx_bytes,
							.rx_dropped = c.rx_dropped,
							.rx_unwanted = c.rx_unwanted,
							.rx_starved = c.rx_starved,
							.tx_packets = c.tx_packets,
							.tx_bytes = c.tx_bytes,
							.tx_dropped = c.tx_dropped,
							.tx_blocked = c.tx_blocked};
}

/* Copies a device's statistics. The caller's entries of net_queue may be shorter than ours, or
 * longer. */
static void copy_device_stats(const struct catnap_device_stats *s, struct catnap_device_stats *to)
{
	const size_t head = offsetof(struct catnap_device_stats, net_queue);
	uint32_t size = to->size, entry = size < head ? 0 : to->net_queue_size;
	size_t common = entry < sizeof(s->net_queue[0]) ? entry : sizeof(s->net_queue[0]);

	sized_out(to, s, head, sizeof(s->size));
	if (size < head)
		return;
	to->size = size < sizeof(*s) ? size : (uint32_t)sizeof(*s);
	to->net_queue_size = entry;
	for (uint32_t i = 0; i < s->net_queues && head + (i + 1) * (size_t)entry <= size; i++)
		memcpy((char *)to + head + i * (size_t)entry, &s->net_queue[i], common);
}

static int no_device(struct catnap_vm *vm, const char *what, uint32_t device)
{
	uint32_t count;

	pthread_mutex_lock(&vm->lock);
	count = vm->virtio_count;
	pthread_mutex_unlock(&vm->lock);
	if (device < count)
		return vm_fail(vm, -ENODEV, "%s: device %u was removed", what, device);
	return vm_fail(vm, -ENOENT, "%s: there is no device %u: there are %u", what, device, count);
}

int catnap_vm_get_device_stats(struct catnap_vm *vm, uint32_t device,
			       struct catnap_device_stats *stats)
{
	static const char what[] = "get_device_stats";
	struct catnap_device_stats s = {.size = sizeof(s)};
	struct virtio_device *dev;
	struct vm_virtio *v;

	if (vm_in_child(vm, "get_device_stats"))
		return -EPERM;
	if (!stats || stats->size < offsetof(struct catnap_device_stats, requests))
		return vm_wrong_size(vm, what);
	v = vm_get_device(vm, device);
	if (!v)
		return no_device(vm, what, device);
	dev = v->dev;
	s.type = dev->id;
	snprintf(s.name, sizeof(s.name), "%s", dev->name);
	s.requests = relaxed_load(&dev->counters.requests);
	s.errors = relaxed_load(&dev->counters.errors);
	s.read_bytes = relaxed_load(&dev->counters.read_bytes);
	s.written_bytes = relaxed_load(&dev->counters.written_bytes);
	s.faults = relaxed_load(&dev->faults);
	s.inflight = relaxed_load(&dev->inflight);
	s.status = virtio_status(dev);
	for (unsigned int i = 0; i < VIRTIO_THROTTLES; i++) {
		uint64_t waits = 0, ns = 0;

		if (dev->throttles[i])
			throttle_get(dev->throttles[i], &waits, &ns);
		s.limit_waits += waits;
		s.limit_wait_ns += ns;
	}
	if (dev->id == VIRTIO_ID_NET && !dev->external)
		net_queues(dev, &s);
	vm_put(v);
	copy_device_stats(&s, stats);
	return 0;
}

int catnap_vm_get_io_stats(struct catnap_vm *vm, struct catnap_io_stats *stats)
{
	static const char what[] = "get_io_stats";
	struct catnap_io_stats s = {.size = sizeof(s)};

	if (vm_in_child(vm, "get_io_stats"))
		return -EPERM;
	if (!stats || stats->size < offsetof(struct catnap_io_stats, cpu_ns))
		return vm_wrong_size(vm, what);
	if (!vm->io)
		return no_io_thread(vm, what);
	s.halt.size = sizeof(s.halt);
	halter_get_stats(&vm->io->halter, &s.halt);
	s.halt.size =
		last_size(stats->size, offsetof(struct catnap_io_stats, halt), sizeof(s.halt));
	s.cpu_ns = cpu_time_read(&vm->io->cpu_time);
	return sized_out(stats, &s, sizeof(s), sizeof(s.size));
}
