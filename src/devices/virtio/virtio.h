/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device as its transport sees it, and a transport as the device sees it (virtio 1.2,
 * sections 2.1 to 2.6 and 3). A device model (blk.h, net.h, ...) begins with a struct virtio_device
 * and fills in its ops; a transport (mmio.h, pci.h) owns registers and interrupts, and calls the
 * virtio_* functions below. Version 1 only: no legacy interface.
 *
 * Threads. Registers are accessed on any vCPU's thread. A kick is processed at once on the
 * thread that made it, and what it submits goes into the ring of that thread's halter
 * (halter_self()): so the vCPU that waits for I/O reaps its own completion. With an I/O thread
 * (`io` set) kicks are posted to it instead. Input that no kick brings (a packet, a connection) is
 * armed in the ring of one halter, the device's home, and handled on its thread.
 *
 * Locks: device lock (status, features, configuration), then queue lock; never two queues' locks at
 * once unless the device says in which order. Interrupts may be raised with either held.
 *
 * Reset at any moment: virtio_set_status(0) stops the device (no new request is begun), waits until
 * all requests in flight are done - reaping the waiting thread's own ring meanwhile, so that two
 * vCPUs that reset two devices cannot wait for each other - and only then are the queues forgotten:
 * nothing writes to the guest's memory after a reset has completed.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_H
#define DEVICES_VIRTIO_VIRTIO_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/dma.h"
#include "devices/log_limit.h"
#include "devices/virtio/queue.h"
#include "devices/virtio/throttle.h"
#include "errors.h"
#include "poll/halter.h"
#include "relaxed.h"
#include "state.h"

/* Device status (2.1). */
#define VIRTIO_STATUS_ACKNOWLEDGE 1u
#define VIRTIO_STATUS_DRIVER	  2u
#define VIRTIO_STATUS_DRIVER_OK	  4u
#define VIRTIO_STATUS_FEATURES_OK 8u
#define VIRTIO_STATUS_NEEDS_RESET 64u
#define VIRTIO_STATUS_FAILED	  128u

/* Feature bits that every device offers (6). */
#define VIRTIO_F_INDIRECT_DESC	 28
#define VIRTIO_F_EVENT_IDX	 29
#define VIRTIO_F_VERSION_1	 32
#define VIRTIO_F_ACCESS_PLATFORM 33 /* not offered */

struct virtio_device;

struct virtio_ops {
	/* Device configuration, lock held; [offset, offset + len) is within config_len. NULL: a
	 * copy of the config bytes is read, writes are ignored. */
	void (*config_read)(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len);
	void (*config_write)(struct virtio_device *dev, uint32_t offset, const void *data,
			     uint32_t len);
	/* The same write, with no lock held any more: for what may take its time. NULL: nothing. */
	void (*config_written)(struct virtio_device *dev, uint32_t offset, const void *data,
			       uint32_t len);
	/* DRIVER_OK: features are agreed on, the enabled queues may be used from now on. Lock held.
	 * The device does not run yet; when it does, each queue is kicked once, so that what the
	 * driver has added before is found. NULL: nothing to do. */
	void (*start)(struct virtio_device *dev);
	/* The driver has added to queue @index, or may have (one that is not enabled has nothing to
	 * pop). On a halter's thread, if the VM has any; no lock held.
	 * May still be under way when the device stops: with the queue's lock taken it looks at
	 * dev->running, and begins requests only if that is set. */
	void (*kick)(struct virtio_device *dev, unsigned int index);
	/* The device runs no more. Cancel what would not end by itself (a read of a console).
	 * Requests in flight count in dev->inflight, and are waited for. Lock not held. Any
	 * halter's thread; may not wait for another. NULL: nothing to do. */
	void (*stop)(struct virtio_device *dev);
	/* Nothing is in flight: forget what the driver has set. Lock held. NULL: nothing. */
	void (*reset)(struct virtio_device *dev);

	/* Snapshots, see virtio_save(). The id and the newest version of the device's own section;
	 * 0: it cannot be saved. */
	uint32_t state_id;
	uint16_t state_version;
	/* Writes the device's own state, in that section. All threads stand; no lock held. 0, or
	 * -errno with a sentence. */
	int (*save)(struct virtio_device *dev, struct state_writer *w, struct error *err);
	/* Reads that section whole, checks it, and takes it over. Features and status are there
	 * already, and queues are not. 0, or -errno with a sentence. */
	int (*load)(struct virtio_device *dev, struct state_in *in, struct error *err);
	/* All of the VM's state is there: what the host's side needs to go on, and what the driver
	 * has to be told. Only if a driver uses the device. 0, or -errno with a sentence. NULL:
	 * nothing. */
	int (*restored)(struct virtio_device *dev, struct error *err);
	/* Features that a driver may go on with where they are not offered any more. */
	uint64_t kept_features;
};

