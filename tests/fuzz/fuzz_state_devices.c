/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices in a snapshot that somebody has changed. The input says what a driver does with a device,
 * at which moment that is saved, which bytes of the sections become others, and what the driver does
 * with the device that was made of them. Or it is the payload of a section itself, for devices
 * without a driver's queues. Beside what the sanitizers see: a load that fails says why; one that
 * does not leaves a device that can be saved, and that a reset takes back to its beginning; and
 * what was not changed is taken, and is the same when it is saved again.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/control.h"
#include "devices/ioapic.h"
#include "devices/pci/bus.h"
#include "devices/power.h"
#include "devices/serial.h"
#include "devices/virtio/balloon.h"
#include "devices/virtio/pmem.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/console.h"
#include "devices/virtio/mmio.h"
#include "devices/virtio/net.h"
#include "devices/virtio/pci.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/vsock_impl.h"
#include "fuzz_vdev.h"

#define IMAGE	  32768
#define TRANSPORT STATE_ID('t', 'r', 'n', 's')
#define BUS	  STATE_ID('p', 'c', 'i', 'b')

enum kind { BLK, NET, CONSOLE, BALLOON, RNG, VSOCK, PMEM, KINDS };

static const unsigned int queues[KINDS] = {1, 3, 2, 5, 1, 3, 1};

/* A device, and what is around it. */
struct machine {
	enum kind kind;
	bool on_pci;
	struct virtio_device *dev;
	struct net *net;
	struct console *console;
	struct balloon *balloon;
	struct vsock *vsock;
	int fds[2];
	char path[64];
	struct bus pio, mmio;
	struct pci_bus pci;
	struct virtio_pci vpci;
	struct virtio_mmio vmmio;
};

static void output(void *ctx, const void *data, size_t len)
{
	check(len > 0);
}

static void release(void *ctx, void *host, uint64_t len)
{
	memset(host, 0, len);
}

static void on_message(void *ctx, uint64_t address, uint32_t data)
{
}

static void set_input(void *ctx, unsigned int input, bool level)
{
}

static void set_pin(void *ctx, bool level)
{
}

static void make_blk(struct machine *m, struct vdev *v)
{
	struct blk_config cfg = {.queues = 1, .id = "fuzz", .limits = fuzz_limits(0x44)};
	struct error err;

	m->fds[0] = memfd_create("fuzz", MFD_CLOEXEC);
	check(m->fds[0] >= 0 && ftruncate(m->fds[0], IMAGE) == 0);
	snprintf(m->path, sizeof(m->path), "/proc/self/fd/%d", m->fds[0]);
	cfg.path = m->path;
	check(blk_create(&cfg, &v->g.dma, &m->dev, &err) == 0);
	m->dev->home = &v->home;
}

static void make_pmem(struct machine *m, struct vdev *v)
{
	struct pmem_config cfg = {
		.given = true, .path = "a descriptor", .limits = fuzz_limits(0x44)};
	struct error err;

	m->fds[0] = memfd_create("fuzz", MFD_CLOEXEC);
	check(m->fds[0] >= 0 && ftruncate(m->fds[0], IMAGE) == 0);
	cfg.fd = m->fds[0];
	check(pmem_create(&cfg, &v->g.dma, &m->dev, &err) == 0);
	pmem_place(m->dev, UINT64_C(1) << 32, PMEM_ALIGN);
	m->dev->home = &v->home;
}

static void make_net(struct machine *m, struct vdev *v)
{
	struct net_config cfg = {
		.pairs = 1, .mtu = 1500, .dma = &v->g.dma, .tx_limits = fuzz_limits(0x22)};
	struct catnap_halter *home = &v->home;

	check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, m->fds) == 0);
	cfg.fds = m->fds;
	check(net_create(&cfg, &m->net) == 0);
	m->dev = net_device(m->net);
	net_attach(m->net, &home);
}

static void make_vsock(struct machine *m, struct vdev *v)
{
	struct vsock_config cfg = {.cid = 3, .path = m->path, .dma = &v->g.dma};
	struct error err;

	snprintf(m->path, sizeof(m->path), "/tmp/fuzz-state.%d", (int)getpid());
	check(vsock_create(&cfg, &m->vsock, &err) == 0);
	m->dev = vsock_device(m->vsock);
	check(vsock_attach(m->vsock, &v->home) == 0);
}

