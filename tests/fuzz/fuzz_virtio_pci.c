/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is a list of what a driver can do to a virtio device on PCI: accesses of any width to
 * its registers, its configuration space with the window in it, its MSI-X table, and writes to
 * guest memory. Beside the sanitizers: a reset is complete when the status reads as 0, and leaves
 * nothing behind; status bits go by reset alone; messages are sent for vectors that were given out.
 */

#include "fuzz.h"
#include "devices/pci/bus.h"
#include "devices/virtio/pci.h"

#define QUEUES		3
#define QUEUE_MAX	8
#define GUEST_SIZE	0x4000u
#define STATUS		20
#define CHAIN_MAX	4
#define RINGS(queue)	(0x400u * (queue)) /* as start() places them */
#define MSIX_CAPABILITY 0x40u

struct vm {
	struct virtio_device dev; /* first */
	struct bus pio, mmio;
	struct pci_bus pci;
	struct virtio_pci t;
	struct dma dma;
	uint8_t *guest;
	uint8_t config[12];
	unsigned int window; /* where its capability is */
	/* Chains that were taken and are not done. */
	struct {
		uint16_t head, queue;
	} waiting[QUEUES * QUEUE_MAX];
	unsigned int waiting_count;
};

static void *guest_at(void *ctx, uint64_t gpa, uint64_t len)
{
	struct vm *vm = ctx;

	return len && gpa < GUEST_SIZE && len <= GUEST_SIZE - gpa ? vm->guest + gpa : NULL;
}

static void on_message(void *ctx, uint64_t address, uint32_t data)
{
	struct vm *vm = ctx;

	check(vm->t.msix.enabled);
}

/* Takes chains, and writes all over those that it keeps until later. */
static void model_kick(struct virtio_device *dev, unsigned int index)
{
	struct vm *vm = (struct vm *)dev;
	struct virtqueue *q = &dev->queues[index].vq;
	struct iovec iov[CHAIN_MAX];
	struct vq_chain c = {.iov = iov, .max = CHAIN_MAX};
	int ret = 0;

	pthread_mutex_lock(&q->lock);
	while (q->enabled && atomic_load(&dev->running) && (ret = vq_pop(q, &c)) > 0) {
		check(c.out + c.in <= CHAIN_MAX);
		for (unsigned int i = c.out; i < (unsigned int)c.out + c.in; i++)
			memset(iov[i].iov_base, 0x5a, iov[i].iov_len);
		check(vm->waiting_count < QUEUES * QUEUE_MAX);
		vm->waiting[vm->waiting_count].head = c.head;
		vm->waiting[vm->waiting_count++].queue = (uint16_t)index;
		virtio_request_begin(dev);
	}
	if (ret < 0)
		virtio_broken(dev, "a chain");
	pthread_mutex_unlock(&q->lock);
}

static void finish(struct vm *vm)
{
	struct virtqueue *q;
	unsigned int queue;

	if (!vm->waiting_count)
		return;
	vm->waiting_count--;
	queue = vm->waiting[vm->waiting_count].queue;
	q = &vm->dev.queues[queue].vq;
	pthread_mutex_lock(&q->lock);
	vq_push(q, vm->waiting[vm->waiting_count].head, 1);
	virtio_publish(&vm->dev, queue);
	pthread_mutex_unlock(&q->lock);
	virtio_request_end(&vm->dev);
}

static void model_stop(struct virtio_device *dev)
{
	struct vm *vm = (struct vm *)dev;

	while (vm->waiting_count)
		finish(vm);
}

static void model_reset(struct virtio_device *dev)
{
	check(!atomic_load(&dev->inflight));
}

static const struct virtio_ops model_ops = {
	.kick = model_kick, .stop = model_stop, .reset = model_reset};

static uint64_t access_to(struct vm *vm, struct bus *bus, uint64_t addr, bool write, uint64_t value,
			  unsigned int len)
{
	uint8_t bytes[8];

	memcpy(bytes, &value, sizeof(bytes));
	if (write)
		bus_write(bus, addr, bytes, len);
	else
		bus_read(bus, addr, bytes, len);
	memcpy(&value, bytes, sizeof(bytes));
	return value;
}

