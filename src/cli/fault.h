/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory that is a file's, and whose page is not there any more: the VM ends, and not the
 * process by SIGBUS. */
#ifndef CLI_FAULT_H
#define CLI_FAULT_H

#include <catnap/catnap.h>

/* Has the faults of the VM at *@vm, if there is one, end it. From then on; @vm stays where it is as
 * long as there are threads of a VM. Any other SIGBUS ends the process, as ever. */
void fault_watch(struct catnap_vm **vm);

#endif
