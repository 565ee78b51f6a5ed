/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A split virtqueue, the device's side (virtio 1.2, section 2.7), with indirect descriptors
 * (2.7.5.3) and the event index (2.7.7, 2.7.10). All checks of what a driver writes are in here:
 *
 *	while ((ret = vq_pop(q, &chain)) > 0) {
 *		... read from chain.iov[0 .. out), write to chain.iov[out .. out + in) ...
 *		vq_push(q, &chain, bytes_written);
 *	}
 *	if (vq_publish(q))
 *		interrupt;
 *
 * pop and push need not be in order, nor in one go: a chain that was popped is in flight until it
 * is pushed. A malformed ring makes the queue broken: pop returns an error, then and ever after,
 * until the queue is reset; chains in flight may still be pushed.
 *
 * The lock is for those who use the queue: it is held around every function here but the setup
 * ones. It is uncontended where a queue belongs to one vCPU, which is the common case, and it is
 * what lets any vCPU that kicks process the queue at once, on its own ring.
 */
#ifndef DEVICES_VIRTIO_QUEUE_H
#define DEVICES_VIRTIO_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "devices/dma.h"
#include "state.h"

#define VQ_SIZE_MAX 256 /* the most; a driver may choose any power of two up to it */

struct vq_desc; /* the three rings, as the driver lays them out; see queue.c */
struct vq_avail;
struct vq_used;

struct virtqueue {
	pthread_mutex_t lock;

	/* Set by the driver through the transport while the queue is not enabled. */
	uint16_t size;				/* 0: not there */
	uint64_t desc_gpa, avail_gpa, used_gpa; /* driver area: avail; device area: used */

	/* Constant while enabled. */
	bool enabled;
	bool indirect, event_idx; /* negotiated */
	const struct dma *dma;
	struct vq_desc *desc;
	struct vq_avail *avail;
	struct vq_used *used;

	/* Under the lock. */
	bool broken;
	bool kicks_wanted;   /* the last word to vq_kicks() */
	uint16_t next_avail; /* the next entry of the available ring to look at */
	uint16_t next_used;  /* the next entry of the used ring to fill */
	uint16_t published;  /* used->idx as the driver sees it */
	uint16_t inflight;   /* popped and not pushed; at most size */
	uint16_t last_head;  /* of the last popped chain */
	bool last_again;     /* it was one of those of again[] */
	/* Heads in flight, a bit each: a head names one request at a time. */
	uint64_t busy[VQ_SIZE_MAX / 64];
	/* Heads that were in flight when a snapshot was taken: they are popped before all others. */
	uint64_t again[VQ_SIZE_MAX / 64];
	uint16_t again_count;
	const char *fault; /* why it is broken, a static string; NULL: it is not */
};

/* A descriptor chain: @out buffers to read from, then @in buffers to write to. */
struct vq_chain {
	uint16_t head; /* names it in the used ring */
	uint16_t out, in;
	uint32_t out_len, in_len; /* bytes in all; a chain has at most 2^32 - 1 of each */
	/* The caller's, for max entries; buffers of length 0 take none. A longer chain is
	 * malformed: whoever makes devices offers a seg_max that fits. */
	struct iovec *iov;
	uint16_t max;
};

/* Returns 0 or -errno of pthread_mutex_init(). */
int vq_init(struct virtqueue *q, const struct dma *dma);
void vq_fini(struct virtqueue *q);
/* Puts the queue back to its state after vq_init(). Nothing may be in flight. */
void vq_reset(struct virtqueue *q);
/*
 * Enables the queue, once the driver is done with the setup. Returns 0, or -EINVAL: size 0, above
 * VQ_SIZE_MAX or no power of two; a ring that is misaligned (16, 2, 4 bytes) or not wholly in
 * memory. The queue is then as before.
 */
int vq_enable(struct virtqueue *q, bool indirect, bool event_idx);

/*
 * Takes the next chain. 1: there is one; 0: none; -EPROTO: the queue is broken (an index that is
 * ahead by more than the size, a descriptor out of range, a loop, a buffer outside memory,
 * a readable buffer after a writable one, an indirect table where none may be or of the
 * wrong size, more than size chains in flight, a head that is in flight already). q->fault says
 * which. Nothing was taken then.
 */
int vq_pop(struct virtqueue *q, struct vq_chain *chain);
/* Gives the last popped chain back, as if it had not been popped. Nothing popped since. */
void vq_unpop(struct virtqueue *q);
/* Gives a chain back, which is done: @written bytes of its in buffers were written. The driver sees
 * it after vq_publish(). */
void vq_push(struct virtqueue *q, uint16_t head, uint32_t written);
/* Breaks the queue, with a static string: the chain that was popped is not what the device's rules
 * ask for. Returns -EPROTO. */
int vq_break(struct virtqueue *q, const char *why);
/* Shows the driver what was pushed. True: it wants an interrupt for that. */
bool vq_publish(struct virtqueue *q);
/*
 * Asks the driver for kicks, or to leave them be (it may kick all the same). After asking for them
 * returns true if there are chains that it added before it could see the request: pop again.
 */
bool vq_kicks(struct virtqueue *q, bool wanted);
/* Returns whether there are chains that wait to be popped. It may be wrong about a broken queue. */
bool vq_waiting(const struct virtqueue *q);

/* The state of a queue in a snapshot. */
struct vq_state {
	uint16_t size;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	bool enabled, broken, kicks_wanted;
	uint16_t next_avail, next_used, published;
	uint16_t count; /* of the chains in flight */
	uint64_t heads[VQ_SIZE_MAX / 64];
};

/* Writes the queue's state, in an open section. Chains in flight are written as such. Lock held. */
void vq_save(const struct virtqueue *q, struct state_writer *w);
/* Reads what vq_save() has written, and notes what is wrong in @in. @size_max: what is offered. */
void vq_read(struct vq_state *s, uint16_t size_max, struct state_in *in);
/*
 * Makes a queue that was reset what @s says. Chains that were in flight are popped again, before all
 * others. -EINVAL: a ring that is misaligned or not wholly in memory. Lock held.
 */
int vq_load(struct virtqueue *q, const struct vq_state *s, bool indirect, bool event_idx);

/*
 * Read or change the rings, as they are at this moment, of a queue that somebody else uses (vhost).
 * Enabled. Positions are of 16 bits, and wrap around.
 */
uint16_t vq_shared_avail(const struct virtqueue *q);
uint16_t vq_shared_used(const struct virtqueue *q);
uint16_t vq_shared_avail_at(const struct virtqueue *q, uint16_t at);
uint32_t vq_shared_used_at(const struct virtqueue *q, uint16_t at);
void vq_shared_set_avail(struct virtqueue *q, uint16_t at, uint16_t head);
/* Tells dma_wrote() again of the buffers of chains in flight, which are still to be written. */
void vq_will_write(struct virtqueue *q);

/* Copies between a chain's buffers, or any iovecs, and bytes of ours: from @offset, at most @len.
 * Returns how many bytes were copied. */
size_t iov_read(const struct iovec *iov, unsigned int count, size_t offset, void *to, size_t len);
size_t iov_write(const struct iovec *iov, unsigned int count, size_t offset, const void *from,
		 size_t len);
/* Takes @len bytes off the front of the @count buffers at *@iov.
 * Returns how many buffers are left. */
unsigned int iov_skip(struct iovec **iov, unsigned int count, size_t len);

#endif