/* The calls that a transport offers its device. Any thread; locks may be held. */
struct virtio_transport_ops {
	void (*interrupt_queue)(void *transport, unsigned int index);
	void (*interrupt_config)(void *transport);
};

/* Counters of a device since it was made. Relaxed; any thread counts, any thread reads. */
struct virtio_counters {
	_Atomic uint64_t requests, errors; /* an error is one that the driver was told of */
	_Atomic uint64_t read_bytes, written_bytes; /* by the driver, of the device */
};

static inline void virtio_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* The events that the VM's owner is told of, see virtio_tell(). */
enum virtio_event {
	VIRTIO_EVENT_LINK,	  /* value: it is up */
	VIRTIO_EVENT_NEEDS_RESET, /* the driver's mistake is the text */
	VIRTIO_EVENT_NO_MEMORY,	  /* the guest has too little */
};

struct virtio_queue_state {
	struct virtqueue vq;
	struct virtio_device *dev;
	unsigned int index;
	uint16_t size_max;	      /* offered */
	struct halter_task kick_task; /* a kick on its way to the I/O thread, or one that waited */
};

#define VIRTIO_QUEUES_MAX \
	66 /* a network device with 32 pairs and the control queue, and to spare */

#define VIRTIO_THROTTLES 2 /* of a device, at most: of each direction */

struct virtio_device {
	/* Constant once made. */
	const struct virtio_ops *ops;
	const char *name; /* for messages: "disk root.img" */
	uint16_t id;	  /* 5: the device types */
	bool sockets;	  /* what it reads and writes is a socket */
	bool external;	  /* its back end is another process (vhost.h): no state of it is here */
	uint64_t offered; /* features */
	uint32_t config_len;
	void *config; /* config_len bytes, little-endian, as the driver sees them */
	unsigned int queue_count;
	struct virtio_queue_state *queues;
	const struct dma *dma;
	struct catnap_halter *home; /* where input is waited for; a vCPU's or the I/O thread's */
	struct catnap_halter *io;   /* the I/O thread's; NULL: whoever kicks does the work */
	/* The device's rate limits; NULL: none. They are attached to home by whoever sets that. */
	struct throttle *throttles[VIRTIO_THROTTLES];
	const struct virtio_transport_ops *transport_ops;
	void *transport;
	void (*log)(void *ctx, const char *message); /* see virtio_log() */
	void *log_ctx;
	/* See virtio_tell(); NULL: nobody. */
	void (*tell)(void *ctx, enum virtio_event event, uint32_t value, const char *text);
	void *tell_ctx;

	/* Under the lock, but may be read without it where said. */
	pthread_mutex_t lock;
	bool features_beyond;	     /* a feature bit above 63 was accepted */
	_Atomic uint8_t status;	     /* any thread reads */
	_Atomic uint64_t features;   /* agreed on; constant after FEATURES_OK */
	_Atomic uint32_t generation; /* of the configuration (2.5) */

	_Atomic bool running;	   /* between start and stop; read with a queue's lock held */
	_Atomic bool resetting;	   /* a reset is under way; written under the lock */
	_Atomic uint32_t inflight; /* requests that use guest memory; any thread */
	struct virtio_counters counters;
	_Atomic uint64_t faults; /* the driver's mistakes, for statistics */
	struct log_limit log_limit;

	pthread_mutex_t idle_lock; /* of idle alone; the last to be taken */
	pthread_cond_t idle;	   /* inflight has become 0, or a reset is complete */
};

/*
 * Makes the core of a device; ops, name, id, offered, config, queue_count and dma are set before,
 * on zeroed memory; transport, home, io and log before the vCPUs run. Offers the features that
 * every device does. 0, -ENOMEM, or -EINVAL: queue_count, or @queue_size is no power of two up to
 * VQ_SIZE_MAX.
 */
int virtio_init(struct virtio_device *dev, uint16_t queue_size);
/* Takes it apart. All threads have gone, nothing is in flight. */
void virtio_fini(struct virtio_device *dev);

/* ---- for transports; any vCPU's thread ---- */

uint32_t virtio_features_offered(struct virtio_device *dev, uint32_t select);
/* Takes what the driver accepts. Ignored once FEATURES_OK is set. */
void virtio_features_accept(struct virtio_device *dev, uint32_t select, uint32_t bits);
/*
 * Takes the driver's write to the status register. 0 resets, and returns when the reset is
 * complete. FEATURES_OK is taken only if the features can be served; DRIVER_OK starts the device.
 * Bits are never cleared but by reset.
 */
