/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speaks to a back end, and takes its answers. Each function is one exchange with one deadline; a
 * reply has the number that was asked for, says that it is one, and has the size that it must have.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "devices/vhost/vhost_impl.h"
#include "poll/clock.h"
#include "relaxed.h"

#define BIT(n) (UINT64_C(1) << (n))

#define PROTOCOL_FEATURES                                               \
	(BIT(VHOST_PROTOCOL_MQ) | BIT(VHOST_PROTOCOL_REPLY_ACK) |       \
	 BIT(VHOST_PROTOCOL_BACKEND_REQ) | BIT(VHOST_PROTOCOL_CONFIG) | \
	 BIT(VHOST_PROTOCOL_INFLIGHT_SHMFD))

#define NO_FD 0x100u /* of SET_VRING_CALL and such: none comes along */

/* One exchange: until when, with whom. */
struct talk {
	struct vhost *v;
	uint64_t deadline;
};

static struct talk begin(struct vhost *v)
{
	return (struct talk){v, clock_monotonic_ns() + v->patience_ns};
}

static bool has(const struct vhost *v, unsigned int protocol)
{
	return v->protocol >> protocol & 1;
}

static struct vhost_message message(uint32_t request, uint32_t size)
{
	struct vhost_message m;

	memset(&m, 0, sizeof(m));
	m.head = (struct vhost_header){request, VHOST_VERSION, size};
	return m;
}

/* Reads the reply to @request into *@m, of @least to @most bytes. */
static int reply(const struct talk *t, uint32_t request, struct vhost_message *m, uint32_t least,
		 uint32_t most, int *fd)
{
	int ret = vhost_receive(t->v->socket, m, fd, t->deadline);

	if (ret < 0)
		return ret;
	if (m->head.request == request && (m->head.flags & VHOST_REPLY) && m->head.size >= least &&
	    m->head.size <= most)
		return 0;
	if (fd && *fd >= 0)
		close(*fd);
	return -EPROTO;
}

/* Sends what needs no answer, and has it acknowledged where it can be. */
static int tell_fds(const struct talk *t, struct vhost_message *m, const int *fds,
		    unsigned int count)
{
	const bool ack = has(t->v, VHOST_PROTOCOL_REPLY_ACK);
	struct vhost_message answer;
	int ret;

	if (ack)
		m->head.flags |= VHOST_NEED_REPLY;
	ret = vhost_send(t->v->socket, m, fds, count, t->deadline);
	if (ret < 0 || !ack)
		return ret;
	ret = reply(t, m->head.request, &answer, sizeof(answer.u64), sizeof(answer.u64), NULL);
	return ret < 0 ? ret : answer.u64 ? -EREMOTEIO : 0;
}

static int tell(const struct talk *t, struct vhost_message *m)
{
	return tell_fds(t, m, NULL, 0);
}

static int tell_u64(const struct talk *t, uint32_t request, uint64_t value)
{
	struct vhost_message m = message(request, sizeof(value));

	m.u64 = value;
	return tell(t, &m);
}

static int tell_state(const struct talk *t, uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_message m = message(request, VHOST_STATE_SIZE);

	m.state.index = index;
	m.state.num = num;
	return tell(t, &m);
}

static int ask_u64(const struct talk *t, uint32_t request, uint64_t *value)
{
	struct vhost_message m = message(request, 0);
	int ret = vhost_send(t->v->socket, &m, NULL, 0, t->deadline);

	if (ret == 0)
		ret = reply(t, request, &m, sizeof(m.u64), sizeof(m.u64), NULL);
	if (ret == 0)
		*value = m.u64;
	return ret;
}

/* -- configuration ---------------------------------------------------------------------------- */

/* Returns whether the byte that says so is the front end's; @features: the back end's. */
static bool has_cache(const struct vhost *v, uint64_t features)
{
	return v->kind.caches && (features & v->kind.caches) == v->kind.caches;
}

