/* SPDX-License-Identifier: Apache-2.0 */
/* See api.h. */
#include <stdio.h>

#include "cli/api/api.h"

void api_init(struct api *api, const char *id, const struct api_owner *owner, void *ctx)
{
	*api = (struct api){.id = id, .owner = owner, .ctx = ctx};
	fc_model_init(&api->model);
}

void api_free(struct api *api)
{
	own_free(&api->own);
	fc_model_free(&api->model);
}

void api_log_at(struct api *api, enum catnap_log_level level, struct place place,
		const char *format, ...)
{
	char text[1024];
	va_list args;

	if (!api->owner || !api->owner->log)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	api->owner->log(api->ctx, level, place, text);
}
