/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio devices as parts of the VM: the transport, for virtio-mmio a window and a pin, and who
 * runs them. Devices are added between create and start; hotplug.c has what comes and goes later.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/rng.h"
#include "sized.h"
#include "vmm/irq.h"
#include "vmm/vm.h"

/* Nobody else drives these; first those that are no ISA interrupts. */
static const uint8_t pins[VM_VIRTIO_MAX] = {16, 17, 18, 19, 20, 21, 22, 23,
					    5,	6,  7,	10, 11, 12, 14, 15};

/* Returns the system calls that a device of this type needs, beyond those of every thread:
 * SANDBOX_BIT()s. */
static uint32_t sandbox_features(const struct virtio_device *dev)
{
	uint32_t ring = SANDBOX_BIT(SANDBOX_RING);
	uint32_t limit = SANDBOX_BIT(SANDBOX_TIMER); /* it may get one while it runs */

	if (dev->external)
		return ring | SANDBOX_BIT(SANDBOX_VHOST) | SANDBOX_BIT(SANDBOX_SOCKETS) |
		       SANDBOX_BIT(SANDBOX_TIMER) | SANDBOX_BIT(SANDBOX_EPOLL);
	switch (dev->id) {
	case VIRTIO_ID_BLOCK:
	case VIRTIO_ID_PMEM:
		return ring | limit | SANDBOX_BIT(SANDBOX_FILES);
	case VIRTIO_ID_NET:
		return ring | limit | SANDBOX_BIT(dev->sockets ? SANDBOX_SOCKETS : SANDBOX_TAP);
	case VIRTIO_ID_VSOCK:
		return ring | SANDBOX_BIT(SANDBOX_SOCKETS) | SANDBOX_BIT(SANDBOX_TIMER) |
		       SANDBOX_BIT(SANDBOX_EPOLL);
	default: /* entropy, balloon, console, memory */
		return 0;
	}
}

static void set_pin(void *ctx, bool level)
{
	struct vm_virtio *v = ctx;

	irq_set_pin(v->vm, v->place.pin, level);
}

static void log_message(void *ctx, const char *message)
{
	struct catnap_vm *vm = ctx;

	vm_log(vm, CATNAP_LOG_WARN, message);
}

static void add_event(void *ctx, enum virtio_event event, uint32_t value, const char *text)
{
	static const enum catnap_event_type types[] = {
		[VIRTIO_EVENT_LINK] = CATNAP_EVENT_LINK,
		[VIRTIO_EVENT_NEEDS_RESET] = CATNAP_EVENT_DEVICE_NEEDS_RESET,
		[VIRTIO_EVENT_NO_MEMORY] = CATNAP_EVENT_GUEST_OUT_OF_MEMORY,
	};
	struct vm_virtio *v = ctx;
	struct catnap_event e = history_event(types[event]);

	e.device = v->number;
	e.value = value;
	snprintf(e.text, sizeof(e.text), "%s: %s", v->dev->name, text);
	history_add(&v->vm->history, &e);
}

int vm_make_virtio(struct catnap_vm *vm, struct error *err)
{
	struct virtio_device *dev;
	int ret;

	if (!vm->cfg.rng)
		return 0;
	ret = rng_create(&vm->dma, !vm->cfg.no_rings, &dev);
	if (ret < 0)
		return ret;
	ret = vm_add_virtio(vm, dev, rng_destroy, NULL, err);
	if (ret < 0)
		rng_destroy(dev);
	return ret;
}