static int fetch_config(const struct talk *t, uint64_t features, uint8_t config[VHOST_CONFIG_MAX])
{
	const uint32_t len = t->v->kind.config_len, size = VHOST_CONFIG_HEAD + len;
	struct vhost_message m = message(VHOST_GET_CONFIG, size);
	uint16_t queues = (uint16_t)t->v->queues;
	int ret;

	m.config.size = len;
	ret = vhost_send(t->v->socket, &m, NULL, 0, t->deadline);
	if (ret == 0)
		ret = reply(t, VHOST_GET_CONFIG, &m, 0, size, NULL);
	if (ret < 0)
		return ret;
	if (m.head.size == 0)
		return -EREMOTEIO;
	if (m.head.size != size || m.config.size != len || m.config.offset != 0)
		return -EPROTO;
	memcpy(config, m.config.bytes, len);
	if (t->v->kind.queues_at)
		memcpy(config + t->v->kind.queues_at, &queues, sizeof(queues));
	if (has_cache(t->v, features))
		config[t->v->kind.write_at] = t->v->made ? t->v->config[t->v->kind.write_at] : 1;
	return 0;
}

int vhost_fetch_config(struct vhost *v, uint8_t config[VHOST_CONFIG_MAX])
{
	const struct talk t = begin(v);

	return fetch_config(&t, v->features, config);
}

static int put_config(const struct talk *t, uint32_t offset, const void *data, uint32_t len)
{
	struct vhost_message m = message(VHOST_SET_CONFIG, VHOST_CONFIG_HEAD + len);

	m.config.offset = offset;
	m.config.size = len;
	memcpy(m.config.bytes, data, len);
	return tell(t, &m);
}

/*
 * Tells a back end whether to cache writes: not for a driver that has no flushes. And not if another
 * one may take its place: what one that is killed has had in its cache is lost, and the flush that
 * comes after that, to the next, would promise it.
 */
static int give_cache(const struct talk *t)
{
	const struct vhost *v = t->v;
	const bool flushes = relaxed_load(&v->dev.features) & v->kind.flush;
	uint8_t on = v->config[v->kind.write_at];
	int ret;

	if (!has_cache(v, v->features) || !has(v, VHOST_PROTOCOL_CONFIG))
		return 0;
	if (!flushes || v->reconnect)
		on = 0;
	ret = put_config(t, v->kind.write_at, &on, 1);
	/* Where it may cache, the driver makes its flushes whatever it does. */
	return ret == -EREMOTEIO && on ? 0 : ret;
}

int vhost_put_config(struct vhost *v, uint32_t offset, const void *data, uint32_t len)
{
	const struct talk t = begin(v);

	if (!has(v, VHOST_PROTOCOL_CONFIG) || len > VHOST_CONFIG_MAX)
		return 0;
	return has_cache(v, v->features) ? give_cache(&t) : put_config(&t, offset, data, len);
}

/* -- the beginning ---------------------------------------------------------------------------- */

/* Throws away what a back end before this one has sent and nobody has read. */
static void drain_channel(struct vhost *v)
{
	char rest[256];
	ssize_t n;

	do
		n = read(v->channel, rest, sizeof(rest));
	while (n > 0 || (n < 0 && errno == EINTR));
}

static int negotiate_protocol(const struct talk *t, struct vhost_offer *offer)
{
	struct vhost *v = t->v;
	uint64_t queues = 1;
	int ret = ask_u64(t, VHOST_GET_PROTOCOL_FEATURES, &offer->protocol);

	if (ret < 0)
		return ret;
	offer->protocol &= PROTOCOL_FEATURES;
	/* It may acknowledge this one already, or not: so it is not asked to. */
	ret = tell_u64(t, VHOST_SET_PROTOCOL_FEATURES, offer->protocol);
	v->protocol = offer->protocol;
	offer->queues = VHOST_QUEUES_MAX; /* of types that have a fixed number, nobody says */
	if (ret == 0 && has(v, VHOST_PROTOCOL_MQ)) {
		ret = ask_u64(t, VHOST_GET_QUEUE_NUM, &queues);
		offer->queues = queues < VHOST_QUEUES_MAX ? (unsigned int)queues : VHOST_QUEUES_MAX;
	}
	return ret;
}

static int give_channel(const struct talk *t)
{
	struct vhost_message m = message(VHOST_SET_BACKEND_REQ_FD, 0);

	drain_channel(t->v);
	return tell_fds(t, &m, &t->v->channel_peer, 1);
}

