/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sentence of a thread's last call that failed, which catnap_vm_last_error() hands out. Each
 * thread has one, so threads that use one VM do not see each other's.
 */
#ifndef VMM_LAST_ERROR_H
#define VMM_LAST_ERROR_H

struct catnap_vm;

/*
 * Puts down what went wrong in a call on @vm; NULL: in catnap_vm_create(). The sentence names the
 * member, file or device, and what was expected. Returns @ret, the call's error. Any thread.
 */
int vm_fail(const struct catnap_vm *vm, int ret, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Says that a structure is NULL, or shorter than its first version. Returns -EINVAL. */
int vm_wrong_size(const struct catnap_vm *vm, const char *what);
/* Says that the pointer @what to where a result goes is NULL. Returns -EINVAL. */
int vm_no_place(const struct catnap_vm *vm, const char *what);

#endif
