/* SPDX-License-Identifier: Apache-2.0 */
/*
 * External events: eventfds that interrupt the guest, and eventfds that the guest signals (what
 * irqfd and ioeventfd are to KVM's irqchip; kvm api.rst, 4.75 and 4.59).
 *
 * With irqchip user an interrupt's eventfd is armed in the ring of the vCPU that the message names,
 * or of the I/O thread: a vCPU that waits sees it itself. With irqchip kernel KVM takes it, by an
 * entry in its routing table. A doorbell is KVM's in both: the guest's write does not leave the
 * kernel.
 *
 * Places in the tables are used again, but stay where they are. An event's lock is held while its
 * descriptor is looked at: when a removal returns, nobody touches the descriptor any more, and the
 * caller may close it. Locks: the VM's, then an event's.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "container_of.h"
#include "sized.h"
#include "vmm/irq.h"
#include "vmm/telling.h"
#include "vmm/vm.h"

/* Says what went wrong. @fd: the caller's, or -1. */
static int fail(struct catnap_vm *vm, int ret, const char *what, int fd, int most)
{
	switch (ret) {
	case -EEXIST:
		return vm_fail(vm, ret, "%s: there is one at this place already", what);
	case -ENOSPC:
		return vm_fail(vm, ret, "%s: there are %d, which is the most", what, most);
	case -ENOENT:
		return vm_fail(vm, ret, "%s: descriptor %d is none of this VM's", what, fd);
	case -EPERM:
		return vm_fail(vm, ret, "%s: with a sandbox only before the start", what);
	default:
		return vm_fail(vm, ret, "%s: descriptor %d: %s", what, fd, strerror(-ret));
	}
}

static const char what[] = "interrupt event";

/* -- interrupts ------------------------------------------------------------------------------- */

/* Takes a signal, on the thread of the halter that has it as a source. The descriptor may be one
 * that blocks. */
static void ready(struct ring_handler *handler, uint32_t events)
{
	struct vm_event *e = container_of(handler, struct vm_event, handler);
	struct pollfd p = {.events = POLLIN};
	uint64_t n, address;
	uint32_t data;
	bool fired;

	pthread_mutex_lock(&e->lock);
	p.fd = e->fd; /* -1, which poll(2) passes over: removed meanwhile */
	fired = poll(&p, 1, 0) == 1 && read(p.fd, &n, sizeof(n)) == sizeof(n);
	address = e->address;
	data = e->data;
	pthread_mutex_unlock(&e->lock);
	if (fired)
		irq_send_message(e->vm, address, data);
}

static void place(struct vm_event *e, int fd, uint64_t address, uint32_t data)
{
	pthread_mutex_lock(&e->lock);
	e->fd = fd;
	e->address = address;
	e->data = data;
	pthread_mutex_unlock(&e->lock);
}

static struct catnap_halter *home_of(struct catnap_vm *vm, uint64_t address)
{
	struct lapic_msg msg;

	/* One that names several, or one of them, is anybody's. */
	if (!lapic_msi_decode(address, 0, &msg) || msg.logical || msg.dest >= vm->vcpu_count)
		return vm_home(vm, 0);
	return vm_home(vm, msg.dest);
}

/* Puts an event into its place, which is free. The lock is held. */
static int put_event(struct catnap_vm *vm, unsigned int index, int fd, uint64_t address,
		     uint32_t data)
{
	struct vm_event *e = &vm->events[index];
	int ret;

	e->home = home_of(vm, address);
	place(e, fd, address, data);
	if (vm->host.irqchip_user) {
		ret = halter_add_source(e->home, fd, POLLIN, &e->handler);
	} else {
		ret = routes_put(vm, index, &(struct msix_message){address, data});
		if (ret == 0)
			ret = routes_follow(vm, index, fd, true);
		if (ret < 0)
			routes_drop(vm, index);
	}
	if (ret < 0)
		place(e, -1, 0, 0);
	return ret;
}

static bool has_started(struct catnap_vm *vm)
{
	bool started;

	pthread_mutex_lock(&vm->lock);
	started = vm->started;
	pthread_mutex_unlock(&vm->lock);
	return started;
}

int catnap_vm_add_interrupt_event(struct catnap_vm *vm, int fd, uint64_t address, uint32_t data)
{
	int ret = -ENOSPC, free_place = -1;
	struct error err = {.text = ""};
	struct lapic_msg msg;

	if (vm_in_child(vm, "add_interrupt_event"))
		return -EPERM;
	if (!lapic_msi_decode(address, 0, &msg))
		return vm_fail(vm, -EINVAL,
			       "%s: 0x%llx: an interrupt's address is 0xfee00000 and what "
			       "follows",
			       what, (unsigned long long)address);
	if (vm->host.irqchip_user && (!vm->rings_made || !has_started(vm)) &&
	    vm_use_rings(vm, what, &err) < 0)
		return vm_fail(vm, -EINVAL, "%s", err.text);
	pthread_mutex_lock(&vm->lock);
	for (int i = VM_EVENTS - 1; i >= 0; i--) {
		if (vm->events[i].fd < 0)
			free_place = i;
		else if (vm->events[i].fd == fd)
			ret = -EEXIST;
	}
	if (ret == -EEXIST)
		;
	else if (vm->started && vm->cfg.sandbox != CATNAP_SANDBOX_OFF)
		ret = -EPERM; /* the vCPUs' filters are made for what there is at the start */
	else if (free_place >= 0)
		ret = put_event(vm, (unsigned int)free_place, fd, address, data);
	pthread_mutex_unlock(&vm->lock);
	return ret < 0 ? fail(vm, ret, what, fd, VM_EVENTS) : 0;
}

