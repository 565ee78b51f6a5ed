/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tasks: functions that any thread hands to the owner of wake words, for it to run. They are a
 * lock-free list, which posters push to and the owner takes as a whole; a work bit announces it.
 */
#ifndef POLL_TASK_H
#define POLL_TASK_H

#include <stdatomic.h>
#include <stdbool.h>

#include "poll/wake.h"

/*
 * One task, part of the poster's structure, which must outlive its run. It is zeroed but for run
 * before it is first posted.
 */
struct halter_task {
	void (*run)(struct halter_task *task);
	struct halter_task *next; /* the list's, while it is posted */
	_Atomic bool posted;
};

/*
 * Posts @task to the owner of @w, and wakes it with @bit. Posting a task again before it has begun
 * to run changes nothing: it runs once, and sees all that was written before each of the posts. A
 * task may post itself. Any thread.
 */
void task_post(struct wake *w, struct halter_task *task, uint32_t bit);
/* Runs what was posted, in the order in which it was. Owner, after it has taken the bit. */
void task_run_all(struct wake *w);

#endif
