/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of closing in that more than one process takes. */
#ifndef SANDBOX_ENTER_H
#define SANDBOX_ENTER_H

/* Drops all of the calling thread's capabilities but the bounding set. Returns 0 or -errno. */
int sandbox_drop_capabilities(void);

#endif
