/* SPDX-License-Identifier: Apache-2.0 */
/* Filters from their templates, and installing them. Linux
 * Documentation/userspace-api/seccomp_filter.rst. */
#include <errno.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/filter.h"
#include "sandbox_filters.h" /* made by scripts/make-filters.c */

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

_Static_assert(LENGTH(filter_vcpu) <= SANDBOX_MAX_INSNS, "vCPU filter");
_Static_assert(LENGTH(filter_io) <= SANDBOX_MAX_INSNS, "I/O filter");
_Static_assert(LENGTH(filter_main) <= SANDBOX_MAX_INSNS, "main filter");
_Static_assert(LENGTH(filter_keeper) <= SANDBOX_MAX_INSNS, "keeper filter");
_Static_assert(SANDBOX_FEATURES <= 32, "features are bits of a word");
_Static_assert(EACCES <= 0xff, "a byte says what a call fails with");

/* Returns the action that @k, one of the template's, stands for. With TRACE comes a feature, and in
 * the upper byte what a call fails with where that is off; 0: it is an offence. */
static uint32_t action(uint32_t k, uint32_t features, uint32_t otherwise)
{
	uint32_t what = k & SECCOMP_RET_ACTION_FULL, data = k & SECCOMP_RET_DATA;

	if (what == SECCOMP_RET_ALLOW)
		return k;
	if (what == SECCOMP_RET_ERRNO)
		return otherwise == SECCOMP_RET_LOG ? SECCOMP_RET_ALLOW : k;
	if (what != SECCOMP_RET_TRACE)
		return otherwise;
	if (features & SANDBOX_BIT(data & 0xff)) {
		if (data == SANDBOX_UNLINK && otherwise != SECCOMP_RET_LOG)
			return SECCOMP_RET_ERRNO | EACCES;
		return SECCOMP_RET_ALLOW;
	}
	if (data >> 8 && otherwise != SECCOMP_RET_LOG)
		return SECCOMP_RET_ERRNO | data >> 8;
	return otherwise;
}

void sandbox_filter_make(struct sandbox_filter *f, enum sandbox_thread thread, uint32_t features,
			 enum catnap_sandbox_mode mode, pid_t pid)
{
	static const struct {
		const struct sock_filter *insns;
		size_t len;
	} templates[SANDBOX_THREADS] = {
		[SANDBOX_VCPU] = {filter_vcpu, LENGTH(filter_vcpu)},
		[SANDBOX_IO] = {filter_io, LENGTH(filter_io)},
		[SANDBOX_MAIN] = {filter_main, LENGTH(filter_main)},
		[SANDBOX_KEEPER] = {filter_keeper, LENGTH(filter_keeper)},
	};
	uint32_t otherwise =
		mode == CATNAP_SANDBOX_LOG ? SECCOMP_RET_LOG : SECCOMP_RET_KILL_PROCESS;

	f->len = (unsigned short)templates[thread].len;
	memcpy(f->insns, templates[thread].insns, f->len * sizeof(f->insns[0]));
	for (unsigned int i = 0; i < f->len; i++) {
		struct sock_filter *s = &f->insns[i];

		if (BPF_CLASS(s->code) == BPF_RET)
			s->k = action(s->k, features, otherwise);
		else if (BPF_CLASS(s->code) == BPF_JMP && s->k == SANDBOX_PID)
			s->k = (uint32_t)pid;
	}
}

int sandbox_filter_install(const struct sandbox_filter *f)
{
	/* The kernel only reads it. */
	const struct sock_fprog prog = {f->len, (struct sock_filter *)(uintptr_t)f->insns};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return errno == EINVAL ? -ENOTSUP : -errno;
	/*
	 * SPEC_ALLOW: before Linux 5.16 a filter would switch off speculative store bypass for the
	 * thread, and so for the guest. That guards a process against untrusted code in the same
	 * process, and there is none here: guests have address spaces of their own.
	 */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog) <
	    0)
		return errno == ENOSYS ? -ENOTSUP : -errno;
	return 0;
}