static void make_device(struct machine *m, struct vdev *v)
{
	struct console_config console = {.output = output, .dma = &v->g.dma};
	struct balloon_config balloon = {
		.release = release, .deflate_on_oom = true, .dma = &v->g.dma};

	switch (m->kind) {
	case BLK:
		make_blk(m, v);
		break;
	case PMEM:
		make_pmem(m, v);
		break;
	case NET:
		make_net(m, v);
		break;
	case CONSOLE:
		check(console_create(&console, &m->console) == 0);
		m->dev = console_device(m->console);
		console_attach(m->console, &v->home);
		break;
	case BALLOON:
		check(balloon_create(&balloon, &m->balloon) == 0);
		m->dev = balloon_device(m->balloon);
		balloon_attach(m->balloon, &v->home);
		break;
	case RNG:
		check(rng_create(&v->g.dma, true, &m->dev) == 0);
		m->dev->home = &v->home;
		break;
	default:
		make_vsock(m, v);
		break;
	}
}

static void make(struct machine *m, enum kind kind, bool on_pci, struct vdev *v)
{
	memset(m, 0, sizeof(*m));
	m->kind = kind;
	m->on_pci = on_pci;
	m->fds[0] = m->fds[1] = -1;
	make_device(m, v);
	vdev_use(v, m->dev);
	for (int i = 0; i < VIRTIO_THROTTLES; i++)
		if (m->dev->throttles[i])
			check(throttle_attach(m->dev->throttles[i], &v->home) == 0);
	if (on_pci) {
		check(pci_bus_init(&m->pci, &m->pio, &m->mmio) == 0);
		pci_bus_route_intx(&m->pci, set_input, m);
		check(virtio_pci_init(&m->vpci, m->dev, on_message, m) == 0);
		check(pci_bus_plug(&m->pci, &m->vpci.function) == 1);
	} else {
		virtio_mmio_init(&m->vmmio, m->dev, set_pin, m);
	}
}