static void check_all(struct vm *vm, uint8_t status)
{
	uint8_t now = virtio_status(&vm->dev);

	check(now == 0 || !(status & ~now));
	check(!atomic_load(&vm->dev.running) == !(now & VIRTIO_STATUS_DRIVER_OK));
	if (!now)
		check(!vm->waiting_count && !atomic_load(&vm->dev.inflight));
	if (!now && status) {
		for (unsigned int i = 0; i < QUEUES; i++) {
			check(!vm->dev.queues[i].vq.enabled);
			check(vm->dev.queues[i].vq.size == QUEUE_MAX);
			check(atomic_load(&vm->t.queue_vectors[i]) == 0xffff);
		}
		check(atomic_load(&vm->t.config_vector) == 0xffff && !atomic_load(&vm->t.isr));
	}
	for (unsigned int i = 0; i < QUEUES; i++) {
		uint16_t v = atomic_load(&vm->t.queue_vectors[i]);

		check(v <= QUEUES || v == 0xffff);
	}
}

static void make(struct vm *vm)
{
	memset(vm, 0, sizeof(*vm));
	vm->guest = calloc(1, GUEST_SIZE);
	vm->dma = (struct dma){guest_at, vm};
	vm->dev.ops = &model_ops;
	vm->dev.id = 2;
	vm->dev.config = vm->config;
	vm->dev.config_len = sizeof(vm->config);
	vm->dev.queue_count = QUEUES;
	vm->dev.dma = &vm->dma;
	check(vm->guest && virtio_init(&vm->dev, QUEUE_MAX) == 0);
	check(pci_bus_init(&vm->pci, &vm->pio, &vm->mmio) == 0);
	check(virtio_pci_init(&vm->t, &vm->dev, on_message, vm) == 0);
	check(pci_bus_plug(&vm->pci, &vm->t.function) == 1);
	check(vm->t.function.config[MSIX_CAPABILITY] == 0x11);
	vm->window = vm->t.function.cap_last;
	check(vm->t.function.config[vm->window + 3] == 5);
}

/* A queue as a driver would set it up, at a place of its own; and the device is on. */
static void start(struct vm *vm, uint64_t bar)
{
	static const uint8_t status[] = {0, 1, 3, 11};

	for (unsigned int i = 0; i < sizeof(status); i++) {
		if (status[i] == 11) {
			access_to(vm, &vm->mmio, bar + 8, true, 1, 4);
			access_to(vm, &vm->mmio, bar + 12, true, 1, 4);
		}
		access_to(vm, &vm->mmio, bar + STATUS, true, status[i], 1);
	}
	for (unsigned int i = 0; i < QUEUES; i++) {
		access_to(vm, &vm->mmio, bar + 22, true, i, 2);
		access_to(vm, &vm->mmio, bar + 26, true, i, 2);
		access_to(vm, &vm->mmio, bar + 32, true, 0x400 * i, 8);
		access_to(vm, &vm->mmio, bar + 40, true, 0x400 * i + 0x100, 8);
		access_to(vm, &vm->mmio, bar + 48, true, 0x400 * i + 0x200, 8);
		access_to(vm, &vm->mmio, bar + 28, true, 1, 2);
	}
	access_to(vm, &vm->mmio, bar + STATUS, true, 15, 1);
}

/* A chain of one or two descriptors, one of them perhaps an indirect table, is available. */
static void offer(struct vm *vm, unsigned int queue, uint8_t how)
{
	uint8_t *rings = vm->guest + RINGS(queue);
	uint16_t head = how & 3, idx;

	for (uint16_t i = 0; i < 2; i++) {
		uint64_t addr = 0x1000 + 0x100u * how;
		uint32_t len = 1 + (how & 0x7fu);
		uint16_t flags = i ? 2 : (uint16_t)(1 | (how >> 6 & 2)), next = (head + 1) & 7;

		if (i && (how & 0x40)) {
			flags = 4;
			len = 16;
		}
		memcpy(rings + 16 * ((head + i) & 7), &addr, 8);
		memcpy(rings + 16 * ((head + i) & 7) + 8, &len, 4);
		memcpy(rings + 16 * ((head + i) & 7) + 12, &flags, 2);
		memcpy(rings + 16 * ((head + i) & 7) + 14, &next, 2);
	}
	memcpy(&idx, rings + 0x102, 2);
	memcpy(rings + 0x104 + 2 * (idx % QUEUE_MAX), &head, 2);
	idx++;
	memcpy(rings + 0x102, &idx, 2);
}

