/* SPDX-License-Identifier: Apache-2.0 */
/* The life of the device, see vhost.h: as the guest sees it, and as the back end does. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "container_of.h"
#include "devices/vhost/vhost_impl.h"
#include "handover.h"
#include "poll/clock.h"
#include "relaxed.h"

#define BIT(n) (UINT64_C(1) << (n))

#define EVENTS_MAX    4
#define RETRY_LAST_NS UINT64_C(1000000000)

/* -- losing a back end ------------------------------------------------------------------------ */

static void retry_after(struct vhost *v, uint64_t ns)
{
	const struct itimerspec when = {.it_value = {.tv_sec = (time_t)(ns / 1000000000),
						     .tv_nsec = (long)(ns % 1000000000)}};

	timerfd_settime(v->timer_fd, 0, &when, NULL);
}

/* Tries again, later after each attempt. */
static void retry(struct vhost *v)
{
	retry_after(v, v->retry_ns);
	v->retry_ns = v->retry_ns * 2 < RETRY_LAST_NS ? v->retry_ns * 2 : RETRY_LAST_NS;
}

/* Logs as virtio_log() does, with a limit of its own: the messages of one are not left out for the
 * other's. */
static void say(struct vhost *v, struct log_limit *limit, const char *what, const char *more)
{
	char text[320];

	snprintf(text, sizeof(text), "%s: %s%s", v->name, what, more);
	if (v->dev.log && log_limit_pass(limit, text, sizeof(text)))
		v->dev.log(v->dev.log_ctx, text);
}

static void hang_up(struct vhost *v)
{
	if (v->socket < 0)
		return;
	epoll_ctl(v->epoll_fd, EPOLL_CTL_DEL, v->socket, NULL);
	/* A ring's requests on it do not keep it open then. */
	shutdown(v->socket, SHUT_RDWR);
	vhost_close_fd(&v->socket);
}

/*
 * Gives the back end up: it is no more. @why: 0, or the -errno that was found. Lock held, and the
 * device's, unless it is being reset.
 */
static void lose(struct vhost *v, int why)
{
	const char *what = why == -EPIPE       ? "its back end has gone"
			   : why == -ETIMEDOUT ? "its back end does not answer"
			   : why == -EPROTO    ? "its back end breaks the protocol"
			   : why == -EREMOTEIO ? "its back end refuses what it is told"
					       : strerror(-why);
	const uint64_t now = clock_monotonic_ns();
	if (v->socket < 0)
		return;
	hang_up(v);
	say(v, &v->limits[0], what,
	    v->reconnect ? ": its requests wait until there is one again"
			 : ": the device ends, until it is reset");
	/* One that comes and goes is waited for longer each time. */
	if (now - v->since_ns > RETRY_LAST_NS)
		v->retry_ns = VHOST_RETRY_FIRST_NS;
	if (v->reconnect)
		retry(v);
}

/* Returns why the requests in flight cannot be given to another back end; NULL: they can. The lock
 * is held. */
static const char *lost_requests(struct vhost *v)
{
	bool known = true;

	for (unsigned int i = 0; i < v->queues && v->inflight.fd < 0 && !v->kind.in_order; i++) {
		struct virtqueue *vq = &v->dev.queues[i].vq;

		pthread_mutex_lock(&vq->lock);
		known &= !vq->enabled || vhost_track_known(&v->calls[i].track, vq);
		pthread_mutex_unlock(&vq->lock);
	}
	return known ? NULL : "its back end has gone, and which requests it had is not known";
}

/* Tells the guest's driver if it has to begin anew, since there is no back end. Both locks are
 * held. */
static void tell_guest(struct vhost *v)
{
	const char *what = NULL;

	if (!v->wanted || v->socket >= 0)
		return;
	if (!v->reconnect)
		what = "its back end has gone";
	else if (v->started)
		what = lost_requests(v);
	if (!what)
		return;
	v->wanted = v->started = false;
	virtio_broken(&v->dev, what);
}

/* Settles an exchange that may have failed. Both locks are held. */
static void settle(struct vhost *v, int ret)
{
	if (ret < 0)
		lose(v, ret);
	tell_guest(v);
}

/* -- as the guest sees it --------------------------------------------------------------------- */

/* Starts the device. Its lock is held. */
static void start(struct virtio_device *dev)
{
	struct vhost *v = vhost_from(dev);
	int ret = 0;

	pthread_mutex_lock(&v->lock);
	v->wanted = true;
	v->pairs = v->kind.pairs;
	vhost_close_fd(&v->inflight.fd);
	if (v->socket >= 0) {
		ret = vhost_start_rings(v, false);
		v->started = ret == 0;
	}
	settle(v, ret);
	pthread_mutex_unlock(&v->lock);
}

