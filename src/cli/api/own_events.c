/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /catnap/events: what happens to the VM, a line of JSON each, until it has ended. The library
 * gives each event once; here it is given to all who listen, and the last are kept for those who
 * come later. A listener that does not read is sent away by http.h.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/api/fc_device.h"
#include "cli/api/http.h"
#include "cli/api/resources.h"
#include "cli/json_out.h"

struct own_stream {
	struct http_stream *http;
	struct own_stream *next;
};

struct own_waiter {
	struct http_exchange *exchange;
	struct own_waiter *next;
};

/* Keeps @line, which it takes. */
static void keep(struct own *own, char *line)
{
	size_t at = (own->first + own->n) % OWN_HISTORY;

	if (own->n == OWN_HISTORY) {
		free(own->history[at]);
		own->first = (own->first + 1) % OWN_HISTORY;
	} else {
		own->n++;
	}
	own->history[at] = line;
}

static void end_streams(struct own *own)
{
	while (own->streams) {
		struct own_stream *s = own->streams;

		own->streams = s->next;
		http_stream_end(s->http);
		free(s);
	}
}

static void answer_waiters(struct own *own)
{
	while (own->waiters) {
		struct own_waiter *w = own->waiters;

		own->waiters = w->next;
		http_reply(w->exchange, 204, NULL, NULL, 0);
		free(w);
	}
}

static void tell(struct own *own, const char *line, size_t len)
{
	struct own_stream **s = &own->streams;

	while (*s) {
		struct own_stream *one = *s;

		if (http_stream_write(one->http, line, len)) {
			s = &one->next;
			continue;
		}
		*s = one->next;
		http_stream_end(one->http);
		free(one);
	}
}

static void note(struct own *own, const struct catnap_event *e)
{
	if (e->type == CATNAP_EVENT_STARTED)
		own->started_ns = e->time_ns;
	if (e->type == CATNAP_EVENT_LINK && e->device < OWN_DEVICES)
		own->unplugged[e->device] = !e->value;
	if (e->type == CATNAP_EVENT_DEVICE_KEPT && e->device < OWN_DEVICES)
		own->kept[e->device] = true;
	if (e->type == CATNAP_EVENT_DEVICE_REMOVED && e->device < OWN_DEVICES)
		own->unplugged[e->device] = own->kept[e->device] = false;
	if (e->type == CATNAP_EVENT_ENDED)
		own->ended = true;
}

void own_events(struct api *api)
{
	struct own *own = &api->own;
	struct catnap_event e = {.size = sizeof(e)};

	while (api->vm && catnap_vm_next_event(api->vm, &e) == 0) {
		size_t len;
		char *line = json_line(own_event(&e), &len);

		note(own, &e);
		fc_removed(&api->model, &e);
		e.size = sizeof(e);
		if (!line)
			continue;
		tell(own, line, len);
		line[len - 1] = '\0'; /* instead of its newline: from now on it is a text */
		keep(own, line);
	}
	if (!own->ended)
		return;
	own->exit.size = sizeof(own->exit);
	catnap_vm_wait(api->vm, 0, &own->exit);
	end_streams(own);
	answer_waiters(own);
}

int own_events_fd(const struct api *api)
{
	return api->vm ? catnap_vm_get_event_fd(api->vm) : -1;
}

void own_free(struct own *own)
{
	end_streams(own);
	answer_waiters(own);
	for (; own->n; own->n--) {
		free(own->history[own->first]);
		own->history[own->first] = NULL;
		own->first = (own->first + 1) % OWN_HISTORY;
	}
	json_object_put(own->config);
	own->config = NULL;
}

/* Takes "history=on", in a query with nothing else. Returns false if it is answered. */
static bool wants_history(struct reply *r, const char *query, bool *wants)
{
	*wants = query && strcmp(query, "history=on") == 0;
	if (!query || *wants || strcmp(query, "history=off") == 0)
		return true;
	reply_fault(r, 400, "The query is not understood: expected history=on or history=off.");
	return false;
}

static bool tell_history(const struct own *own, struct http_stream *to)
{
	for (size_t i = 0; i < own->n; i++) {
		const char *line = own->history[(own->first + i) % OWN_HISTORY];

		if (!http_stream_write(to, line, strlen(line)) || !http_stream_write(to, "\n", 1))
			return false;
	}
	return true;
}

static void get_events(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	struct own *own = &api->own;
	struct own_stream *s;
	bool history;

	if (!wants_history(r, rq->query, &history))
		return;
	s = calloc(1, sizeof(*s));
	if (!s) {
		reply_fault(r, 500, "There is not enough memory.");
		return;
	}
	s->http = http_reply_stream(reply_take(r), "application/x-ndjson");
	if (!s->http) {
		free(s);
		return;
	}
	if ((history && !tell_history(own, s->http)) || own->ended) {
		http_stream_end(s->http);
		free(s);
		return;
	}
	s->next = own->streams;
	own->streams = s;
}

/* ---- the end, and waiting for it ---- */

struct stop_body {
	uint64_t given;
	bool wait;
};

static const struct body_field stop_members[] = {
	{.name = "wait", .type = BODY_BOOL, .offset = offsetof(struct stop_body, wait)},
	{.name = NULL},
};

static void post_stop(struct api *api, struct reply *r, const struct api_request *rq, void *body)
{
	const struct stop_body *b = body;
	struct own_waiter *w = NULL;

	if (b->wait && !api->own.ended) {
		w = calloc(1, sizeof(*w));
		if (!w) {
			reply_fault(r, 500, "There is not enough memory.");
			return;
		}
	}
	catnap_vm_request_stop(api->vm);
	if (!w) {
		reply_empty(r);
		return;
	}
	w->exchange = reply_take(r);
	w->next = api->own.waiters;
	api->own.waiters = w;
}

const struct route own_events_routes[] = {
	{"GET", "/catnap/events", ROUTE_ALWAYS, get_events},
	{"POST", "/catnap/stop", ROUTE_AFTER, post_stop, .body = stop_members,
	 .body_size = sizeof(struct stop_body), .no_body = true},
	{NULL},
};
