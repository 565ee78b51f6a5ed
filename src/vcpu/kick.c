/* SPDX-License-Identifier: Apache-2.0 */
/* The kick: the signal that brings a vCPU's thread out of the guest, and its handler. */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "relaxed.h"
#include "vcpu/vcpu.h"

/* The vCPU that runs on this thread, for the handler to reach. */
static _Thread_local struct vcpu *volatile current_vcpu;

static void on_kick(int signo, siginfo_t *info, void *context)
{
	struct vcpu *v = current_vcpu;

	if (!v)
		return;
	if (info->si_code == SI_TIMER)
		relaxed_store(&v->timer_fired, true);
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELAXED);
}

void kick_take(struct vcpu *v)
{
	current_vcpu = v;
}

void kick_send(void *vcpu)
{
	struct vcpu *v = vcpu;
	int tid = atomic_load_explicit(&v->tid, memory_order_acquire);

	if (tid)
		syscall(SYS_tgkill, v->pid, tid, v->host->kick_signal);
}

static bool is_ours(const struct sigaction *sa)
{
	return sa->sa_flags & SA_SIGINFO && sa->sa_sigaction == on_kick;
}

/* Returns whether the signal is nobody's. One that is ignored is: the handler ignores what is not
 * for a vCPU. */
static bool is_free(const struct sigaction *sa)
{
	return !(sa->sa_flags & SA_SIGINFO) &&
	       (sa->sa_handler == SIG_DFL || sa->sa_handler == SIG_IGN);
}

static int refuse(int signo, int ret, struct error *err)
{
	if (ret == -EBUSY)
		error_set(err,
			  "kick_signal: the program has a handler for signal %d (SIGRTMIN+%d): "
			  "expected one without a handler",
			  signo, signo - SIGRTMIN);
	else
		error_errno(err, ret, "kick_signal: signal %d", signo);
	return ret;
}

int kick_check(int signo, struct error *err)
{
	struct sigaction have;

	if (sigaction(signo, NULL, &have) < 0)
		return refuse(signo, -errno, err);
	return is_ours(&have) || is_free(&have) ? 0 : refuse(signo, -EBUSY, err);
}

int kick_install(int signo, struct error *err)
{
	struct sigaction sa = {.sa_sigaction = on_kick, .sa_flags = SA_RESTART | SA_SIGINFO};
	struct sigaction had;

	sigemptyset(&sa.sa_mask);
	if (sigaction(signo, NULL, &had) < 0)
		return refuse(signo, -errno, err);
	if (is_ours(&had))
		return 0;
	if (!is_free(&had))
		return refuse(signo, -EBUSY, err);
	if (sigaction(signo, &sa, &had) < 0)
		return refuse(signo, -errno, err);
	if (is_ours(&had) || is_free(&had))
		return 0;
	/* One that came between the look and the change is put back. */
	sigaction(signo, &had, NULL);
	return refuse(signo, -EBUSY, err);
}
