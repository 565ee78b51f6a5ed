/* SPDX-License-Identifier: Apache-2.0 */
/* See history.h. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "sized.h"
#include "vmm/history.h"
#include "vmm/vm.h"

void history_init(struct history *h)
{
	pthread_mutex_init(&h->lock, NULL); /* of the default kind: it cannot fail */
	h->fd = -1;
	h->lost = history_event(CATNAP_EVENT_LOST);
}

void history_fini(struct history *h)
{
	if (h->fd >= 0)
		close(h->fd);
	pthread_mutex_destroy(&h->lock);
}

static uint64_t wall_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void make_readable(int eventfd)
{
	ssize_t n = write(eventfd, &(uint64_t){1}, sizeof(uint64_t));

	(void)n;
}

static bool has_some(const struct history *h)
{
	return h->count || h->lost.value;
}

/* Lets the oldest event make room. The event that tells of those that are gone stands where the
 * last of them was. */
static void lose_one(struct history *h)
{
	const struct catnap_event *oldest = &h->events[h->first];

	h->lost.number = oldest->number;
	h->lost.time_ns = oldest->time_ns;
	if (h->lost.value < UINT32_MAX)
		h->lost.value++;
	h->first = (h->first + 1) % HISTORY_EVENTS;
	h->count--;
}

void history_add(struct history *h, const struct catnap_event *e)
{
	struct catnap_event *at;
	bool first;

	pthread_mutex_lock(&h->lock);
	if (h->over) {
		pthread_mutex_unlock(&h->lock);
		return;
	}
	h->over = e->type == CATNAP_EVENT_ENDED;
	first = !has_some(h);
	if (h->count == HISTORY_EVENTS)
		lose_one(h);
	at = &h->events[(h->first + h->count++) % HISTORY_EVENTS];
	*at = *e;
	at->size = sizeof(*at);
	at->number = ++h->number;
	at->time_ns = wall_clock_ns();
	if (first && h->fd >= 0)
		make_readable(h->fd);
	pthread_mutex_unlock(&h->lock);
}

int history_make_fd(struct history *h)
{
	int ret;

	pthread_mutex_lock(&h->lock);
	if (h->fd < 0) {
		h->fd = eventfd(has_some(h), EFD_CLOEXEC | EFD_NONBLOCK);
		if (h->fd < 0) {
			ret = -errno;
			pthread_mutex_unlock(&h->lock);
			return ret;
		}
	}
	ret = h->fd;
	pthread_mutex_unlock(&h->lock);
	return ret;
}

bool history_take(struct history *h, struct catnap_event *e)
{
	bool has;

	pthread_mutex_lock(&h->lock);
	has = has_some(h);
	if (h->lost.value) {
		*e = h->lost;
		e->size = sizeof(*e);
		h->lost.value = 0;
	} else if (has) {
		*e = h->events[h->first];
		h->first = (h->first + 1) % HISTORY_EVENTS;
		h->count--;
	}
	if (has && !has_some(h) && h->fd >= 0) {
		uint64_t n;
		ssize_t got = read(h->fd, &n, sizeof(n)); /* not readable any more */

		(void)got;
	}
	pthread_mutex_unlock(&h->lock);
	return has;
}

/* -- the calls -------------------------------------------------------------------------------- */

int catnap_vm_get_event_fd(struct catnap_vm *vm)
{
	int ret;

	if (vm_in_child(vm, "get_event_fd"))
		return -EPERM;
	ret = history_make_fd(&vm->history);
	return ret < 0 ? vm_fail(vm, ret, "get_event_fd: eventfd: %s", strerror(-ret)) : ret;
}

int catnap_vm_next_event(struct catnap_vm *vm, struct catnap_event *event)
{
	struct catnap_event e;

	if (vm_in_child(vm, "next_event"))
		return -EPERM;
	if (!event || event->size < offsetof(struct catnap_event, text))
		return vm_wrong_size(vm, "next_event");
	if (!history_take(&vm->history, &e))
		return vm_fail(vm, -EAGAIN, "next_event: nothing has happened since the last one");
	return sized_out(event, &e, sizeof(e), sizeof(e.size));
}