/* Stops the device. No lock is held; the queues are as they were. */
static void stop(struct virtio_device *dev)
{
	struct vhost *v = vhost_from(dev);

	pthread_mutex_lock(&v->lock);
	if (v->socket >= 0 && v->started) {
		int ret = vhost_stop_rings(v);

		if (ret < 0)
			lose(v, ret);
	}
	v->wanted = v->started = false;
	pthread_mutex_unlock(&v->lock);
}

/* Takes a doorbell that KVM has not taken; or does the first look, when the device starts. */
static void kick(struct virtio_device *dev, unsigned int index)
{
	const uint64_t one = 1;

	/* A counter that is full is as good. */
	if (write(vhost_from(dev)->kick_fds[index], &one, sizeof(one)) < 0)
		return;
}

static bool writable(const struct vhost *v, uint32_t offset, uint32_t len)
{
	const struct vhost_kind *k = &v->kind;

	return offset >= k->write_at && offset - k->write_at < k->write_len &&
	       len <= k->write_len - (offset - k->write_at);
}

static void config_write(struct virtio_device *dev, uint32_t offset, const void *data, uint32_t len)
{
	struct vhost *v = vhost_from(dev);

	if (writable(v, offset, len))
		memcpy((char *)v->config + offset, data, len);
}

static void config_written(struct virtio_device *dev, uint32_t offset, const void *data,
			   uint32_t len)
{
	struct vhost *v = vhost_from(dev);
	int ret = 0;

	if (!v->kind.remote || !writable(v, offset, len))
		return;
	pthread_mutex_lock(&dev->lock);
	pthread_mutex_lock(&v->lock);
	if (v->socket >= 0)
		ret = vhost_put_config(v, offset, data, len);
	settle(v, ret);
	pthread_mutex_unlock(&v->lock);
	pthread_mutex_unlock(&dev->lock);
}

static const struct virtio_ops ops = {.config_write = config_write,
				      .config_written = config_written,
				      .start = start,
				      .kick = kick,
				      .stop = stop};

/* -- calls ------------------------------------------------------------------------------------ */

/* Takes a call, on the thread that has it as a source. */
static void called(struct ring_handler *handler, uint32_t events)
{
	struct vhost_call *c = container_of(handler, struct vhost_call, handler);
	struct virtio_device *dev = &c->vhost->dev;
	struct virtqueue *vq = &dev->queues[c->index].vq;
	uint64_t n;

	if (read(c->fd, &n, sizeof(n)) != sizeof(n) || !atomic_load(&dev->running))
		return;
	pthread_mutex_lock(&vq->lock);
	vhost_track_look(&c->track, vq);
	pthread_mutex_unlock(&vq->lock);
	dev->transport_ops->interrupt_queue(dev->transport, c->index);
}

/* -- the control queue ------------------------------------------------------------------------ */

#define CTRL_MQ		  4 /* class */
#define CTRL_MQ_PAIRS_SET 0 /* command */
#define CTRL_OK		  0
#define CTRL_ERR	  1
#define CTRL_IOV	  8

struct command {
	uint8_t class, command;
	uint16_t pairs;
} __attribute__((packed));

/* Does what a chain of the control queue asks. Both locks are held, and the queue's. */
static uint8_t obey(struct vhost *v, const struct vq_chain *chain)
{
	struct command c;
	int ret = 0;

	if (!virtio_has(&v->dev, v->kind.mq) ||
	    iov_read(chain->iov, chain->out, 0, &c, sizeof(c)) < sizeof(c) || c.class != CTRL_MQ ||
	    c.command != CTRL_MQ_PAIRS_SET || c.pairs < 1 || c.pairs > v->queues / 2)
		return CTRL_ERR;
	v->pairs = c.pairs;
	/* One that comes later learns of it with the rings. */
	if (v->socket >= 0 && v->started)
		ret = vhost_enable_rings(v);
	if (ret < 0)
		lose(v, ret);
	return CTRL_OK;
}

/* Takes what is in the control queue, at most as much as goes in. Both locks are held. Returns 0, or
 * -EPROTO: the queue is broken. */
static int take_commands(struct vhost *v, unsigned int index)
{
	struct virtqueue *vq = &v->dev.queues[index].vq;
	struct iovec iov[CTRL_IOV];
	int ret = 0;

	pthread_mutex_lock(&vq->lock);
	for (unsigned int n = 0; n < VQ_SIZE_MAX && vq->enabled && !vq->broken; n++) {
		struct vq_chain c = {.iov = iov, .max = CTRL_IOV};
		uint8_t ack;

		ret = vq_pop(vq, &c);
		/* The event index moves on, so that the next command brings a kick. */
		if (ret == 0 && vq_kicks(vq, true))
			continue;
		if (ret <= 0)
			break;
		ack = obey(v, &c);
		vq_push(vq, c.head, (uint32_t)iov_write(c.iov + c.out, c.in, 0, &ack, sizeof(ack)));
	}
	virtio_publish(&v->dev, index);
	if (ret < 0)
		virtio_broken(&v->dev, vq->fault);
	pthread_mutex_unlock(&vq->lock);
	return ret < 0 ? ret : 0;
}

