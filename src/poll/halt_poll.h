/* SPDX-License-Identifier: Apache-2.0 */
/* The parameters of a policy as callers give them: their defaults, and what may be set. */
#ifndef POLL_HALT_POLL_H
#define POLL_HALT_POLL_H

#include <catnap/poll.h>

/* Returns the parameters of a caller that may have been built against another version: what its
 * struct lacks has its default. */
struct catnap_halt_poll halt_poll_known(const struct catnap_halt_poll *params);

#endif
