/* SPDX-License-Identifier: Apache-2.0 */
/* The socket device: its queues, its events, its life. Connections are in vsock_conn.c. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "container_of.h"
#include "devices/virtio/vsock_impl.h"

#define EVENTS	 32
#define ROUNDS	 8   /* of EVENTS each, before others on the thread have their turn */
#define RX_BATCH 256 /* packets, likewise */

#define ACCEPT_AGAIN_MS 50
#define TICK_MS		1000

static struct vsock *to_vsock(struct virtio_device *dev)
{
	return container_of(dev, struct vsock, dev);
}

/* -- who has something for the guest ---------------------------------------------------------- */

void vsock_list(struct vsock *vs, struct vsock_conn *c)
{
	if (c->listed || !vsock_conn_has_output(c))
		return;
	c->listed = true;
	c->after = NULL;
	c->before = vs->last;
	if (vs->last)
		vs->last->after = c;
	else
		vs->first = c;
	vs->last = c;
}

void vsock_unlist(struct vsock *vs, struct vsock_conn *c)
{
	if (!c->listed)
		return;
	c->listed = false;
	if (c->before)
		c->before->after = c->after;
	else
		vs->first = c->after;
	if (c->after)
		c->after->before = c->before;
	else
		vs->last = c->before;
}

/* -- queues ----------------------------------------------------------------------------------- */

static bool usable(struct vsock *vs, unsigned int index)
{
	const struct virtqueue *vq = &vs->dev.queues[index].vq;

	return atomic_load(&vs->dev.running) && vq->enabled && !vq->broken;
}

static void keep_bytes(struct iovec *iov, unsigned int *count, size_t len)
{
	unsigned int i;

	for (i = 0; i < *count && len; i++) {
		if (iov[i].iov_len > len)
			iov[i].iov_len = len;
		len -= iov[i].iov_len;
	}
	*count = i;
}

/* Writes the next packet for the guest into @chain, whose iov is used up. Returns false if there is
 * none. */
static bool next_packet(struct vsock *vs, struct vq_chain *chain, uint32_t *len)
{
	struct iovec *iov = chain->iov + chain->out, head[VSOCK_IOV];
	unsigned int count = chain->in;
	struct vsock_hdr h;

	memcpy(head, iov, count * sizeof(*iov)); /* the header is written last */
	if (vs->rst_count) {
		const struct vsock_rst *r = &vs->rst[vs->rst_first];

		h = (struct vsock_hdr){.src_cid = VSOCK_CID_HOST,
				       .dst_cid = vs->cid,
				       .src_port = r->host_port,
				       .dst_port = r->guest_port,
				       .type = VSOCK_TYPE_STREAM,
				       .op = VSOCK_OP_RST};
		vs->rst_first = (vs->rst_first + 1) % VSOCK_RST_MAX;
		vs->rst_count--;
	} else {
		struct vsock_conn *c;

		count = iov_skip(&iov, count, sizeof(h));
		for (;;) {
			c = vs->first;
			if (!c)
				return false;
			vsock_unlist(vs, c);
			if (vsock_conn_next(vs, c, &h, iov, count))
				break;
		}
		/* Behind the others, if there is more; unless it was its last word. */
		if (h.op != VSOCK_OP_RST)
			vsock_list(vs, c);
	}
	iov_write(head, chain->in, 0, &h, sizeof(h));
	*len = (uint32_t)sizeof(h) + h.len;
	return true;
}

/* Takes the next chain. Returns false if there is none, and there will be a kick, or the queue is
 * broken. */
static bool take_chain(struct virtqueue *vq, struct vq_chain *chain)
{
	int ret = vq_pop(vq, chain);

	if (ret == 0 && vq_kicks(vq, true))
		ret = vq_pop(vq, chain);
	return ret > 0;
}