/* Takes a doorbell of the control queue, at the home. */
static void commanded(struct ring_handler *handler, uint32_t events)
{
	struct vhost *v = container_of(handler, struct vhost, control);
	uint64_t n;

	if (read(v->kick_fds[v->queues], &n, sizeof(n)) != sizeof(n))
		return;
	pthread_mutex_lock(&v->dev.lock);
	pthread_mutex_lock(&v->lock);
	if (atomic_load(&v->dev.running) && v->wanted && take_commands(v, v->queues) == 0)
		tell_guest(v);
	pthread_mutex_unlock(&v->lock);
	pthread_mutex_unlock(&v->dev.lock);
}

/* -- a back end comes ------------------------------------------------------------------------- */

/* Returns why the device, which is what it was, cannot be this back end's; NULL: it can. Both locks
 * are held. */
static const char *misfit(const struct vhost *v, const struct vhost_offer *offer)
{
	uint64_t agreed = relaxed_load(&v->dev.features) & ~v->kind.own;

	if (v->wanted && (agreed & ~offer->features))
		return "lacks features that the guest uses";
	if (vhost_queues_of(v, offer) < v->queues)
		return "has fewer queues";
	return NULL;
}

static bool same_config(const struct vhost *v, const struct vhost_offer *offer)
{
	return !v->kind.remote || memcmp(v->config, offer->config, v->kind.config_len) == 0;
}

/* Resumes the queues. The buffers that the last back end used may have had no call; and so may
 * those that the guest made. Both locks are held. */
static void resume(struct vhost *v)
{
	for (unsigned int i = 0; i < v->queues; i++) {
		if (!vhost_is_set_up(v, i))
			continue;
		kick(&v->dev, i);
		v->dev.transport_ops->interrupt_queue(v->dev.transport, i);
	}
}

/* Takes a back end by @socket, a connection to it, which is taken. Both locks are held. */
static void take(struct vhost *v, int socket)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = &v->socket};
	struct vhost_offer offer;
	const char *wrong;
	bool changed;
	int ret;

	v->socket = socket;
	ret = vhost_negotiate(v, &offer);
	wrong = ret < 0 ? NULL : misfit(v, &offer);
	if (ret == 0 && !wrong)
		ret = epoll_ctl(v->epoll_fd, EPOLL_CTL_ADD, socket, &ev) < 0 ? -errno : 0;
	if (wrong || ret < 0) {
		say(v, &v->limits[1], "a back end that has come is not taken: it ",
		    wrong ? wrong : strerror(-ret));
		shutdown(socket, SHUT_RDWR);
		vhost_close_fd(&v->socket);
		retry(v);
		return;
	}
	v->features = offer.features;
	v->protocol = offer.protocol;
	changed = !same_config(v, &offer);
	if (changed)
		memcpy(v->config, offer.config, v->kind.config_len);
	if (v->wanted) {
		ret = vhost_start_rings(v, v->started);
		if (ret == 0 && v->started)
			resume(v);
		else if (ret == 0)
			for (unsigned int i = 0; i < v->queues; i++)
				kick(&v->dev, i);
		v->started = v->started || ret == 0;
	}
	v->since_ns = clock_monotonic_ns();
	if (ret == 0)
		say(v, &v->limits[1], "it has a back end again", "");
	if (changed)
		virtio_config_changed(&v->dev);
	settle(v, ret);
}

int vhost_connect(const char *path, int *out)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	int fd, ret;

	if (len > VHOST_PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(to.sun_path, path, len + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	*out = fd;
	return 0;
}

/* Connects, or asks somebody else to connect, whose answer comes later. Both locks are held. */
static void reach(struct vhost *v)
{
	const struct handover_ask ask = {++v->serial, 0};
	int fd = -1;

	if (v->socket >= 0)
		return;
	if (v->ask_fd >= 0) {
		(void)send(v->ask_fd, &ask, sizeof(ask), MSG_NOSIGNAL | MSG_DONTWAIT);
		retry(v); /* in case that there is no answer */
	} else if (vhost_connect(v->path, &fd) == 0) {
		take(v, fd);
	} else {
		retry(v);
	}
}

/* Takes the answers of whoever connects for us. Both locks are held. */
static void take_answers(struct vhost *v)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct handover_answer answer;

	for (;;) {
		struct iovec iov = {&answer, sizeof(answer)};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = &control,
				     .msg_controllen = sizeof(control)};
		const struct cmsghdr *c;
		int fd = -1;

		if (recvmsg(v->ask_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != sizeof(answer))
			return;
		c = CMSG_FIRSTHDR(&msg);
		if (c && c->cmsg_type == SCM_RIGHTS)
			memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		if (fd < 0)
			continue;
		if (v->socket >= 0 || answer.serial != v->serial)
			close(fd);
		else
			take(v, fd);
	}
}

