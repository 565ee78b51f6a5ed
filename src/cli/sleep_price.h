/* SPDX-License-Identifier: Apache-2.0 */
/* Measuring what a sleep costs on this host, for a command that has the time. */
#ifndef CLI_SLEEP_PRICE_H
#define CLI_SLEEP_PRICE_H

#include <stdint.h>

/* Returns what a sleep costs, in ns, as the poll engine measures it; 0: it could not be measured.
 * Takes about a tenth of a second, on an idle host. */
uint32_t sleep_price_measure(void);

#endif