void virtio_set_status(struct virtio_device *dev, uint8_t status);
static inline uint8_t virtio_status(struct virtio_device *dev)
{
	return atomic_load_explicit(&dev->status, memory_order_acquire);
}
/* Reads or writes configuration space. The space outside it reads as zeroes and ignores writes. */
void virtio_config_read(struct virtio_device *dev, uint32_t offset, void *data, uint32_t len);
void virtio_config_write(struct virtio_device *dev, uint32_t offset, const void *data,
			 uint32_t len);
/* Returns a queue; NULL: there is no such. virtio_queue_set_* write its setup fields; reading needs
 * no lock. */
struct virtio_queue_state *virtio_queue(struct virtio_device *dev, unsigned int index);
/* All ignored (and counted) if the queue is enabled or does not exist, or after DRIVER_OK. */
enum virtio_ring_part { VIRTIO_RING_DESC, VIRTIO_RING_AVAIL, VIRTIO_RING_USED };
void virtio_queue_set_size(struct virtio_device *dev, unsigned int index, uint16_t size);
void virtio_queue_set_addr(struct virtio_device *dev, unsigned int index,
			   enum virtio_ring_part part, bool high, uint32_t half);
/* Enables a queue. One that cannot be enabled as set up, or before FEATURES_OK, makes the device
 * need a reset. */
void virtio_queue_enable(struct virtio_device *dev, unsigned int index);
/* Puts a queue into its state after reset; ignored after DRIVER_OK. (Drivers that fail half way do
 * so.) */
void virtio_queue_disable(struct virtio_device *dev, unsigned int index);
/* Rings the doorbell of queue @index. Does nothing unless the device runs. */
void virtio_kick(struct virtio_device *dev, unsigned int index);

/* ---- snapshots; all threads stand, or none has started ---- */

/*
 * Writes two sections of @instance: what all devices have, and what this kind has. Nothing is in
 * flight: chains that a device holds are written as such, and will be taken again. Errors, with a
 * sentence:
 *   -ENOTSUP  a device of this kind cannot be saved
 *   -EBUSY    requests of the host are in flight
 *   -ENOMEM, and those of ops->save()
 */
int virtio_save(struct virtio_device *dev, uint32_t instance, struct state_writer *w,
		struct error *err);
/*
 * Gives a device that was just made the state of sections @instance. It does nothing yet. Errors,
 * with a sentence; then the device is good for virtio_fini() only:
 *   -EINVAL   a section is not there, or wrong
 *   -ENOTSUP  a section's version, or what the driver uses is not to be had here
 *   -ENOMEM, and those of ops->load()
 */
int virtio_load(struct virtio_device *dev, uint32_t instance, struct state_reader *r,
		struct error *err);
/* Lets the device go on, and look at all of its queues, after the transport has its state, too.
 * Returns 0, or those of ops->restored(), with a sentence. */
int virtio_restored(struct virtio_device *dev, struct error *err);

/* ---- for devices ---- */

static inline bool virtio_has(const struct virtio_device *dev, unsigned int bit)
{
	return relaxed_load(&dev->features) >> bit & 1;
}
/* Publishes what was pushed to the queue, and interrupts if the driver wants it. The queue's lock
 * is held. */
void virtio_publish(struct virtio_device *dev, unsigned int index);
/* Ends the turn of this kick: another one follows when the thread has looked at its other work.
 * Returns false if the thread has no halter; then go on. */
bool virtio_kick_later(struct virtio_device *dev, unsigned int index);
/* Count a request that uses guest memory as it begins (queue lock held, device running) and as it
 * ends (any thread, any lock; the device must not be touched on its behalf afterwards). */
void virtio_request_begin(struct virtio_device *dev);
void virtio_request_end(struct virtio_device *dev);
/* Waits until @done() holds, which virtio_tell_idle() has looked at, for @ns at most. Returns whether
 * it does. Any thread but those that run the device; no lock held. */
bool virtio_wait(struct virtio_device *dev, bool (*done)(struct virtio_device *dev), uint64_t ns);
/* Tells that something that virtio_wait() waits for may hold now. Any thread, a queue's lock may be
 * held. */
void virtio_tell_idle(struct virtio_device *dev);
/* Raises the generation and interrupts, as the configuration has changed. The lock is held. */
void virtio_config_changed(struct virtio_device *dev);
/* Counts a mistake of the driver's. Any thread, any lock. */
void virtio_fault(struct virtio_device *dev);
/* Counts it as well, and stops the device: NEEDS_RESET, one message, an interrupt. Any thread, any
 * lock. Called while a reset would wait: with a queue's lock held, or a request in flight. */
void virtio_broken(struct virtio_device *dev, const char *what);
/* Tells the VM's owner of an event. Any thread, any lock. */
void virtio_tell(struct virtio_device *dev, enum virtio_event event, uint32_t value,
		 const char *text);
/* Logs a message with the device's name before it; one a second, the rest is counted. Any thread,
 * any lock: the VM hands it over later. */
void virtio_log(struct virtio_device *dev, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
