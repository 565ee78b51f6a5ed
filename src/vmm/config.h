/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the things of the host's that a configuration names. They are made when the VM is made,
 * which is the time to fail. */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include <catnap/catnap.h>
#include "errors.h"

/*
 * Checks that vcpu_affinity names processors that a thread of this process can be tied to, that
 * halt_trace_fd is open for writing and the other descriptors are open, and that the name is one.
 * Returns 0, or with a sentence: -EINVAL, -EBADF (a descriptor), -EAGAIN (the thread that tries
 * processors).
 */
int config_check_host(const struct catnap_vm_config *cfg, struct error *err);

#endif
