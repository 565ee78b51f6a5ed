/* SPDX-License-Identifier: Apache-2.0 */
/* The list of tasks; see task.h. */
#include <stddef.h>

#include "poll/task.h"

void task_post(struct wake *w, struct halter_task *task, uint32_t bit)
{
	struct halter_task *head;

	/* If it is posted already, this exchange comes before the one with which it stops being so,
	 * and what was written before it is seen by the run that follows. */
	if (atomic_exchange(&task->posted, true))
		return;
	head = relaxed_load(&w->tasks);
	do {
		task->next = head;
	} while (!atomic_compare_exchange_weak(&w->tasks, &head, task));
	wake_owner(w, bit);
}

void task_run_all(struct wake *w)
{
	struct halter_task *task = atomic_exchange(&w->tasks, NULL), *list = NULL;

	while (task) {
		struct halter_task *next = task->next;

		task->next = list;
		list = task;
		task = next;
	}
	while (list) {
		task = list;
		list = task->next; /* it may be posted again from here on */
		atomic_exchange(&task->posted, false);
		task->run(task);
	}
}
