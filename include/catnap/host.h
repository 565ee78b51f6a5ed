/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/host.h - what a host offers.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_HOST_H
#define CATNAP_HOST_H

#include <stddef.h>
#include <stdint.h>

#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

enum catnap_check_state { CATNAP_CHECK_OK, CATNAP_CHECK_DEGRADED, CATNAP_CHECK_MISSING };

struct catnap_check {
	const char *name; /**< the thing that was looked at; static */
	enum catnap_check_state state;
	char found[128];  /**< the finding */
	char advice[256]; /**< the cost of its absence, and the remedy; "" if nothing */
};

/** Returns the memory of this host in bytes, swap space included: no VM may have more. UINT64_MAX:
 * not known. Any thread. */
CATNAP_API uint64_t catnap_host_memory(void);

/** Returns the frequency of this host's TSC in kHz; 0: it is not invariant, and so no clock. */
CATNAP_API uint32_t catnap_host_tsc_khz(void);

/**
 * Returns the cost of a KVM_RUN that does not enter the guest, on this host, in ns (a median); 0:
 * not known. A wake-up by user space pays it, and one inside the kernel does not. Makes a small VM
 * for a moment.
 */
CATNAP_API uint64_t catnap_host_kvm_run_ns(void);

/**
 * Looks at the host: fills up to @max entries of @checks and returns how many there are in all.
 * Makes a small VM for a moment where /dev/kvm can be opened. It has no errors: a feature that is
 * missing is an entry. The macro passes on how large an entry is where the caller was built; no
 * more of it than @entry_size is written.
 */
CATNAP_API size_t catnap_check_host(struct catnap_check *checks, size_t max);
CATNAP_API size_t catnap_check_host_sized(struct catnap_check *checks, size_t max,
					  size_t entry_size);
#define catnap_check_host(checks, max) \
	catnap_check_host_sized((checks), (max), sizeof(struct catnap_check))

#ifdef __cplusplus
}
#endif
#endif