static void unmake(struct machine *m, struct vdev *v)
{
	virtio_set_status(m->dev, 0);
	if (m->kind == VSOCK)
		halter_del_source(&v->home, m->vsock->epoll_fd, &m->vsock->handler);
	for (int i = 0; i < VIRTIO_THROTTLES; i++)
		if (m->dev->throttles[i])
			throttle_detach(m->dev->throttles[i]);
	vdev_again(v);
	if (m->on_pci) {
		virtio_pci_fini(&m->vpci);
		pci_bus_fini(&m->pci);
	}
	switch (m->kind) {
	case BLK:
		blk_destroy(m->dev);
		break;
	case PMEM:
		pmem_destroy(m->dev);
		break;
	case NET:
		net_destroy(&m->net);
		break;
	case CONSOLE:
		console_destroy(&m->console);
		break;
	case BALLOON:
		balloon_destroy(&m->balloon);
		break;
	case RNG:
		rng_destroy(m->dev);
		break;
	default:
		vsock_destroy(&m->vsock);
		break;
	}
	for (int i = 0; i < 2; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
}

static void save(struct machine *m, struct state_writer *w)
{
	struct error err = {.text = ""};

	state_writer_init(w);
	check(virtio_save(m->dev, 0, w, &err) == 0);
	state_begin(w, TRANSPORT, 0, 1);
	if (m->on_pci)
		virtio_pci_save(&m->vpci, w);
	else
		virtio_mmio_save(&m->vmmio, w);
	check(state_end(w) == 0);
	if (m->on_pci) {
		state_begin(w, BUS, 0, 1);
		pci_bus_save(&m->pci, w);
		check(state_end(w) == 0);
	}
	check(state_seal(w) == 0);
}

static int load(struct machine *m, struct state_reader *r, struct error *err)
{
	struct state_in in;
	int ret = 0;

	if (m->on_pci) {
		ret = state_find(r, BUS, 0, 1, &in, err);
		if (ret == 0)
			ret = pci_bus_load(&m->pci, &in, err);
	}
	if (ret == 0)
		ret = virtio_load(m->dev, 0, r, err);
	if (ret == 0)
		ret = state_find(r, TRANSPORT, 0, 1, &in, err);
	if (ret == 0)
		ret = m->on_pci ? virtio_pci_load(&m->vpci, &in, err)
				: virtio_mmio_load(&m->vmmio, &in, err);
	if (ret < 0)
		return ret;
	if (m->on_pci)
		pci_function_update_intx(&m->vpci.function);
	else
		virtio_mmio_drive(&m->vmmio);
	return virtio_restored(m->dev, err);
}

/* The sections of @from, with some bytes as the input says. Returns whether any is another one. */
static bool change(struct fuzz *f, const struct state_writer *from, struct state_writer *to)
{
	unsigned int changes = fuzz_u8(f) % 8, which[8];
	struct state_reader r;
	struct error err;
	uint16_t at[8];
	uint8_t value[8];
	bool changed = false;

	check(state_open(&r, from->data, from->len, &err) == 0);
	for (unsigned int i = 0; i < changes; i++) {
		which[i] = fuzz_u8(f) % r.count;
		at[i] = fuzz_u16(f);
		value[i] = fuzz_u8(f);
	}
	state_writer_init(to);
	for (uint32_t n = 0; n < r.count; n++) {
		const struct state_section *s = &r.sections[n];
		size_t payload;

		state_begin(to, s->id, s->instance, s->version);
		payload = to->len;
		state_put_bytes(to, s->payload, s->len);
		for (unsigned int i = 0; i < changes; i++)
			if (which[i] == n && at[i] < s->len) {
				changed |= to->data[payload + at[i]] != value[i];
				to->data[payload + at[i]] = value[i];
			}
		check(state_end(to) == 0);
	}
	check(state_seal(to) == 0);
	state_close(&r);
	return changed;
}

static void from_host(struct fuzz *f, void *ctx)
{
	struct machine *m = ctx;
	uint8_t bytes[256] = {0}, what = fuzz_u8(f);

	if (m->kind == NET)
		(void)!send(m->fds[1], bytes, what % sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
	else if (m->kind == CONSOLE)
		console_input(m->console, bytes, what);
	else if (m->kind == BALLOON)
		balloon_set_target(m->balloon, (uint64_t)what * BALLOON_PAGE);
}

/* The driver's registers, wherever they may be now. */
static void access_registers(struct fuzz *f, struct machine *m)
{
	uint64_t at = fuzz_u16(f), value = fuzz_u16(f);
	uint8_t how = fuzz_u8(f);
	unsigned int len = 1u << (how & 3);
	const struct pci_bar *b = &m->vpci.function.bars[how & 4 ? 2 : 0];

	if (!m->on_pci) {
		at &= 0x1f8;
		/* The device status is for fuzz_reset() to write. */
		if (how & 8 && at != 0x70)
			virtio_mmio_ops.write(&m->vmmio, at, &value, 4);
		else
			virtio_mmio_ops.read(&m->vmmio, at, &value, 4);
		return;
	}
	at = how & 16 ? PCI_ECAM_BASE + (at & 0x8fff) : atomic_load(&b->base) + (at & 0x3fff);
	at &= ~(uint64_t)(len - 1);
	if (how & 8 && (how & 16 || (at & 0x3fff) > 0x20))
		bus_write(&m->mmio, at, &value, len);
	else
		bus_read(&m->mmio, at, &value, len);
}

/* One step of the driver's or the host's. */
static void step(struct fuzz *f, struct machine *m)
{
	switch (fuzz_u8(f) % 12) {
	case 0:
		fuzz_write(f);
		break;
	case 1:
		fuzz_config(f);
		break;
	case 2:
	case 3:
		from_host(f, m);
		break;
	case 4:
		vdev_turn(f->v);
		break;
	case 5:
	case 6:
		virtio_kick(m->dev, fuzz_u8(f) % (f->queues + 1));
		break;
	case 7:
	case 8:
		access_registers(f, m);
		break;
	default:
		fuzz_offer(f);
		break;
	}
}

/* Nothing may be under way in a pause: so the owner has served all. */
static void settle(struct fuzz *f)
{
	for (int i = 0; i < 3; i++)
		vdev_turn(f->v);
	check(halter_drain(&f->v->home, false) == 0);
}

static void virtio_devices(struct fuzz *f, uint8_t first)
{
	enum kind kind = (enum kind)(first % KINDS);
	struct error err = {.text = ""};
	struct state_writer saved, given, again;
	struct state_reader r;
	struct machine m;
	bool changed;
	int ret;

	make(&m, kind, first & 0x80, f->v);
	f->queues = queues[kind];
	f->features = m.dev->offered & 0xfffffff;
	f->host = from_host;
	f->ctx = &m;
	fuzz_start(f);
	for (unsigned int steps = fuzz_u8(f) % 16; steps; steps--)
		step(f, &m);
	settle(f);
	if (atomic_load(&m.dev->inflight)) {
		unmake(&m, f->v);
		return;
	}
	save(&m, &saved);
	changed = change(f, &saved, &given);
	unmake(&m, f->v);
	make(&m, kind, first & 0x80, f->v);
	check(state_open(&r, given.data, given.len, &err) == 0);
	ret = load(&m, &r, &err);
	check(ret <= 0 && (ret == 0) == (err.text[0] == '\0'));
	check(ret == 0 || changed);
	if (ret == 0) {
		settle(f);
		while (f->size)
			step(f, &m);
		settle(f);
		if (!atomic_load(&m.dev->inflight)) {
			save(&m, &again);
			state_writer_fini(&again);
		}
		fuzz_reset(f);
	}
	state_close(&r);
	state_writer_fini(&saved);
	state_writer_fini(&given);
	unmake(&m, f->v);
}

/* -- devices without queues: the input is a section ------------------------------------------- */

static struct lapic lapics[1];
static struct lapic *lapic_of[1] = {lapics};

static void drive_lapic(struct lapic *l)
{
	uint64_t now = 1000;

	for (int i = 0; i < 64; i++) {
		int vector;

		lapic_collect(l);
		lapic_timer_run(l, now);
		vector = lapic_pending_vector(l);
		check(vector == -1 || (vector >= 16 && vector < 256));
		if (vector >= 0)
			lapic_accept(l, (uint8_t)vector);
		if (i & 1)
			lapic_eoi(l);
		now = lapic_deadline(l) < now ? now : clock_add(now, 100000);
		for (uint32_t at = 0; at < LAPIC_MMIO_SIZE; at += 16) {
			uint32_t value;

			lapic_mmio_read(l, at, &value, 4, now);
		}
	}
}

static int load_plain(uint8_t which, struct state_in *in, struct error *err)
{
	static const struct clock clock = {.tsc = true,
					   .khz = 1000000,
					   .to_ns = UINT64_C(1) << 32,
					   .to_ticks = UINT64_C(1) << 32};
	struct lapic_bus bus = {.lapics = lapic_of, .count = 1};
	struct control control = {.event = NULL};
	struct power power = {.off = NULL};
	struct serial serial;
	struct ioapic io;
	int ret;

	lapic_init(lapics, &bus, 0, true, &clock);
	switch (which % 5) {
	case 0:
		lapics[0].tsc_deadline_offered = true;
		lapics[0].tsc_offset = 12345;
		ret = lapic_load(lapics, in, 1000, err);
		if (ret == 0)
			drive_lapic(lapics);
		return ret;
	case 1:
		check(ioapic_init(&io, &bus) == 0);
		ret = ioapic_load(&io, in, err);
		for (unsigned int i = 0; ret == 0 && i < 512; i++) {
			ioapic_set_pin(&io, i % IOAPIC_PINS, i & 64);
			ioapic_eoi(&io, (uint8_t)i);
		}
		ioapic_destroy(&io);
		return ret;
	case 2:
		check(serial_init(&serial) == 0);
		ret = serial_load(&serial, in, err);
		for (unsigned int i = 0; ret == 0 && i < 256; i++) {
			uint8_t value = (uint8_t)i;

			serial_ops.read(&serial, i % 8, &value, 1);
			serial_input(&serial, "text", i % 4);
		}
		serial_destroy(&serial);
		return ret;
	case 3:
		return control_load(&control, in, err);
	default:
		return power_load(&power, in, 1000, err);
	}
}

static void plain_devices(struct fuzz *f, uint8_t which)
{
	struct error err = {.text = ""};
	struct state_writer w;
	struct state_reader r;
	struct state_in in;
	int ret;

	state_writer_init(&w);
	state_begin(&w, TRANSPORT, 0, 1);
	state_put_bytes(&w, f->data, f->size);
	check(state_end(&w) == 0 && state_seal(&w) == 0);
	check(state_open(&r, w.data, w.len, &err) == 0);
	check(state_find(&r, TRANSPORT, 0, 1, &in, &err) == 0);
	ret = load_plain(which, &in, &err);
	check(ret <= 0 && (ret == 0) == (err.text[0] == '\0'));
	state_close(&r);
	state_writer_fini(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {.data = data, .size = size, .v = fuzz_vdev()};
	uint8_t first = fuzz_u8(&f);

	if (first & 0x40)
		plain_devices(&f, first);
	else
		virtio_devices(&f, first);
	return 0;
}