int vhost_negotiate(struct vhost *v, struct vhost_offer *offer)
{
	struct vhost_message owner = message(VHOST_SET_OWNER, 0);
	const struct talk t = begin(v);
	int ret;

	memset(offer, 0, sizeof(*offer));
	v->protocol = 0;
	offer->queues = VHOST_QUEUES_MAX;
	ret = ask_u64(&t, VHOST_GET_FEATURES, &offer->features);
	if (ret == 0 && offer->features >> VHOST_F_PROTOCOL_FEATURES & 1)
		ret = negotiate_protocol(&t, offer);
	if (ret == 0)
		ret = tell(&t, &owner);
	if (ret == 0 && has(v, VHOST_PROTOCOL_BACKEND_REQ))
		ret = give_channel(&t);
	if (ret == 0 && v->kind.remote && v->kind.config_len && has(v, VHOST_PROTOCOL_CONFIG))
		ret = fetch_config(&t, offer->features, offer->config);
	return ret;
}

/* -- the rings -------------------------------------------------------------------------------- */

static int give_features(const struct talk *t)
{
	struct vhost *v = t->v;
	uint64_t features = relaxed_load(&v->dev.features) & ~v->kind.own;

	features |= v->features & BIT(VHOST_F_PROTOCOL_FEATURES);
	return tell_u64(t, VHOST_SET_FEATURES, features);
}

static int give_memory(const struct talk *t)
{
	const struct vhost *v = t->v;
	struct vhost_message m = message(VHOST_SET_MEM_TABLE,
					 (uint32_t)(8 + v->region_count * sizeof(v->regions[0])));
	int fds[VHOST_REGIONS_MAX];

	m.memory.count = v->region_count;
	memcpy(m.memory.regions, v->regions, v->region_count * sizeof(v->regions[0]));
	for (unsigned int i = 0; i < v->region_count; i++)
		fds[i] = v->memory_fd;
	return tell_fds(t, &m, fds, v->region_count);
}

static uint16_t largest_queue(const struct vhost *v)
{
	uint16_t most = 0;

	for (unsigned int i = 0; i < v->queues; i++)
		if (vhost_is_set_up(v, i) && v->dev.queues[i].vq.size > most)
			most = v->dev.queues[i].vq.size;
	return most;
}

static int get_inflight(const struct talk *t)
{
	struct vhost_message m = message(VHOST_GET_INFLIGHT_FD, VHOST_INFLIGHT_SIZE);
	struct vhost_inflight *f = &t->v->inflight;
	int ret;

	m.inflight.queues = (uint16_t)t->v->queues;
	m.inflight.queue_size = largest_queue(t->v);
	ret = vhost_send(t->v->socket, &m, NULL, 0, t->deadline);
	if (ret == 0)
		ret = reply(t, VHOST_GET_INFLIGHT_FD, &m, VHOST_INFLIGHT_SIZE_MIN,
			    VHOST_INFLIGHT_SIZE, &f->fd);
	if (ret < 0) {
		f->fd = -1;
		return ret;
	}
	f->size = m.inflight.size;
	f->offset = m.inflight.offset;
	return 0;
}

static int set_inflight(const struct talk *t)
{
	struct vhost_message m = message(VHOST_SET_INFLIGHT_FD, VHOST_INFLIGHT_SIZE);
	const struct vhost_inflight *f = &t->v->inflight;

	m.inflight.size = f->size;
	m.inflight.offset = f->offset;
	m.inflight.queues = (uint16_t)t->v->queues;
	m.inflight.queue_size = largest_queue(t->v);
	return tell_fds(t, &m, &f->fd, 1);
}

static int give_inflight(const struct talk *t)
{
	int ret = 0;

	if (!has(t->v, VHOST_PROTOCOL_INFLIGHT_SHMFD))
		return 0;
	if (t->v->inflight.fd < 0)
		ret = get_inflight(t);
	/* A back end may have nothing to hand on. */
	return ret < 0 || t->v->inflight.fd < 0 ? ret : set_inflight(t);
}

static int give_addresses(const struct talk *t, unsigned int index)
{
	const struct virtqueue *vq = &t->v->dev.queues[index].vq;
	struct vhost_message m = message(VHOST_SET_VRING_ADDR, VHOST_ADDR_SIZE);

	m.addr.index = index;
	m.addr.desc = (uintptr_t)vq->desc;
	m.addr.avail = (uintptr_t)vq->avail;
	m.addr.used = (uintptr_t)vq->used;
	return tell(t, &m);
}

static int give_fd(const struct talk *t, uint32_t request, unsigned int index, int fd)
{
	struct vhost_message m = message(request, sizeof(m.u64));

	m.u64 = index | (fd < 0 ? NO_FD : 0);
	return tell_fds(t, &m, &fd, fd >= 0);
}