/* -- what happens at the home ----------------------------------------------------------------- */

/* Serves a request of the back end. Both locks are held. */
static void serve_request(struct vhost *v)
{
	bool changed = false;
	int ret = vhost_serve_request(v, &changed);
	uint8_t now[VHOST_CONFIG_MAX];

	if (ret == 0 && changed && v->kind.remote) {
		ret = vhost_fetch_config(v, now);
		if (ret == 0 && memcmp(v->config, now, v->kind.config_len) != 0) {
			memcpy(v->config, now, v->kind.config_len);
			virtio_config_changed(&v->dev);
		}
	}
	settle(v, ret);
}

/* Looks whether the back end is there. Nothing comes over its socket that was not asked for. Both
 * locks held. */
static void look(struct vhost *v)
{
	int there = v->socket < 0 ? 0 : vhost_peek(v->socket);

	if (there != 0)
		settle(v, there > 0 ? -EPROTO : there);
}

void vhost_look(struct vhost *v)
{
	pthread_mutex_lock(&v->dev.lock);
	pthread_mutex_lock(&v->lock);
	look(v);
	pthread_mutex_unlock(&v->lock);
	pthread_mutex_unlock(&v->dev.lock);
}

/* Deals with one thing that has happened; the device may be in a reset, which has the rings for
 * itself. */
static void happened(struct vhost *v, const void *what)
{
	uint64_t n;

	pthread_mutex_lock(&v->dev.lock);
	pthread_mutex_lock(&v->lock);
	if (what == &v->timer_fd) {
		if (read(v->timer_fd, &n, sizeof(n)) == sizeof(n))
			reach(v);
	} else if (what == &v->ask_fd) {
		take_answers(v);
	} else if (what == &v->channel) {
		serve_request(v);
	} else {
		look(v);
	}
	pthread_mutex_unlock(&v->lock);
	pthread_mutex_unlock(&v->dev.lock);
}

/* Serves the back end. One that has no end of requests is not to hold its vCPU: the rest is a
 * task. */
static void serve(struct vhost *v)
{
	struct epoll_event ev[EVENTS_MAX];
	int n = v->left ? 0 : epoll_wait(v->epoll_fd, ev, EVENTS_MAX, 0);

	for (int i = 0; i < n; i++)
		happened(v, ev[i].data.ptr);
	if (n > 0)
		halter_post(v->dev.home, &v->task);
}

static void serve_again(struct halter_task *task)
{
	serve(container_of(task, struct vhost, task));
}

static void ready(struct ring_handler *handler, uint32_t events)
{
	serve(container_of(handler, struct vhost, handler));
}

int vhost_ask_over(struct vhost *v, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &v->ask_fd};

	v->ask_fd = fd;
	return epoll_ctl(v->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int vhost_attach(struct vhost *v, struct catnap_halter *const *homes)
{
	int ret = halter_add_source(v->dev.home, v->epoll_fd, POLLIN, &v->handler);

	if (ret == 0 && vhost_has_control(v))
		ret = halter_add_source(v->dev.home, v->kick_fds[v->queues], POLLIN, &v->control);
	for (unsigned int i = 0; i < v->queues && ret == 0; i++) {
		ret = halter_add_source(homes[i], v->calls[i].fd, POLLIN, &v->calls[i].handler);
		if (ret == 0)
			v->calls[i].home = homes[i];
	}
	return ret;
}

void vhost_detach(struct vhost *v)
{
	v->left = true;
	halter_del_source(v->dev.home, v->epoll_fd, &v->handler);
	if (vhost_has_control(v))
		halter_del_source(v->dev.home, v->kick_fds[v->queues], &v->control);
	for (unsigned int i = 0; i < v->queues; i++)
		if (v->calls[i].home)
			halter_del_source(v->calls[i].home, v->calls[i].fd, &v->calls[i].handler);
}

void vhost_begin_life(struct vhost *v)
{
	v->dev.ops = &ops;
	v->handler.ready = ready;
	v->control.ready = commanded;
	v->task.run = serve_again;
	for (unsigned int i = 0; i < VHOST_QUEUES_MAX; i++)
		v->calls[i].handler.ready = called;
}
