/* SPDX-License-Identifier: Apache-2.0 */
/* See outlet.h: tickets, so that the order is that of arrival. */
#include "devices/outlet.h"

int outlet_init(struct outlet *o)
{
	int ret = pthread_mutex_init(&o->lock, NULL);

	if (ret)
		return -ret;
	ret = pthread_cond_init(&o->turn, NULL);
	if (ret)
		pthread_mutex_destroy(&o->lock);
	return -ret;
}

void outlet_fini(struct outlet *o)
{
	/* Not the condition: in a child of fork(2) glibc would wait for threads that are not
	 * there. */
	pthread_mutex_destroy(&o->lock);
}

void outlet_put(struct outlet *o, const void *data, size_t len)
{
	uint64_t ticket;

	if (!o->output || !len)
		return;
	pthread_mutex_lock(&o->lock);
	ticket = o->next++;
	while (o->served != ticket)
		pthread_cond_wait(&o->turn, &o->lock);
	pthread_mutex_unlock(&o->lock);

	o->output(o->ctx, data, len);

	pthread_mutex_lock(&o->lock);
	o->served++;
	pthread_cond_broadcast(&o->turn);
	pthread_mutex_unlock(&o->lock);
}
