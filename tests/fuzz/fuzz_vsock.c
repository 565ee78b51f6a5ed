/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device, with programs on the host that listen, connect, talk and go away. */
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/virtio/vsock_impl.h"
#include "fuzz_vdev.h"

#define CID   3
#define PORT  1
#define CONNS 6

struct host {
	struct vsock *vs;
	char path[64];
	int listening, conns[CONNS];
	unsigned int next;
};

/* Of the device itself, or of the port that the guest connects to. */
static struct sockaddr_un address(const char *path, bool port)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	if (port)
		snprintf(at.sun_path, sizeof(at.sun_path), "%s_%d", path, PORT);
	else
		snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	return at;
}

static void keep(struct host *h, int fd)
{
	int *place = &h->conns[h->next++ % CONNS];

	if (*place >= 0)
		close(*place);
	*place = fd;
}

/* A packet to the device whose header makes sense, which bytes alone seldom do. */
static void packet(struct fuzz *f)
{
	struct vsock_hdr h = {.src_cid = CID,
			      .dst_cid = VSOCK_CID_HOST,
			      .src_port = fuzz_u8(f) % 4,
			      .dst_port = PORT,
			      .type = VSOCK_TYPE_STREAM,
			      .op = fuzz_u8(f) % 9};
	uint8_t more = fuzz_u8(f);
	uint32_t at = FUZZ_MEMORY - 8192;

	if (more & 1)
		h.dst_port = VSOCK_HOST_PORTS + (more >> 1) % 4;
	if (more & 8)
		h.len = fuzz_len(f);
	h.flags = more >> 4 & 3;
	h.buf_alloc = fuzz_len(f);
	h.fwd_cnt = more & 0x40 ? fuzz_u8(f) : 0;
	if (f->reset)
		return;
	memcpy(f->v->g.mem + at, &h, sizeof(h));
	if (f->v->q[VSOCK_TX].size)
		vdev_offer1(f->v, VSOCK_TX, GUEST_BASE + at,
			    (uint32_t)sizeof(h) + (h.len < 8000 ? h.len : 8000), false);
	virtio_kick(f->v->dev, VSOCK_TX);
}

/* As if @seconds had gone by. */
static void later(struct vsock *vs, uint8_t seconds)
{
	pthread_mutex_lock(&vs->lock);
	vsock_conn_tick(vs, clock_monotonic_ns() + seconds * UINT64_C(1000000000));
	pthread_mutex_unlock(&vs->lock);
}

/* Checks that what the device has counted is there. */
static void check_counts(const struct vsock *vs)
{
	unsigned int all = 0, timed = 0;

	for (unsigned int i = 0; i < VSOCK_HASH + 2; i++) {
		const struct vsock_conn *c = i < VSOCK_HASH    ? vs->table[i]
					     : i == VSOCK_HASH ? vs->parted
							       : vs->handshakes;

		for (; c; c = c->next) {
			all++;
			timed += c->give_up_ns != 0;
		}
	}
	check(all == vs->conn_count && timed == vs->timed);
}

static void from_host(struct fuzz *f, void *ctx)
{
	static uint8_t bytes[70000];
	struct sockaddr_un at;
	struct host *h = ctx;
	int fd, *conn = &h->conns[fuzz_u8(f) % CONNS];

	check_counts(h->vs);
	switch (fuzz_u8(f) % 10) {
	case 0:
		fd = accept4(h->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			keep(h, fd);
		break;
	case 1:
		at = address(h->path, false);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0) {
			(void)!send(fd, "CONNECT 2\nhello", 10u + fuzz_u8(f) % 6, MSG_NOSIGNAL);
			keep(h, fd);
		} else {
			close(fd);
		}
		break;
	case 2:
		(void)!send(*conn, bytes, fuzz_len(f) % sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case 3:
		(void)!recv(*conn, bytes, sizeof(bytes), MSG_DONTWAIT);
		break;
	case 4:
		shutdown(*conn, fuzz_u8(f) % 3);
		break;
	case 5:
		if (*conn >= 0)
			close(*conn);
		*conn = -1;
		break;
	case 6:
		later(h->vs, fuzz_u8(f));
		break;
	default:
		packet(f);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vsock_config cfg = {.cid = CID};
	struct host h = {.listening =
				 socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
	struct vsock *vs;
	struct sockaddr_un at;
	struct error err;
	struct fuzz f = {.data = data,
			 .size = size,
			 .v = fuzz_vdev(),
			 .queues = VSOCK_QUEUES,
			 .host = from_host,
			 .ctx = &h};

	snprintf(h.path, sizeof(h.path), "/tmp/fuzz-vsock-%d", (int)getpid());
	at = address(h.path, true);
	unlink(at.sun_path);
	check(bind(h.listening, (struct sockaddr *)&at, sizeof(at)) == 0);
	check(listen(h.listening, 8) == 0);
	for (int i = 0; i < CONNS; i++)
		h.conns[i] = -1;
	cfg.path = h.path;
	cfg.dma = &f.v->g.dma;
	check(vsock_create(&cfg, &vs, &err) == 0);
	h.vs = vs;
	vdev_use(f.v, vsock_device(vs));
	check(vsock_attach(vs, &f.v->home) == 0);
	fuzz_run(&f);
	check(halter_del_source(&f.v->home, vs->epoll_fd, &vs->handler) == 0);
	vdev_again(f.v);
	vsock_destroy(&vs);
	for (int i = 0; i < CONNS; i++)
		if (h.conns[i] >= 0)
			close(h.conns[i]);
	close(h.listening);
	unlink(at.sun_path);
	return 0;
}