/* Gives the guest what there is for it. Returns false if the queue is malformed. */
static bool receive(struct vsock *vs, bool *more)
{
	struct virtqueue *vq = &vs->dev.queues[VSOCK_RX].vq;
	const char *fault = NULL;
	unsigned int batch = 0;

	pthread_mutex_lock(&vq->lock);
	while (usable(vs, VSOCK_RX) && (vs->rst_count || vs->first)) {
		struct vq_chain chain = {.iov = vs->iov, .max = VSOCK_IOV};
		uint32_t len;

		if (batch++ == RX_BATCH) {
			*more = true;
			break;
		}
		if (!take_chain(vq, &chain)) {
			if (vq->broken)
				fault = "the receive queue is malformed";
			break;
		}
		/* Data needs a place, too: a driver's buffers are some KiB. */
		if (chain.in_len <= sizeof(struct vsock_hdr)) {
			vq->broken = true;
			fault = "a receive buffer is not longer than the header";
			break;
		}
		if (!next_packet(vs, &chain, &len)) {
			vq_unpop(vq);
			break;
		}
		vq_push(vq, chain.head, len);
	}
	if (!vs->rst_count && !vs->first)
		vq_kicks(vq, false); /* until there is no buffer for something */
	virtio_publish(&vs->dev, VSOCK_RX);
	if (fault)
		virtio_broken(&vs->dev, fault);
	pthread_mutex_unlock(&vq->lock);
	return !fault;
}

static void take_packet(struct vsock *vs, struct vq_chain *chain)
{
	struct iovec *iov = chain->iov;
	unsigned int count = chain->out;
	struct vsock_hdr h;

	if (iov_read(iov, count, 0, &h, sizeof(h)) < sizeof(h) ||
	    h.len > chain->out_len - sizeof(h) || (h.len && h.op != VSOCK_OP_RW) ||
	    h.src_cid != vs->cid) {
		virtio_fault(&vs->dev);
		return;
	}
	if (h.dst_cid != VSOCK_CID_HOST)
		return; /* there is nobody else */
	count = iov_skip(&iov, count, sizeof(h));
	keep_bytes(iov, &count, h.len);
	vsock_conn_packet(vs, &h, iov, count);
}

/* Takes what the guest sends. Returns false if the queue is malformed. */
static bool transmit(struct vsock *vs, bool *more)
{
	struct virtqueue *vq = &vs->dev.queues[VSOCK_TX].vq;
	const char *fault = NULL;
	unsigned int batch = 0;

	pthread_mutex_lock(&vq->lock);
	vq_kicks(vq, false);
	/* With no place for an answer it has to wait: the next receive kick makes some. */
	while (usable(vs, VSOCK_TX) && !vsock_full(vs)) {
		struct vq_chain chain = {.iov = vs->iov, .max = VSOCK_IOV};

		if (batch++ == RX_BATCH) {
			*more = true;
			break;
		}
		if (!take_chain(vq, &chain)) {
			if (vq->broken)
				fault = "the transmit queue is malformed";
			break;
		}
		take_packet(vs, &chain);
		vq_push(vq, chain.head, 0);
	}
	virtio_publish(&vs->dev, VSOCK_TX);
	if (fault)
		virtio_broken(&vs->dev, fault);
	pthread_mutex_unlock(&vq->lock);
	return !fault;
}

/* Does all that can be done now. Any halter's thread. */
static void serve(struct vsock *vs)
{
	bool more = false, fine, held;

	pthread_mutex_lock(&vs->lock);
	do {
		held = vsock_full(vs);
		fine = transmit(vs, &more);
		fine = receive(vs, &more) && fine;
		/* Answers went out, so that what they held up may go on. */
	} while (!more && fine && held && !vsock_full(vs));
	pthread_mutex_unlock(&vs->lock);
	if (fine && more)
		halter_post(vs->dev.home, &vs->task);
}

/* -- events ----------------------------------------------------------------------------------- */

/* Sets the timer; it has no error that it could have. */
static void set_timer(struct vsock *vs, unsigned int ms)
{
	const struct itimerspec spec = {
		.it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}};

	(void)timerfd_settime(vs->timer_fd, 0, &spec, NULL);
}

void vsock_watch_time(struct vsock *vs)
{
	/* A connection that waits to be accepted has set a shorter time already. */
	if (!vs->accept_waits)
		set_timer(vs, TICK_MS);
}

/*
 * Tries again later to accept. The listening socket is armed by edge, so it does not tell again of
 * a client that is not accepted. If that was for want of a descriptor or of memory, there may be
 * one in a while, whoever gives it back.
 */
static void accept_later(struct vsock *vs, int err)
{
	vs->accept_waits = true;
	virtio_log(&vs->dev, "connections have to wait: %s", strerror(err));
	set_timer(vs, ACCEPT_AGAIN_MS);
}

