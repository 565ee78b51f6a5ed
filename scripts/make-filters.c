/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the seccomp filters out of src/sandbox/allow.h, with libseccomp, as a C header on standard
 * output. Runs when catnap is built, so that neither the library nor the time it takes (some 0.3 ms
 * for a filter) is part of a VM's start.
 *
 * A call that belongs to a feature gets the action TRACE with the feature's number, a value that is
 * used for nothing else; sandbox_filter_make() turns it into allow or kill. In the upper byte of the
 * number is the error with which it fails instead of being killed, if there is one.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/allow.h"

#define N_ALLOW (sizeof(allow) / sizeof(allow[0]))

static const char *const names[SANDBOX_THREADS] = {"vcpu", "io", "main", "keeper"};

static int add(scmp_filter_ctx ctx, const struct allow *a)
{
	uint32_t error = (uint32_t)a->error;
	uint32_t action = a->feature ? SCMP_ACT_TRACE((uint32_t)a->feature | error << 8)
			  : error    ? SCMP_ACT_ERRNO(error)
				     : SCMP_ACT_ALLOW;
	struct scmp_arg_cmp cmp[2];
	unsigned int n = 0;

	while (n < 2 && a->args[n].n) {
		cmp[n] = SCMP_CMP(a->args[n].n - 1, SCMP_CMP_MASKED_EQ, a->args[n].mask,
				  a->args[n].value);
		n++;
	}
	return seccomp_rule_add_array(ctx, action, a->call, n, cmp);
}

/*
 * Before the rest, on vCPU threads: KVM_RUN, which is most of what they call. libseccomp orders
 * calls, but not the values of an argument.
 */
static unsigned int add_fast_path(struct sock_filter *f)
{
	const struct sock_filter path[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KVM_RUN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	memcpy(f, path, sizeof(path));
	return sizeof(path) / sizeof(path[0]);
}

/* Is there an earlier line for the same call of @thread, with no condition either, and another
 * feature? libseccomp would pass over the later one. */
static int contradicts(size_t i, enum sandbox_thread thread)
{
	for (size_t k = 0; k < i; k++)
		if (allow[k].call == allow[i].call && (allow[k].threads & (1u << thread)) &&
		    !allow[k].args[0].n && !allow[i].args[0].n)
			return 1;
	return 0;
}

/* The program of @thread into @f. Returns its length, or a negative errno value. */
static int make(enum sandbox_thread thread, struct sock_filter *f, unsigned int max)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	unsigned int n = thread == SANDBOX_VCPU ? add_fast_path(f) : 0;
	int fd = memfd_create("filter", MFD_CLOEXEC), ret = ctx && fd >= 0 ? 0 : -ENOMEM;
	ssize_t len = 0;

	if (ret == 0)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (ret == 0) /* a binary tree: quicker to run, and much quicker to install */
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	for (size_t i = 0; i < N_ALLOW && ret == 0; i++) {
		if (!(allow[i].threads & (1u << thread)))
			continue;
		ret = contradicts(i, thread) ? -EEXIST : add(ctx, &allow[i]);
		if (ret < 0)
			fprintf(stderr, "make-filters: %s: entry %zu of the list: %s\n",
				names[thread], i, strerror(-ret));
	}
	if (ret == 0)
		ret = seccomp_export_bpf(ctx, fd);
	if (ret == 0)
		len = pread(fd, f + n, (max - n) * sizeof(*f), 0);
	if (fd >= 0)
		close(fd);
	seccomp_release(ctx);
	if (ret == 0 && (len <= 0 || n + (size_t)len / sizeof(*f) >= max))
		ret = -E2BIG;
	return ret < 0 ? ret : (int)(n + (size_t)len / sizeof(*f));
}

int main(void)
{
	static struct sock_filter f[SANDBOX_MAX_INSNS];

	printf("/* Made by scripts/make-filters.c from src/sandbox/allow.h. */\n");
	printf("#define SANDBOX_PID 0x%xu\n", SANDBOX_PID);
	for (enum sandbox_thread t = SANDBOX_VCPU; t < SANDBOX_THREADS; t++) {
		int n = make(t, f, SANDBOX_MAX_INSNS);

		if (n < 0) {
			fprintf(stderr, "make-filters: %s: %s\n", names[t], strerror(-n));
			return 1;
		}
		printf("static const struct sock_filter filter_%s[] = {\n", names[t]);
		for (int i = 0; i < n; i++)
			printf("\t{0x%02x, %u, %u, 0x%08x},\n", f[i].code, f[i].jt, f[i].jf,
			       f[i].k);
		printf("};\n");
	}
	return fflush(stdout) || ferror(stdout);
}
