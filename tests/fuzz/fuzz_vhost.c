/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device whose back end is the input: what it answers is there before it is asked, in messages that
 * are right, nearly right or just bytes, with descriptors or without; it talks on both of its
 * sockets, closes them, and comes again. The driver does what it likes meanwhile. Nothing is waited
 * for, no descriptor is left, and guest memory is not touched.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/vhost/vhost_impl.h"
#include "fuzz_vdev.h"

#define PATIENCE 1u /* ns: what is not there will not come */

static const struct vhost_kind kinds[] = {
	{.id = 2,
	 .features = 0x7e76,
	 .config_len = 60,
	 .remote = true,
	 .write_at = 32,
	 .write_len = 1,
	 .caches = 1u << 9 | 1u << 11,
	 .flush = 1u << 9,
	 .queues_at = 34,
	 .mq = 12},
	{.id = 26, .config_len = 40},
	{.id = 77, .features = 0xffffff, .config_len = 256, .remote = true, .write_len = 256},
};

struct state {
	struct vhost *vhost;
	int back; /* the back end's end; -1: it has none */
};

static void put(int fd, const void *data, size_t len, bool with_fds)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = {.room = ""};
	int fds[2] = {fd, fd};
	struct iovec iov = {(void *)(uintptr_t)data, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (with_fds) {
		control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(fds)),
						.cmsg_level = SOL_SOCKET,
						.cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), fds, sizeof(fds));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	}
	(void)sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* One message, in the order in which they are asked for if the input likes it so. */
static void answer(struct fuzz *f, int fd)
{
	static const uint8_t known[] = {1,  15, 16, 17, 3, 21, 24, 2,  5,
					31, 32, 8,  10, 9, 13, 12, 18, 11};
	struct vhost_message m;
	uint8_t how = fuzz_u8(f), what = fuzz_u8(f);

	memset(&m, 0, sizeof(m));
	m.head.request = how & 0x80 ? what : known[what % sizeof(known)];
	m.head.flags = how & 0x40 ? fuzz_u8(f) : VHOST_VERSION | VHOST_REPLY;
	m.head.size = how & 0x20			   ? fuzz_u16(f)
		      : m.head.request == VHOST_GET_CONFIG ? VHOST_CONFIG_HEAD + 60
		      : m.head.request == 31		   ? VHOST_INFLIGHT_SIZE
							   : 8;
	if (m.head.request == VHOST_GET_CONFIG)
		m.config.size = 60;
	else if (m.head.request == VHOST_GET_FEATURES)
		m.u64 = UINT64_C(1) << 32 | UINT64_C(1) << 30 | fuzz_u16(f);
	else if (m.head.request == VHOST_GET_PROTOCOL_FEATURES)
		m.u64 = fuzz_u16(f);
	else if (how & 1)
		m.u64 = fuzz_u8(f);
	put(fd, &m, sizeof(m.head) + (m.head.size < VHOST_PAYLOAD_MAX ? m.head.size : 8), how & 2);
}

static void answers(struct fuzz *f, int fd)
{
	uint8_t n = fuzz_u8(f) % 48;

	while (n-- && f->size)
		answer(f, fd);
}

/* Does what a back end does by itself. */
static void from_host(struct fuzz *f, void *ctx)
{
	struct state *s = ctx;
	struct vhost *v = s->vhost;
	uint8_t bytes[64], n;

	switch (fuzz_u8(f) % 8) {
	case 0:
		if (s->back >= 0)
			close(s->back);
		s->back = -1;
		break;
	case 1:
		n = fuzz_u8(f) % sizeof(bytes);
		for (uint8_t i = 0; i < n; i++)
			bytes[i] = fuzz_u8(f);
		put(v->channel_peer, bytes, n, false);
		break;
	case 2:
		put(v->channel_peer, &(struct vhost_header){2, VHOST_VERSION | (fuzz_u8(f) & 8), 0},
		    sizeof(struct vhost_header), false);
		break;
	case 3:
		put(v->channel_peer, "x", 1, true);
		break;
	case 4:
		vhost_look(v);
		break;
	default:
		if (s->back >= 0)
			answers(f, s->back);
		break;
	}
	/* A call, from whoever has it. */
	(void)!write(v->calls[0].fd, &(uint64_t){1}, 8);
	/* Nobody reads what the front end has sent: it must not fill the socket. */
	while (s->back >= 0 && recv(s->back, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		continue;
}

static void remove_sources(struct vhost *v, struct catnap_halter *home)
{
	halter_del_source(home, v->epoll_fd, &v->handler);
	for (unsigned int i = 0; i < v->queues; i++)
		halter_del_source(home, v->calls[i].fd, &v->calls[i].handler);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {.data = data, .size = size, .v = fuzz_vdev(), .host = from_host};
	struct catnap_halter *homes[VHOST_QUEUES_MAX];
	struct vhost_config cfg = {.name = "fuzz",
				   .memory_fd = 0,
				   .region_count = 1,
				   .config = "the tag of a folder, and how many queues",
				   .patience_ns = PATIENCE};
	struct error err = {.text = ""};
	struct state s = {.vhost = NULL};
	int pair[2];

	cfg.kind = &kinds[fuzz_u8(&f) % 3];
	cfg.queues = 1 + fuzz_u8(&f) % 4;
	cfg.fewer = fuzz_u8(&f) & 1;
	cfg.path = fuzz_u8(&f) & 1 ? "/nonexistent/socket" : NULL;
	cfg.dma = &f.v->g.dma;
	cfg.regions[0] = (struct vhost_region){GUEST_BASE, FUZZ_MEMORY, (uintptr_t)f.v->g.mem, 0};
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	cfg.socket = pair[0];
	s.back = pair[1];
	answers(&f, s.back);
	if (vhost_create(&cfg, &s.vhost, &err) < 0) {
		close(pair[0]);
		close(pair[1]);
		return 0;
	}
	for (unsigned int i = 0; i < VHOST_QUEUES_MAX; i++)
		homes[i] = &f.v->home;
	f.ctx = &s;
	f.queues = vhost_device(s.vhost)->queue_count;
	f.features = vhost_device(s.vhost)->offered;
	vhost_device(s.vhost)->home = &f.v->home;
	vdev_use(f.v, vhost_device(s.vhost));
	check(vhost_attach(s.vhost, homes) == 0);
	answers(&f, s.back);
	fuzz_run(&f);
	remove_sources(s.vhost, &f.v->home);
	vdev_again(f.v);
	vhost_destroy(&s.vhost);
	if (s.back >= 0)
		close(s.back);
	return 0;
}
