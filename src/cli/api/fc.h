/* SPDX-License-Identifier: Apache-2.0 */
/* The parts that Firecracker's resources share. */
#ifndef CLI_API_FC_H
#define CLI_API_FC_H

#include "cli/api/limiter.h"
#include "cli/api/resources.h"

/* Writes how Firecracker's sentences end, "No such file or directory (os error 2)". Returns
 * @buf. */
const char *fc_os_error(int err, char *buf, size_t size);

/* Returns whether the id in the path is that in the body; if not, it is answered. A file's has none
 * in a path. */
bool fc_same_id(struct reply *r, const struct api_request *rq, const char *id);

/* Makes a copy of @text, which may be NULL, in *@into. Returns false if there is no memory, which
 * is answered. */
bool fc_copy(struct reply *r, char **into, const char *text);

/* Tries whether the file @path can be opened, as the VM will open it. Returns 0 or a negative errno
 * value. */
int fc_try_open(const char *path, bool readonly);

/* Returns whether the VM takes devices while it runs, and lets go of some; if not, it is answered. */
bool fc_hotplug_on(const struct api *api, struct reply *r);
/* Takes note that the guest was asked to let go of @device, and answers. */
void fc_asked(struct api *api, struct reply *r, uint32_t device);

/* model_json.c: return a resource as answers show it. NULL: no memory, or JSON's null. */
struct json_object *fc_machine_json(const struct fc_model *m);
struct json_object *fc_balloon_json(const struct fc_model *m);
struct json_object *fc_config_json(const struct fc_model *m);

#endif
