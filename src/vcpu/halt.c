/* SPDX-License-Identifier: Apache-2.0 */
/* HLT: where the poll engine and the vCPU meet. */
#include <errno.h>

#include "vcpu/vcpu.h"

void vcpu_halt(struct vcpu *v)
{
	int cause = CATNAP_CAUSE_OTHER, ret;

	/* A processor that waits to be started is not halted: nothing to learn, nothing to poll
	 * for. */
	if (v->life == VCPU_WAIT_SIPI)
		ret = halter_park(&v->halter);
	else
		ret = halter_halt(&v->halter, lapic_deadline(&v->lapic), &cause);
	if (ret < 0)
		vcpu_end(v, CATNAP_EXIT_HOST_ERROR, ret, "sleeping in a halted vCPU");
}