static void accept_all(struct vsock *vs)
{
	int fd;

	vs->accept_waits = false;
	for (;;) {
		fd = accept4(vs->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			vsock_conn_accept(vs, fd);
		else if (errno != ECONNABORTED && errno != EINTR)
			break;
	}
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
		accept_later(vs, errno);
}

static void take_answers(struct vsock *vs)
{
	struct vsock_asked of;
	int fd;

	while (vsock_ask_next(vs, &of, &fd))
		vsock_conn_connected(vs, fd, of.guest_port, of.host_port, of.peer_alloc,
				     of.peer_taken);
}

static void tick(struct vsock *vs)
{
	if (vs->accept_waits)
		accept_all(vs);
	if (vs->timed || vs->flush_waits)
		vsock_conn_tick(vs, clock_monotonic_ns());
	if (vs->timed || vs->flush_waits)
		vsock_watch_time(vs);
}

static void look(struct vsock *vs)
{
	struct epoll_event ev[EVENTS];
	bool timer = false;
	int n = EVENTS;

	pthread_mutex_lock(&vs->lock);
	for (int round = 0; round < ROUNDS && n == EVENTS; round++) {
		n = epoll_wait(vs->epoll_fd, ev, EVENTS, 0);
		for (int i = 0; i < n; i++) {
			/* One descriptor, one event: none that a former one has freed. */
			if (!ev[i].data.ptr)
				accept_all(vs);
			else if (ev[i].data.ptr == &vs->timer_fd)
				timer = true;
			else if (ev[i].data.ptr == &vs->ask)
				take_answers(vs);
			else
				vsock_conn_event(vs, ev[i].data.ptr, ev[i].events);
		}
	}
	if (timer) /* last: it frees connections */
		tick(vs);
	pthread_mutex_unlock(&vs->lock);
	if (n == EVENTS)
		halter_post(vs->dev.home, &vs->task);
	serve(vs);
}

static void ready(struct ring_handler *handler, uint32_t events)
{
	look(container_of(handler, struct vsock, handler));
}

static void again(struct halter_task *task)
{
	look(container_of(task, struct vsock, task));
}

/* -- the device ------------------------------------------------------------------------------- */

/* Tells the driver by an event (5.10.6.7) to give all connections up, and to look for its address.
 * If there is no buffer to say so in, the kick for one brings this again. */
static void tell_events(struct vsock *vs)
{
	static const struct vsock_event reset_event = {.id = VSOCK_EVENT_TRANSPORT_RESET};
	struct virtqueue *vq = &vs->dev.queues[VSOCK_EVENT].vq;
	const char *fault = NULL;

	pthread_mutex_lock(&vs->lock);
	pthread_mutex_lock(&vq->lock);
	if (usable(vs, VSOCK_EVENT) && vs->reset_owed) {
		struct vq_chain chain = {.iov = vs->iov, .max = VSOCK_IOV};

		if (!take_chain(vq, &chain)) {
			if (vq->broken)
				fault = "the event queue is malformed";
		} else if (chain.in_len < sizeof(reset_event)) {
			vq->broken = true;
			fault = "a buffer for events is shorter than one";
		} else {
			iov_write(chain.iov + chain.out, chain.in, 0, &reset_event,
				  sizeof(reset_event));
			vq_push(vq, chain.head, sizeof(reset_event));
			virtio_publish(&vs->dev, VSOCK_EVENT);
			vs->reset_owed = false;
		}
	}
	if (fault)
		virtio_broken(&vs->dev, fault);
	pthread_mutex_unlock(&vq->lock);
	pthread_mutex_unlock(&vs->lock);
}

static void kick(struct virtio_device *dev, unsigned int index)
{
	if (index == VSOCK_EVENT)
		tell_events(to_vsock(dev));
	else
		serve(to_vsock(dev));
}

static void reset(struct virtio_device *dev)
{
	struct vsock *vs = to_vsock(dev);

	pthread_mutex_lock(&vs->lock);
	vsock_conn_reset(vs);
	vs->rst_count = 0;
	vs->reset_owed = false;
	pthread_mutex_unlock(&vs->lock);
}

/* Saves the device. Connections are not in a snapshot: their other ends are programs that know
 * nothing of it. */
static int save(struct virtio_device *dev, struct state_writer *w, struct error *err)
{
	struct vsock *vs = to_vsock(dev);

	pthread_mutex_lock(&vs->lock);
	state_put_bool(w, vs->reset_owed);
	state_put_u32(w, vs->next_port);
	pthread_mutex_unlock(&vs->lock);
	return 0;
}

static int load(struct virtio_device *dev, struct state_in *in, struct error *err)
{
	struct vsock *vs = to_vsock(dev);
	bool reset_owed = state_get_bool(in);
	uint32_t next_port = state_get_u32(in);
	int ret = state_finish(in, err);

	if (ret < 0)
		return ret;
	vs->reset_owed = reset_owed;
	/* Ports that the driver may still know are not given at once. */
	vs->next_port = next_port;
	return 0;
}

static int restored(struct virtio_device *dev, struct error *err)
{
	struct vsock *vs = to_vsock(dev);

	/* Before any new connection. */
	vs->reset_owed = true;
	tell_events(vs);
	return 0;
}

static const struct virtio_ops ops = {.kick = kick,
				      .reset = reset,
				      .state_id = STATE_ID('v', 's', 'o', 'c'),
				      .state_version = 1,
				      .save = save,
				      .load = load,
				      .restored = restored};

/* Returns whether nobody listens on a socket any more: a program that did not end well has left
 * it. */
static bool stale(const struct sockaddr_un *at)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stat st;
	bool is;

	if (fd < 0)
		return false;
	is = lstat(at->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	     connect(fd, (const struct sockaddr *)at, sizeof(*at)) < 0 && errno == ECONNREFUSED;
	close(fd);
	return is;
}

/* Removes the socket, but not a file that somebody else has put there meanwhile. */
static void remove_socket(const struct vsock *vs)
{
	struct stat st;

	if (vs->kept)
		return;
	if (lstat(vs->path, &st) == 0 && st.st_dev == vs->socket_dev && st.st_ino == vs->socket_ino)
		unlink(vs->path);
}

static int watch_all(struct vsock *vs)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET}, timer = ev;

	timer.data.ptr = &vs->timer_fd;
	return epoll_ctl(vs->epoll_fd, EPOLL_CTL_ADD, vs->listen_fd, &ev) < 0 ||
			       epoll_ctl(vs->epoll_fd, EPOLL_CTL_ADD, vs->timer_fd, &timer) < 0
		       ? -1
		       : 0;
}