/* Does what a driver does rather than what is possible: rare by chance. */
static void drive(struct vm *vm, uint64_t config, uint64_t bar, uint64_t table, uint8_t how,
		  uint8_t what)
{
	unsigned int queue = how % QUEUES;

	switch (how >> 2 & 7) {
	case 0:
		start(vm, bar);
		break;
	case 1:
		virtio_config_changed(&vm->dev);
		break;
	case 2:
	case 3:
		offer(vm, queue, what);
		access_to(vm, &vm->mmio, bar + VIRTIO_PCI_NOTIFY + 4 * queue, true, 0, 2);
		break;
	case 4: /* interrupts */
		access_to(vm, &vm->mmio, config + 4, true, 6, 2);
		access_to(vm, &vm->mmio, config + MSIX_CAPABILITY + 2, true, 0x8000, 2);
		access_to(vm, &vm->mmio, table + 16 * queue, true, 0xfee00000, 8);
		access_to(vm, &vm->mmio, table + 16 * queue + 8, true, what, 8);
		break;
	default: /* the window: where to, and there */
		access_to(vm, &vm->mmio, config + vm->window + 4, true, how >> 6 & 2, 1);
		access_to(vm, &vm->mmio, config + vm->window + 8, true,
			  (how & 1 ? VIRTIO_PCI_NOTIFY : 0) + (what & 0x3cu), 4);
		access_to(vm, &vm->mmio, config + vm->window + 12, true, 1u << (what & 3), 4);
		access_to(vm, &vm->mmio, config + vm->window + 16, what & 0x80, what, 4);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t config = PCI_ECAM_BASE + 0x8000;
	static struct vm vm;
	uint8_t status = 0;

	make(&vm);
	while (size) {
		uint8_t op = (uint8_t)fuzz_take(&data, &size, 1);
		unsigned int len = 1u << (op >> 3 & 3);
		bool write = op & 0x20;
		uint64_t bar = atomic_load(&vm.t.function.bars[VIRTIO_PCI_BAR].base);
		uint64_t table = atomic_load(&vm.t.function.bars[VIRTIO_PCI_MSIX_BAR].base);
		uint64_t addr;

		switch (op & 7) {
		case 0: /* common configuration */
			addr = bar + fuzz_take(&data, &size, 1) % 64;
			break;
		case 1:
			addr = bar + (fuzz_take(&data, &size, 2) & 0x3fff);
			break;
		case 2: /* doorbells */
			addr = bar + VIRTIO_PCI_NOTIFY +
			       fuzz_take(&data, &size, 1) % (4 * QUEUES + 4);
			break;
		case 3:
			addr = config + fuzz_take(&data, &size, 1);
			break;
		case 4:
			addr = table + fuzz_take(&data, &size, 1) % 128;
			break;
		case 5: /* the guest's memory: rings and what they lead to */
			addr = fuzz_take(&data, &size, 2) % (GUEST_SIZE - 8);
			if (op & 0x40) /* in the rings */
				addr = addr % 0xc00;
			for (unsigned int i = 0; i < len; i++)
				vm.guest[addr + i] = (uint8_t)fuzz_take(&data, &size, 1);
			continue;
		case 6:
			finish(&vm);
			continue;
		default:
			len = (unsigned int)fuzz_take(&data, &size, 1);
			drive(&vm, config, bar, table, (uint8_t)len,
			      (uint8_t)fuzz_take(&data, &size, 1));
			status = virtio_status(&vm.dev);
			check_all(&vm, status);
			continue;
		}
		access_to(&vm, &vm.mmio, addr, write, write ? fuzz_take(&data, &size, len) : 0,
			  len);
		check_all(&vm, status);
		status = virtio_status(&vm.dev);
	}
	virtio_set_status(&vm.dev, 0);
	check_all(&vm, 0);
	virtio_pci_fini(&vm.t);
	pci_bus_fini(&vm.pci);
	virtio_fini(&vm.dev);
	free(vm.guest);
	return 0;
}