int catnap_vm_del_interrupt_event(struct catnap_vm *vm, int fd)
{
	int ret = -ENOENT;

	if (vm_in_child(vm, "del_interrupt_event"))
		return -EPERM;
	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < VM_EVENTS && fd >= 0; i++) {
		struct vm_event *e = &vm->events[i];

		if (e->fd != fd)
			continue;
		if (vm->host.irqchip_user)
			ret = halter_del_source(e->home, fd, &e->handler);
		else
			ret = routes_follow(vm, i, fd, false);
		if (!vm->host.irqchip_user)
			routes_drop(vm, i);
		place(e, -1, 0, 0);
		break;
	}
	pthread_mutex_unlock(&vm->lock);
	return ret < 0 ? fail(vm, ret, what, fd, VM_EVENTS) : 0;
}

/* -- doorbells -------------------------------------------------------------------------------- */

void catnap_doorbell_init_sized(struct catnap_doorbell *bell, size_t size)
{
	static const struct catnap_doorbell defaults = {.size = 0};

	sized_init(bell, size, &defaults, sizeof(defaults));
}

void(catnap_doorbell_init)(struct catnap_doorbell *bell)
{
	catnap_doorbell_init_sized(bell, sizeof(*bell));
}

static int set_doorbell(struct catnap_vm *vm, const struct vm_doorbell *d, uint32_t flags)
{
	struct kvm_ioeventfd io = {.datamatch = d->bell.value,
				   .addr = d->bell.address,
				   .len = d->bell.len,
				   .fd = d->fd,
				   .flags = flags};

	if (d->bell.port)
		io.flags |= KVM_IOEVENTFD_FLAG_PIO;
	if (d->bell.match)
		io.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
	return ioctl(vm->kvm.vm_fd, KVM_IOEVENTFD, &io) < 0 ? -errno : 0;
}

static const char *doorbell_wrong(const struct catnap_vm *vm, const struct catnap_doorbell *b)
{
	uint32_t len = b && b->len ? b->len : 1;

	if (!b)
		return "doorbell: expected a structure, not NULL";
	if (b->size < sizeof(*b))
		return "doorbell: the structure's size is not this library's";
	if (len > 8 || (len & (len - 1)) || (b->port && len == 8))
		return "doorbell: len: expected 0, 1, 2, 4 or 8 (a port: not 8)";
	if (b->match && !b->len)
		return "doorbell: match: needs a len";
	if (b->port && b->address > 0x10000 - len)
		return "doorbell: address: no such port";
	if (!b->port && (memory_at(&vm->memory, b->address, len) ||
			 memory_area_at(&vm->memory, b->address, len)))
		return "doorbell: address: there is memory";
	return NULL;
}

int catnap_vm_add_doorbell(struct catnap_vm *vm, const struct catnap_doorbell *bell, int *fd)
{
	const char *wrong = doorbell_wrong(vm, bell);
	struct vm_doorbell *d = NULL;
	int ret = 0;

	if (vm_in_child(vm, "add_doorbell"))
		return -EPERM;
	if (wrong)
		return vm_fail(vm, -EINVAL, "%s", wrong);
	if (!fd)
		return vm_no_place(vm, "doorbell: fd");
	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < VM_DOORBELLS && !d; i++)
		if (vm->doorbells[i].fd < 0)
			d = &vm->doorbells[i];
	if (d) {
		d->bell = *bell;
		d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		ret = d->fd < 0 ? -errno : set_doorbell(vm, d, 0);
		if (ret == 0) {
			*fd = d->fd;
		} else if (d->fd >= 0) {
			close(d->fd);
			d->fd = -1;
		}
	} else {
		ret = -ENOSPC;
	}
	pthread_mutex_unlock(&vm->lock);
	return ret < 0 ? fail(vm, ret, "doorbell", -1, VM_DOORBELLS) : 0;
}

int catnap_vm_del_doorbell(struct catnap_vm *vm, int fd)
{
	int ret = -ENOENT;

	if (vm_in_child(vm, "del_doorbell"))
		return -EPERM;
	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < VM_DOORBELLS && fd >= 0; i++) {
		struct vm_doorbell *d = &vm->doorbells[i];

		if (d->fd != fd)
			continue;
		ret = set_doorbell(vm, d, KVM_IOEVENTFD_FLAG_DEASSIGN);
		close(d->fd);
		d->fd = -1;
		break;
	}
	pthread_mutex_unlock(&vm->lock);
	return ret < 0 ? fail(vm, ret, "doorbell", fd, VM_DOORBELLS) : 0;
}

/* -- life ------------------------------------------------------------------------------------- */

void events_init(struct catnap_vm *vm)
{
	for (unsigned int i = 0; i < VM_EVENTS; i++) {
		struct vm_event *e = &vm->events[i];

		e->handler.ready = ready;
		e->vm = vm;
		e->fd = -1;
		pthread_mutex_init(&e->lock, NULL); /* of the default kind: it cannot fail */
	}
	for (unsigned int i = 0; i < VM_DOORBELLS; i++)
		vm->doorbells[i].fd = -1;
}

void events_fini(struct catnap_vm *vm)
{
	for (unsigned int i = 0; i < VM_EVENTS; i++)
		pthread_mutex_destroy(&vm->events[i].lock);
	for (unsigned int i = 0; i < VM_DOORBELLS; i++)
		if (vm->doorbells[i].fd >= 0)
			close(vm->doorbells[i].fd);
}
