/* SPDX-License-Identifier: Apache-2.0 */
/* See server.h. */
#include "cli/api/metrics.h"
#include "cli/api/route.h"
#include "cli/api/server.h"

/* Between requests a client may be silent for ever: who needs its place sends it away. */
#define IDLE_NS 0

static void handle(void *ctx, const struct http_request *hr)
{
	struct api *api = ctx;
	struct api_request rq = {.method = hr->method,
				 .path = hr->path,
				 .query = *hr->query ? hr->query : NULL,
				 .accept = hr->accept,
				 .body = hr->len ? hr->body : NULL,
				 .len = hr->len};
	struct reply r;

	reply_init(&r, hr->exchange);
	route_request(api, &rq, &r);
	api_count(&api->own.metrics, hr->method, hr->path, r.later ? 200 : r.status);
	if (r.deprecated) {
		api->own.metrics.deprecated++;
		http_deprecated(hr->exchange);
	}
	if (!r.later) {
		http_reply(hr->exchange, r.status, r.type, r.body, r.len);
		r.body = NULL; /* taken */
	}
	reply_free(&r);
}

int api_server_start(struct api_server *s, struct api *api, int listen_fd, size_t max_body)
{
	const struct http_config cfg = {.listen_fd = listen_fd,
					.max_body = max_body,
					.idle_ns = IDLE_NS,
					.server = "Firecracker API",
					.handler = handle,
					.ctx = api};

	*s = (struct api_server){.api = api};
	return http_start(&cfg, &s->http);
}

void api_server_prepare(const struct api_server *s, struct pollfd p[API_POLLFDS])
{
	p[0] = (struct pollfd){.fd = s->http ? http_fd(s->http) : -1, .events = POLLIN};
	p[1] = (struct pollfd){.fd = s->api ? own_events_fd(s->api) : -1, .events = POLLIN};
	p[2] = (struct pollfd){.fd = s->api ? api_pause_fd(s->api) : -1, .events = POLLIN};
}

int api_server_timeout(const struct api_server *s)
{
	return s->http ? http_timeout_ms(s->http) : -1;
}

void api_server_dispatch(const struct api_server *s)
{
	if (s->api) {
		own_events(s->api);
		api_pause_dispatch(s->api);
	}
	if (s->http)
		http_dispatch(s->http);
}

void api_server_stop(struct api_server *s)
{
	if (!s->api)
		return;
	own_events(s->api);
	own_free(&s->api->own);
	api_pause_free(s->api);
	http_stop(&s->http);
	s->api = NULL;
}