/* Attaches a device by a window and a pin. */
static int attach_mmio(struct catnap_vm *vm, struct vm_virtio *v, struct error *err)
{
	unsigned int n = v->number;
	int ret;

	v->place.base = VM_VIRTIO_MMIO_BASE + n * VIRTIO_MMIO_SIZE;
	v->place.pin = pins[n];
	virtio_mmio_init(&v->mmio, v->dev, set_pin, v);
	ret = bus_add(&vm->mmio, v->place.base, VIRTIO_MMIO_SIZE, &virtio_mmio_ops, &v->mmio);
	if (ret < 0)
		return ret;
	vm_bells_move(&v->bells, v->place.base);
	/* In create() everything is described at its end. */
	ret = vm->dtb ? hardware_describe(vm, err) : 0;
	if (ret < 0)
		vm->mmio.count--; /* it was added last */
	return ret;
}

static int attach_limits(struct virtio_device *dev)
{
	int ret = 0;

	for (unsigned int i = 0; i < VIRTIO_THROTTLES && ret == 0; i++)
		if (dev->throttles[i])
			ret = throttle_attach(dev->throttles[i], dev->home);
	if (ret < 0)
		vm_detach_limits(dev);
	return ret;
}

/* Returns one that has a copy of @made; NULL: there is no memory. */
static struct vm_virtio *new_virtio(const struct vm_made *made)
{
	struct vm_virtio *v = calloc(1, sizeof(*v));

	if (!v || !made)
		return v;
	v->made = *made;
	v->made.place = made->place ? strdup(made->place) : NULL;
	if (!made->place || v->made.place)
		return v;
	free(v);
	return NULL;
}

/* Returns the lowest number that no device of this type has. Those with a back end elsewhere have
 * none. */
static uint32_t free_nth(struct catnap_vm *vm, const struct virtio_device *dev)
{
	uint32_t nth = 0;

	if (dev->external)
		return UINT32_MAX;
	for (unsigned int i = 0; i < vm->virtio_count; i++) {
		const struct vm_virtio *v = vm->virtio[i];

		if (!v || v->dev->id != dev->id || v->nth != nth)
			continue;
		nth++;
		i = UINT32_MAX; /* from the first again */
	}
	return nth;
}

/* Gives @v the first free place, and on the PCI bus its slot. Under the lock: *@late says whether
 * the VM was started. */
static int take_place(struct catnap_vm *vm, struct vm_virtio *v, bool *late, struct error *err)
{
	unsigned int n = 0;
	int ret = 0;

	while (n < vm->virtio_count && vm->virtio[n])
		n++;
	*late = vm->started;
	if (vm->ended && vm->started)
		return error_fail(err, -EINVAL, "%s: the VM has ended", v->dev->name);
	if (vm->held)
		return error_fail(err, -EBUSY, "%s: a snapshot is being made", v->dev->name);
	if (n == VM_VIRTIO_MAX)
		return error_fail(err, -ENOSPC, "%s: there are %d devices, which is the most",
				  v->dev->name, VM_VIRTIO_MAX);
	v->number = n;
	v->nth = free_nth(vm, v->dev);
	if (vm->cfg.transport == CATNAP_TRANSPORT_PCI)
		ret = pci_attach(vm, v, *late, err);
	if (ret < 0)
		return ret;
	vm->virtio[n] = v;
	if (n == vm->virtio_count)
		vm->virtio_count++;
	return 0;
}

int vm_add_virtio(struct catnap_vm *vm, struct virtio_device *dev,
		  void (*destroy)(struct virtio_device *dev), const struct vm_made *made,
		  struct error *err)
{
	return vm_add_and_hold(vm, dev, destroy, made, NULL, err);
}

int vm_add_and_hold(struct catnap_vm *vm, struct virtio_device *dev,
		    void (*destroy)(struct virtio_device *dev), const struct vm_made *made,
		    struct vm_virtio **held, struct error *err)
{
	uint32_t features = sandbox_features(dev);
	struct vm_virtio *v;
	bool late;
	int ret;