static bool listens(int fd)
{
	static const int options[][2] = {
		{SO_DOMAIN, AF_UNIX}, {SO_TYPE, SOCK_STREAM}, {SO_ACCEPTCONN, 1}};
	bool does = true;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]) && does; i++) {
		socklen_t len = sizeof(int);
		int value = 0;

		does = getsockopt(fd, SOL_SOCKET, options[i][0], &value, &len) == 0 &&
		       value == options[i][1];
	}
	return does;
}

/* Takes a socket that somebody else has made, and will remove. */
static int take_socket(struct vsock *vs, int fd, struct error *err)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return error_fail(err, -errno, "descriptor %d: %s", fd, strerror(errno));
	if (!listens(fd))
		return error_fail(err, -EINVAL,
				  "descriptor %d: expected a Unix stream socket that listens", fd);
	vs->kept = true;
	vs->listen_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (vs->listen_fd >= 0 && fcntl(vs->listen_fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
	    watch_all(vs) == 0)
		return 0;
	return error_fail(err, -errno, "descriptor %d: %s", fd, strerror(errno));
}

static int open_own(struct vsock *vs)
{
	vs->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	vs->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return vs->epoll_fd < 0 || vs->timer_fd < 0 ? -errno : 0;
}

static int open_socket(struct vsock *vs, struct error *err)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct stat st;
	int ret;

	vs->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (vs->listen_fd < 0)
		goto fail;
	/* Linux makes the file with the mode that the socket itself has: never open to others. */
	if (fchmod(vs->listen_fd, 0600) < 0)
		goto fail;
	memcpy(at.sun_path, vs->path, strlen(vs->path) + 1);
	ret = bind(vs->listen_fd, (struct sockaddr *)&at, sizeof(at));
	if (ret < 0 && errno == EADDRINUSE) {
		if (stale(&at) && unlink(vs->path) == 0)
			ret = bind(vs->listen_fd, (struct sockaddr *)&at, sizeof(at));
		else
			errno = EADDRINUSE;
	}
	if (ret < 0)
		goto fail;
	if (lstat(vs->path, &st) < 0)
		goto fail;
	vs->socket_dev = st.st_dev;
	vs->socket_ino = st.st_ino;
	if (listen(vs->listen_fd, 128) == 0 && watch_all(vs) == 0)
		return 0;
	ret = -errno;
	remove_socket(vs);
	errno = -ret;
