/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pauses that somebody asked for by the control socket. They are answered once all vCPUs stand
 * still, and nobody else waits for that.
 */
#include <poll.h>
#include <stdlib.h>

#include "cli/api/api.h"
#include "cli/api/http.h"

struct api_pause {
	struct api_pause *next;
	struct http_exchange *exchange;
};

static bool stands_still(struct catnap_vm *vm)
{
	struct pollfd p = {.fd = catnap_vm_get_paused_fd(vm), .events = POLLIN};

	return poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

static void answer(struct api_pause *p, struct reply *r)
{
	http_reply(p->exchange, r->status, r->type, r->body, r->len);
	r->body = NULL; /* taken */
	free(p);
}

/* Answers all that wait: 204, or @sentence. */
static void answer_all(struct api *api, const char *sentence)
{
	while (api->pauses) {
		struct api_pause *p = api->pauses;
		struct reply r;

		api->pauses = p->next;
		reply_init(&r, NULL);
		if (sentence)
			reply_fault(&r, 400, "%s", sentence);
		else
			reply_empty(&r);
		answer(p, &r);
		reply_free(&r);
	}
}

void api_pause(struct api *api, struct reply *r)
{
	struct api_pause *p;

	if (catnap_vm_request_pause(api->vm) < 0) {
		reply_fault(r, 400, "Internal Vmm error: %s", catnap_vm_last_error(api->vm));
		return;
	}
	if (stands_still(api->vm)) {
		reply_empty(r);
		return;
	}
	p = malloc(sizeof(*p));
	if (!p) {
		reply_fault(r, 500, "out of memory");
		return;
	}
	*p = (struct api_pause){.next = api->pauses, .exchange = reply_take(r)};
	api->pauses = p;
}

void api_resumed(struct api *api)
{
	answer_all(api, "Internal Vmm error: the pause was overtaken by a resume.");
}

int api_pause_fd(const struct api *api)
{
	return api->pauses ? catnap_vm_get_paused_fd(api->vm) : -1;
}

void api_pause_dispatch(struct api *api)
{
	if (!api->pauses || !stands_still(api->vm))
		return;
	/* It is readable for good once the VM is to end. */
	answer_all(api, catnap_vm_get_state(api->vm) >= CATNAP_VM_ENDING
				? "Internal Vmm error: the VM has ended."
				: NULL);
}

void api_pause_free(struct api *api)
{
	answer_all(api, "Internal Vmm error: the VM has ended.");
}