	if (features & SANDBOX_BIT(SANDBOX_RING)) {
		ret = vm_use_rings(vm, dev->name, err);
		if (ret < 0)
			return ret;
		features &= ~SANDBOX_BIT(SANDBOX_RING); /* it says so by itself, or another */
	}
	v = new_virtio(made);
	if (!v)
		return -ENOMEM;
	v->vm = vm;
	v->dev = dev;
	v->destroy = destroy;
	vm_bells_init(&v->bells, vm, dev);
	dev->io = vm->io ? &vm->io->halter : NULL;
	dev->home = vm_home(vm, 0);
	dev->log = log_message;
	dev->log_ctx = vm;
	dev->tell = add_event;
	dev->tell_ctx = v;
	ret = attach_limits(dev);
	if (ret < 0) {
		vm_free_virtio(v);
		return ret;
	}
	v->users = held ? 2 : 1;
	pthread_mutex_lock(&vm->lock);
	ret = take_place(vm, v, &late, err);
	pthread_mutex_unlock(&vm->lock);
	/* On the PCI bus it is found, and needs no description. */
	if (ret == 0 && vm->cfg.transport == CATNAP_TRANSPORT_MMIO) {
		ret = attach_mmio(vm, v, err);
		if (ret < 0)
			vm->virtio_count--;
	}
	if (ret < 0) {
		vm_bells_move(&v->bells, VM_BELLS_OFF);
		vm_detach_limits(dev);
		vm_free_virtio(v);
	} else if (late) {
		pci_hotplug_came(&vm->hotplug, v->slot);
	} else {
		vm->sandbox_features |= features;
		v->calls = vm_calls_begin(vm, dev);
	}
	if (ret == 0 && held)
		*held = v;
	return ret;
}

void vm_fini_virtio(struct catnap_vm *vm)
{
	for (unsigned int i = 0; i < vm->virtio_count; i++)
		if (vm->virtio[i])
			vm_destroy_virtio(vm->virtio[i]);
	vm->virtio_count = 0;
}

int vm_need_keeper(struct catnap_vm *vm)
{
	int ret;

	if (vm->keeper || vm->cfg.sandbox == CATNAP_SANDBOX_OFF)
		return 0;
	ret = catnap_keeper_start(&vm->keeper, vm->cfg.sandbox, -1, NULL, NULL);
	vm->keeper_own = ret == 0;
	return ret;
}

/* Checks and copies for vm_may_add() and, with @plug, vm_may_plug(). */
static int may_add(struct catnap_vm *vm, const char *what, bool plug, void *to, size_t own,
		   const void *given, size_t least, struct error *err)
{
	const char *wrong = vm_inside(vm);

	if (wrong)
		return error_fail(err, -EDEADLK, "%s: %s", what, wrong);
	pthread_mutex_lock(&vm->lock);
	if (vm->started && !plug)
		wrong = "the VM was started before";
	else if (vm->started && !vm->cfg.hotplug)
		wrong = "the VM was started before: expected one that was made with hotplug";
	else if (vm->ended)
		wrong = vm->started ? "the VM has ended"
				    : "the VM was stopped before it was started";
	pthread_mutex_unlock(&vm->lock);
	if (wrong)
		return error_fail(err, -EINVAL, "%s: %s", what, wrong);
	if (!given)
		return error_fail(err, -EINVAL, "%s: expected a structure, not NULL", what);
	if (sized_in(to, own, given, least) < 0)
		return error_fail(err, -EINVAL, "%s: the structure's size is not this library's",
				  what);
	return 0;
}

int vm_may_add(struct catnap_vm *vm, const char *what, void *to, size_t own, const void *given,
	       size_t least, struct error *err)
{
	return may_add(vm, what, false, to, own, given, least, err);
}

int vm_may_plug(struct catnap_vm *vm, const char *what, void *to, size_t own, const void *given,
		size_t least, struct error *err)
{
	return may_add(vm, what, true, to, own, given, least, err);
}

/* Returns the @n-th device of this type. It stays as it is only if it is none that can be removed,
 * or the VM's threads do not run. */
