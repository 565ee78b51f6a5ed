/* SPDX-License-Identifier: Apache-2.0 */
/* See log.h. */
#include <inttypes.h>
#include <stdio.h>

#include "vmm/vm.h"

void vm_log_init(struct catnap_vm *vm)
{
	pthread_mutex_init(&vm->log.lock, NULL); /* of the default kind: it cannot fail */
}

void vm_log_fini(struct catnap_vm *vm)
{
	pthread_mutex_destroy(&vm->log.lock);
}

static void put_down(struct vm_log *log, enum catnap_log_level level, const char *text)
{
	pthread_mutex_lock(&log->lock);
	if (log->count < VM_LOG_LINES) {
		unsigned int at = (log->first + log->count++) % VM_LOG_LINES;

		log->lines[at].level = level;
		snprintf(log->lines[at].text, VM_LOG_LINE, "%s", text);
	} else {
		log->lost++;
	}
	pthread_mutex_unlock(&log->lock);
}

void vm_log(struct catnap_vm *vm, enum catnap_log_level level, const char *text)
{
	struct catnap_halter *self = halter_self();

	if (!vm->cfg.log)
		return;
	if (!atomic_load(&vm->log.deferred)) {
		vm->cfg.log(vm->cfg.log_ctx, level, text);
		return;
	}
	put_down(&vm->log, level, text);
	halter_wake(self && vm_owns(vm, self) ? self : vm_home(vm, 0), VCPU_WORK_LOG);
}

/* The first line into @text; false: there is none. What was lost is told after the others. */
static bool take(struct vm_log *log, enum catnap_log_level *level, char *text)
{
	bool has = true;

	pthread_mutex_lock(&log->lock);
	if (log->count) {
		*level = log->lines[log->first].level;
		snprintf(text, VM_LOG_LINE, "%s", log->lines[log->first].text);
		log->first = (log->first + 1) % VM_LOG_LINES;
		log->count--;
	} else if (log->lost) {
		*level = CATNAP_LOG_WARN;
		snprintf(text, VM_LOG_LINE, "%" PRIu64 " messages were lost: too many at once",
			 log->lost);
		log->lost = 0;
	} else {
		has = false;
	}
	pthread_mutex_unlock(&log->lock);
	return has;
}

void vm_log_hand_over(struct catnap_vm *vm)
{
	enum catnap_log_level level;
	char text[VM_LOG_LINE];

	while (take(&vm->log, &level, text))
		vm->cfg.log(vm->cfg.log_ctx, level, text);
}