/* Returns where a back end begins in a queue, of which another one may have had a part. */
static uint16_t ring_base(struct vhost *v, unsigned int index, bool again)
{
	struct vhost_track *track = &v->calls[index].track;
	struct virtqueue *vq = &v->dev.queues[index].vq;
	uint16_t base = 0;

	pthread_mutex_lock(&vq->lock);
	if (!again)
		vhost_track_begin(track);
	else
		base = vq_shared_used(vq);
	if (again && v->inflight.fd < 0 && !v->kind.in_order)
		vhost_track_restore(track, vq);
	pthread_mutex_unlock(&vq->lock);
	return base;
}

static int give_ring(const struct talk *t, unsigned int index, bool again)
{
	struct vhost *v = t->v;
	const struct virtqueue *vq = &v->dev.queues[index].vq;
	int ret = tell_state(t, VHOST_SET_VRING_NUM, index, vq->size);

	if (ret == 0)
		ret = tell_state(t, VHOST_SET_VRING_BASE, index, ring_base(v, index, again));
	if (ret == 0)
		ret = give_addresses(t, index);
	if (ret == 0)
		ret = give_fd(t, VHOST_SET_VRING_CALL, index, v->calls[index].fd);
	if (ret == 0)
		ret = give_fd(t, VHOST_SET_VRING_KICK, index, v->kick_fds[index]);
	return ret;
}

/* Enables the rings that are in use, and disables the others. */
static int enable_rings(const struct talk *t)
{
	const struct vhost *v = t->v;
	int ret = 0;

	if (!(v->features >> VHOST_F_PROTOCOL_FEATURES & 1))
		return 0;
	for (unsigned int i = 0; i < v->queues && ret == 0; i++) {
		const bool used = !v->kind.pairs || i / 2 < v->pairs;

		if (vhost_is_set_up(v, i))
			ret = tell_state(t, VHOST_SET_VRING_ENABLE, i, used);
	}
	return ret;
}

int vhost_start_rings(struct vhost *v, bool again)
{
	const struct talk t = begin(v);
	int ret = give_features(&t);

	if (ret == 0)
		ret = give_memory(&t);
	if (ret == 0)
		ret = give_inflight(&t);
	if (ret == 0)
		ret = give_cache(&t);
	for (unsigned int i = 0; i < v->queues && ret == 0; i++)
		if (vhost_is_set_up(v, i))
			ret = give_ring(&t, i, again);
	return ret < 0 ? ret : enable_rings(&t);
}

int vhost_enable_rings(struct vhost *v)
{
	const struct talk t = begin(v);

	return enable_rings(&t);
}

int vhost_stop_rings(struct vhost *v)
{
	const struct talk t = begin(v);
	int ret = 0;

	for (unsigned int i = 0; i < v->queues && ret == 0; i++) {
		struct vhost_message m = message(VHOST_GET_VRING_BASE, VHOST_STATE_SIZE);

		if (!vhost_is_set_up(v, i))
			continue;
		m.state.index = i;
		ret = vhost_send(v->socket, &m, NULL, 0, t.deadline);
		if (ret == 0)
			ret = reply(&t, VHOST_GET_VRING_BASE, &m, VHOST_STATE_SIZE,
				    VHOST_STATE_SIZE, NULL);
		if (ret == 0 && m.state.index != i)
			ret = -EPROTO;
	}
	return ret;
}

/* -- the other way ---------------------------------------------------------------------------- */

int vhost_serve_request(struct vhost *v, bool *changed)
{
	const struct talk t = begin(v);
	struct vhost_message m;
	bool known;
	int ret;

	if (v->socket < 0) {
		drain_channel(v); /* of one that has gone */
		return 0;
	}
	if (vhost_peek(v->channel) <= 0)
		return 0;
	ret = vhost_receive(v->channel, &m, NULL, t.deadline);
	if (ret < 0)
		return ret;
	known = m.head.request == VHOST_BACKEND_CONFIG_CHANGE;
	*changed = known;
	if (!(m.head.flags & VHOST_NEED_REPLY) || !has(v, VHOST_PROTOCOL_REPLY_ACK))
		return 0;
	m.head.flags = VHOST_VERSION | VHOST_REPLY;
	m.head.size = sizeof(m.u64);
	m.u64 = !known;
	return vhost_send(v->channel, &m, NULL, 0, t.deadline);
}