fail:
	ret = -errno;
	return error_fail(err, ret, "%s: %s", vs->path,
			  ret == -EADDRINUSE ? "there is such a file already" : strerror(-ret));
}

/* Returns the first descriptor that is none for a connection: a guest is not to use up the
 * descriptors for what the process opens besides, now or later, its sockets of control among it.
 * The kernel gives the lowest number that is free, so one from there on says how many are in
 * use. */
static int first_spared(void)
{
	struct rlimit limit;
	rlim_t spared;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > INT_MAX)
		return INT_MAX;
	spared = limit.rlim_cur / 4 < VSOCK_FDS_SPARED ? limit.rlim_cur / 4 : VSOCK_FDS_SPARED;
	return (int)(limit.rlim_cur - spared);
}

static void free_vsock(struct vsock *vs)
{
	if (vs->epoll_fd >= 0)
		close(vs->epoll_fd);
	if (vs->timer_fd >= 0)
		close(vs->timer_fd);
	if (vs->listen_fd >= 0)
		close(vs->listen_fd);
	if (vs->ask.fd >= 0)
		close(vs->ask.fd);
	pthread_mutex_destroy(&vs->lock);
	free(vs->name);
	free(vs);
}

int vsock_create(const struct vsock_config *cfg, struct vsock **out, struct error *err)
{
	size_t n = strlen(cfg->path);
	struct vsock *vs;
	int ret;

	if (cfg->cid < VSOCK_CID_MIN || cfg->cid > VSOCK_CID_MAX)
		return error_fail(err, -EINVAL, "cid %llu: expected %u to %u",
				  (unsigned long long)cfg->cid, VSOCK_CID_MIN, VSOCK_CID_MAX);
	if ((n == 0 && !cfg->given) || n > VSOCK_PATH_MAX)
		return error_fail(err, -ENAMETOOLONG, "%s: expected a path of 1 to %d bytes",
				  cfg->path, VSOCK_PATH_MAX);
	vs = calloc(1, sizeof(*vs));
	if (!vs)
		return -ENOMEM;
	vs->epoll_fd = vs->timer_fd = vs->listen_fd = vs->ask.fd = -1;
	vs->fd_limit = first_spared();
	vs->cid = cfg->cid;
	memcpy(vs->path, cfg->path, n);
	pthread_mutex_init(&vs->lock, NULL);
	vs->handler.ready = ready;
	vs->task.run = again;
	vs->dev.ops = &ops;
	vs->dev.id = VIRTIO_ID_VSOCK;
	vs->dev.offered = 1; /* stream sockets */
	vs->dev.config = &vs->cid;
	vs->dev.config_len = sizeof(vs->cid);
	vs->dev.queue_count = VSOCK_QUEUES;
	vs->dev.dma = cfg->dma;
	vs->dev.log = cfg->log;
	vs->dev.log_ctx = cfg->log_ctx;
	ret = asprintf(&vs->name, "vsock %llu", (unsigned long long)cfg->cid) < 0 ? -ENOMEM : 0;
	if (ret < 0)
		vs->name = NULL;
	vs->dev.name = vs->name;
	if (ret == 0)
		ret = virtio_init(&vs->dev, VQ_SIZE_MAX);
	if (ret == 0) {
		ret = open_own(vs);
		if (ret == 0)
			ret = cfg->given ? take_socket(vs, cfg->fd, err) : open_socket(vs, err);
		if (ret < 0)
			virtio_fini(&vs->dev);
	}
	if (ret < 0) {
		free_vsock(vs);
		return ret;
	}
	*out = vs;
	return 0;
}

void vsock_disown(struct vsock *vs)
{
	vs->kept = true;
	vsock_conn_drop_all(vs);
}

void vsock_destroy(struct vsock **vsp)
{
	struct vsock *vs = *vsp;

	if (!vs)
		return;
	*vsp = NULL;
	vsock_conn_close_all(vs);
	remove_socket(vs);
	virtio_fini(&vs->dev);
	free_vsock(vs);
}

void vsock_leave_socket(struct vsock *vs)
{
	vs->kept = true;
}

struct virtio_device *vsock_device(struct vsock *vs)
{
	return &vs->dev;
}

struct vsock *vsock_of(struct virtio_device *dev)
{
	return to_vsock(dev);
}

int vsock_attach(struct vsock *vs, struct catnap_halter *home)
{
	vs->dev.home = home;
	return halter_add_source(home, vs->epoll_fd, POLLIN, &vs->handler);
}
