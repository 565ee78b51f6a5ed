/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents under /catnap of the control socket, made of a VM: docs/openapi.yaml has their
 * members. Only through the library's public calls, on the thread of the caller, who puts what is
 * returned. NULL: no memory.
 */
#ifndef CLI_API_OWN_H
#define CLI_API_OWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <json-c/json.h>

#include <catnap/catnap.h>
#include "cli/api/metrics.h"

/* own_stats.c: returns all statistics. @e: how it ended; NULL: it has not. */
struct json_object *own_stats(struct catnap_vm *vm, const struct catnap_exit *e);
/* Returns why a VM has ended, as in the statistics. @e NULL: a JSON null. */
struct json_object *own_exit(const struct catnap_exit *e);
/* Returns "poweroff" for CATNAP_EXIT_POWEROFF and so on. Never NULL. */
const char *own_exit_reason(uint32_t reason);

/* own_devices.c: return the devices. own_device_kind(): "disk", "net", ... for virtio's number
 * @type. */
struct json_object *own_devices(struct catnap_vm *vm);
struct json_object *own_device(const struct catnap_device_stats *s);
/* Reads the statistics of the first device from number *@i on, and makes *@i its number: some may have
 * been removed. Returns false if there is none. */
bool own_next_device(struct catnap_vm *vm, uint32_t *i, struct catnap_device_stats *s);
const char *own_device_kind(uint32_t type);

/* own_halt.c: returns the halt polling of vCPU @vcpu as it was asked for. */
struct json_object *own_halt_poll(struct catnap_vm *vm, uint32_t vcpu);

/* The changes of it that a PATCH asks for. */
struct own_halt_change {
	bool has_policy, has_max, has_grow, has_grow_start, has_shrink, has_bias, has_cpu_max,
		has_group, has_price, has_spin;
	struct catnap_halt_poll to;
};

/* Changes vCPU @vcpu; -1: all, and the I/O thread if they are the same then. 0, or -errno with a
 * sentence in @why; then nothing has changed. */
int own_halt_poll_change(struct catnap_vm *vm, int32_t vcpu, const struct own_halt_change *c,
			 char *why, size_t size);

/* own_learned.c: returns what policy adaptive has learned. */
struct json_object *own_learned(struct catnap_vm *vm);

/* own_status.c: returns where a VM stands in its life; NULL: it is not made yet. It is one of
 * own_states, which ends with NULL. */
const char *own_state(struct catnap_vm *vm);
extern const char *const own_states[];

/* own_threads.c: returns the threads, with their ids. */
struct json_object *own_threads(struct catnap_vm *vm);

/* own_event.c: returns an event, as a line of /catnap/events has it. */
struct json_object *own_event(const struct catnap_event *e);

/* ---- what the resources under /catnap keep ---- */

struct api;
struct own_stream;
struct own_waiter;

/* Events that are still told to who asks for the history. */
#define OWN_HISTORY 256
/* Devices whose links are known. */
#define OWN_DEVICES 64

struct own {
	struct api_metrics metrics;
	uint64_t started_ns; /* CLOCK_REALTIME; 0: not started */
	/* As the events have told. */
	bool unplugged[OWN_DEVICES];
	bool kept[OWN_DEVICES]; /* the guest has refused to let go of it since it was asked last */
	bool ended;
	struct catnap_exit exit; /* once it has */
	/* Lines, the oldest at first. */
	char *history[OWN_HISTORY];
	size_t first, n;
	struct own_stream *streams;
	struct own_waiter *waiters; /* for the end */
	/* The configuration as a file; NULL: there is none. Put at the end. */
	struct json_object *config;
};

/* Zeroes are a beginning. Ends streams, and answers who still waits; before the server's end. */
void own_free(struct own *own);
/* Returns a descriptor that is readable when own_events() has something to do; -1: none yet. */
int own_events_fd(const struct api *api);
/* Takes what has happened to the VM, and tells those who wait for it. Nobody else may take the
 * VM's events. */
void own_events(struct api *api);

#endif
