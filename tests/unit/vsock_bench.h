/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device on a bench, with a guest's driver on one side and Unix sockets on the other. */
#ifndef TESTS_UNIT_VSOCK_BENCH_H
#define TESTS_UNIT_VSOCK_BENCH_H

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/virtio/vsock_impl.h"
#include "vdev.h"

#define CID	 7
#define RX_BYTES 4096u
#define HDR	 sizeof(struct vsock_hdr)

struct bench {
	struct vdev *v;
	struct vsock *vs;
	char dir[32], path[64];
	uint64_t rx_at, tx_at;
	uint16_t rx_ids; /* buffers offered since the start */
	struct catnap_keeper *keeper;
	int asked; /* the other end of what the device asks over, where the test answers */
};

static inline int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct vsock_config cfg = {.cid = CID};
	struct error err;

	b->v = vdev_make(2 << 20);
	snprintf(b->dir, sizeof(b->dir), "/tmp/vsock-XXXXXX");
	if (!mkdtemp(b->dir))
		return -1;
	snprintf(b->path, sizeof(b->path), "%s/v", b->dir);
	cfg.path = b->path;
	cfg.dma = &b->v->g.dma;
	if (vsock_create(&cfg, &b->vs, &err) < 0)
		return -1;
	vdev_use(b->v, vsock_device(b->vs));
	*state = b;
	return vsock_attach(b->vs, &b->v->home);
}

static inline int tear_down(void **state)
{
	struct bench *b = *state;

	vsock_destroy(&b->vs);
	vdev_free(b->v);
	/* Fails if anything is left in it, but for sockets of the tests' own. */
	rmdir(b->dir);
	free(b);
	return 0;
}

/* -- the guest's side ------------------------------------------------------------------------- */

static inline void offer(struct bench *b, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		uint64_t at = b->rx_at + RX_BYTES * (b->v->next_desc[VSOCK_RX]);

		vdev_offer1(b->v, VSOCK_RX, at, RX_BYTES, true);
	}
	virtio_kick(b->v->dev, VSOCK_RX);
}

static inline void start(struct bench *b, unsigned int buffers)
{
	vdev_start(b->v, 0, VSOCK_QUEUES, 64);
	b->rx_at = vdev_alloc(b->v, 64 * RX_BYTES);
	b->tx_at = vdev_alloc(b->v, 256 << 10);
	offer(b, buffers);
}

static inline struct vsock_hdr header(uint32_t guest, uint32_t host, uint16_t op)
{
	return (struct vsock_hdr){.src_cid = CID,
				  .dst_cid = VSOCK_CID_HOST,
				  .src_port = guest,
				  .dst_port = host,
				  .type = VSOCK_TYPE_STREAM,
				  .op = op,
				  .buf_alloc = 65536};
}

static inline void give(struct bench *b, const struct vsock_hdr *h, const void *data, uint32_t len)
{
	uint64_t at[2] = {b->tx_at, b->tx_at + 64};
	uint32_t lens[2] = {HDR, len}, id, used;

	memcpy(guest_ptr(&b->v->g, at[0]), h, HDR);
	if (len)
		memcpy(guest_ptr(&b->v->g, at[1]), data, len);
	vdev_offer(b->v, VSOCK_TX, at, lens, len ? 2 : 1, len ? 2 : 1);
	virtio_kick(b->v->dev, VSOCK_TX);
	assert_true(driver_used(&b->v->q[VSOCK_TX], &id, &used));
	assert_int_equal(used, 0);
}

static inline void say(struct bench *b, uint32_t guest, uint32_t host, uint16_t op)
{
	struct vsock_hdr h = header(guest, host, op);

	give(b, &h, NULL, 0);
}

static inline void say_data(struct bench *b, uint32_t guest, uint32_t host, const void *data,
			    uint32_t len)
{
	struct vsock_hdr h = header(guest, host, VSOCK_OP_RW);

	h.len = len;
	give(b, &h, data, len);
}

/* The next packet to the guest; its buffer is offered again. False: none. */
static inline bool hear(struct bench *b, struct vsock_hdr *h, void *data)
{
	uint32_t id, len;
	uint8_t *p;

	if (!driver_used(&b->v->q[VSOCK_RX], &id, &len))
		return false;
	p = guest_ptr(&b->v->g, b->rx_at + RX_BYTES * id);
	memcpy(h, p, HDR);
	assert_int_equal(len, HDR + h->len);
	assert_int_equal(h->src_cid, VSOCK_CID_HOST);
	assert_int_equal(h->dst_cid, CID);
	if (data)
		memcpy(data, p + HDR, h->len);
	return true;
}

/* It is @op, on the given ports. */
static inline struct vsock_hdr expect(struct bench *b, uint32_t guest, uint32_t host, uint16_t op)
{
	struct vsock_hdr h;

	vdev_until(b->v, hear(b, &h, NULL));
	assert_int_equal(h.op, op);
	assert_int_equal(h.dst_port, guest);
	assert_int_equal(h.src_port, host);
	return h;
}

static inline void expect_nothing(struct bench *b)
{
	struct vsock_hdr h;

	for (int i = 0; i < 20; i++) {
		vdev_turn(b->v);
		assert_false(hear(b, &h, NULL));
	}
}

/* -- the host's side -------------------------------------------------------------------------- */

static inline struct sockaddr_un address(struct bench *b, int port)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	if (port >= 0)
		snprintf(at.sun_path, sizeof(at.sun_path), "%s_%d", b->path, port);
	else
		snprintf(at.sun_path, sizeof(at.sun_path), "%s", b->path);
	return at;
}

static inline int listener(struct bench *b, int port)
{
	struct sockaddr_un at = address(b, port);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static inline void close_listener(struct bench *b, int fd, int port)
{
	struct sockaddr_un at = address(b, port);

	close(fd);
	unlink(at.sun_path);
}

static inline int dial(struct bench *b)
{
	struct sockaddr_un at = address(b, -1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* A connection from guest port 1000 to the host's 52. */
static inline int open_conn(struct bench *b, int *listening)
{
	int fd;

	*listening = listener(b, 52);
	say(b, 1000, 52, VSOCK_OP_REQUEST);
	expect(b, 1000, 52, VSOCK_OP_RESPONSE);
	fd = accept4(*listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

#endif
