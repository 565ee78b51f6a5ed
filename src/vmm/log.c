/* SPDX-License-Identifier: Apache-2.0 */
/* See log.h. */
#include <inttypes.h>
#include <stdio.h>

#include "vmm/telling.h"
#include "vmm/vm.h"

static void tell(struct catnap_vm *vm, enum catnap_log_level level, const char *text)
{
	char named[CATNAP_MAX_NAME + 2 + VM_LOG_LINE];
	struct telling t;

	if (vm->name[0]) {
		snprintf(named, sizeof(named), "%s: %s", vm->name, text);
		text = named;
	}
	telling_begin(&t, vm);
	vm->cfg.log(vm->cfg.log_ctx, level, text);
	telling_end(&t);
}

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
		tell(vm, level, text);
		return;
	}
	put_down(&vm->log, level, text);
	halter_wake(self && vm_owns(vm, self) ? self : vm_home(vm, 0), VCPU_WORK_LOG);
}

/* Takes the first line into @text. Returns false if there is none. The line about lost messages
 * comes after the others. */
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
		tell(vm, level, text);
}
