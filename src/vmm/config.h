/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's configuration: its defaults, and the checks of it by itself, and of the things of the host's
 * that it names. They are made when the VM is made, which is the time to fail. */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include <stdbool.h>

#include <catnap/catnap.h>
#include "errors.h"

/* The end of a sentence: what is wrong where catnap_halt_poll_check() fails. */
#define HALT_POLL_WRONG \
	"the policy, the bias, cpu_max, the size or a reserved member is not one that is known"

/* Checks that each member is one that is known, and goes with the others. Returns 0, or -EINVAL with
 * a sentence. @needs_image: the VM has one. */
int config_check_members(const struct catnap_vm_config *cfg, bool needs_image, struct error *err);

/*
 * Checks that vcpu_affinity names processors that a thread of this process can be tied to, that
 * halt_trace_fd is open for writing and the other descriptors are open, and that the name is one.
 * Returns 0, or with a sentence: -EINVAL, -EBADF (a descriptor), -EAGAIN (the thread that tries
 * processors).
 */
int config_check_host(const struct catnap_vm_config *cfg, struct error *err);

#endif
