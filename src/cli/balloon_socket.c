/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --balloon socket=: what a request to the balloon does, and its answer. The request is a line,
 * "state", or "target N", N bytes; the answer an object with what the balloon holds, or with an
 * "error", and then nothing was changed. The socket is for the VM's own user alone, but who speaks
 * there may still be anybody's program: it gets no further than these two.
 */
#include <string.h>
#include <json-c/json.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include "cli/json_out.h"
#include "cli/run.h"

/* Does a driver of the guest's use it just now? */
static bool has_driver(struct catnap_vm *vm)
{
	struct catnap_device_stats s = {.size = sizeof(s)};

	for (uint32_t i = 0; catnap_vm_get_device_stats(vm, i, &s) == 0; i++)
		if (s.type == VIRTIO_ID_BALLOON)
			return (s.status &
				(VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET |
				 VIRTIO_CONFIG_S_FAILED)) == VIRTIO_CONFIG_S_DRIVER_OK;
	return false;
}

/* What the guest has not said is not there. */
static void add_told(struct json_object *o, const char *name, uint64_t value)
{
	if (value != UINT64_MAX)
		add_u64(o, name, value);
}

static void add_state(struct json_object *o, struct catnap_vm *vm)
{
	struct catnap_balloon_stats s = {.size = sizeof(s)};

	catnap_vm_get_balloon_stats(vm, &s);
	add_u64(o, "target", s.target);
	add_u64(o, "actual", s.actual);
	add_u64(o, "released", s.released);
	add_u64(o, "reported", s.reported);
	add_told(o, "total", s.total);
	add_told(o, "free", s.free);
	add_told(o, "available", s.available);
	add_told(o, "caches", s.caches);
	add_told(o, "swap_in", s.swap_in);
	add_told(o, "swap_out", s.swap_out);
	add_told(o, "major_faults", s.major_faults);
	add_told(o, "minor_faults", s.minor_faults);
}

/* Digits alone, up to the end; false: it is nothing of the kind. */
static bool parse_bytes(const char *text, uint64_t *bytes)
{
	*bytes = 0;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(*bytes, 10, bytes) ||
		    __builtin_add_overflow(*bytes, (unsigned int)(*text - '0'), bytes))
			return false;
	}
	return true;
}

/* NULL, or why not. */
static const char *serve(struct catnap_vm *vm, const char *request, bool driver)
{
	static const char word[] = "target ";
	uint64_t bytes;

	if (strcmp(request, "state") == 0)
		return NULL;
	if (strncmp(request, word, sizeof(word) - 1) != 0 ||
	    !parse_bytes(request + sizeof(word) - 1, &bytes))
		return "not understood: expected state, or target and a number of bytes";
	if (!driver)
		return "no driver of the guest's uses its balloon";
	return catnap_vm_set_balloon_target(vm, bytes) < 0 ? catnap_vm_last_error(vm) : NULL;
}

char *balloon_answer(struct catnap_vm *vm, const char *request, size_t *len)
{
	struct json_object *o = json_object_new_object();
	bool driver = has_driver(vm);
	const char *error = serve(vm, request, driver);

	json_object_object_add(o, "driver", json_object_new_boolean(driver));
	if (error)
		json_object_object_add(o, "error", json_object_new_string(error));
	else
		add_state(o, vm);
	return json_line(o, len);
}