static struct vm_virtio *nth(struct catnap_vm *vm, uint16_t id, uint32_t n)
{
	struct vm_virtio *v = vm_get(vm, id, n);

	if (v)
		vm_put(v);
	return v;
}

struct vm_made *vm_nth_made(struct catnap_vm *vm, uint16_t id, uint32_t n)
{
	struct vm_virtio *v = nth(vm, id, n);

	return v ? &v->made : NULL;
}

struct virtio_device *vm_nth_virtio(struct catnap_vm *vm, uint16_t id, uint32_t n)
{
	struct vm_virtio *v = nth(vm, id, n);

	return v ? v->dev : NULL;
}

struct virtio_device *vm_find_virtio(struct catnap_vm *vm, uint16_t id)
{
	return vm_nth_virtio(vm, id, 0);
}

_Static_assert(CATNAP_MAX_REFILL_NS == RATE_REFILL_MAX_NS, "what the header says");

static int take_bucket(struct rate_bucket *to, const char *what, const char *which,
		       const struct catnap_bucket *from, struct error *err)
{
	*to = (struct rate_bucket){from->size, from->one_time_burst, from->refill_ns};
	if (from->refill_ns <= RATE_REFILL_MAX_NS)
		return 0;
	return error_fail(err, -EINVAL,
			  "%s: %s: refill_ns: %llu is out of range: expected at most "
			  "%llu",
			  what, which, (unsigned long long)from->refill_ns,
			  (unsigned long long)RATE_REFILL_MAX_NS);
}

int vm_rate_limits(struct rate_limits *to, const char *what, const struct catnap_rate_limit *from,
		   struct error *err)
{
	int ret = take_bucket(&to->bw, what, "bw", &from->bw, err);

	return ret < 0 ? ret : take_bucket(&to->ops, what, "ops", &from->ops, err);
}

int vm_prepare_rng_limit(struct catnap_vm *vm, struct error *err)
{
	const uint32_t rings = SANDBOX_BIT(SANDBOX_RING) | SANDBOX_BIT(SANDBOX_POLL);
	bool started;
	int ret;

	pthread_mutex_lock(&vm->lock);
	started = vm->started || vm->ended;
	pthread_mutex_unlock(&vm->lock);
	if (!started) {
		ret = vm_use_rings(vm, "rng", err);
		if (ret == 0)
			vm->sandbox_features |= SANDBOX_BIT(SANDBOX_TIMER);
		return ret;
	}
	if (vm->sandbox_features & rings && vm->sandbox_features & SANDBOX_BIT(SANDBOX_TIMER))
		return 0;
	return error_fail(err, -ENOTSUP,
			  "rng: nothing waits for a limit in this VM: expected one "
			  "before the start, or a disk or a network interface");
}

static int set_rng_limit(struct catnap_vm *vm, const struct catnap_rate_limit *limit,
			 struct error *err)
{
	struct virtio_device *dev = vm_find_virtio(vm, VIRTIO_ID_RNG);
	struct rate_limits limits;
	int ret;

	if (!limit)
		return error_fail(err, -EINVAL, "rng: expected a structure, not NULL");
	if (!dev)
		return error_fail(err, -ENOENT, "rng: there is none");
	ret = vm_rate_limits(&limits, "rng", limit, err);
	if (ret == 0 && rate_limits_any(&limits))
		ret = vm_prepare_rng_limit(vm, err);
	if (ret == 0)
		ret = rng_set_limits(dev, &limits);
	if (ret == 0)
		vm_nth_made(vm, VIRTIO_ID_RNG, 0)->rng = *limit;
	return ret;
}

int catnap_vm_set_rng_limit(struct catnap_vm *vm, const struct catnap_rate_limit *limit)
{
	struct error err = {.text = ""};

	if (vm_in_child(vm, "set_rng_limit"))
		return -EPERM;
	return vm_added(vm, "rng", set_rng_limit(vm, limit, &err), &err);
}
