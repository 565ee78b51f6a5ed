/* SPDX-License-Identifier: Apache-2.0 */
/* See config.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "vcpu/thread.h"
#include "vmm/config.h"

static int bad_processor(struct error *err, uint32_t vcpu, int32_t cpu, const char *expected)
{
	return error_fail(err, -EINVAL, "vcpu_affinity: vCPU %u: processor %d: %s", vcpu, cpu,
			  expected);
}

static int check_affinity(const struct catnap_vm_config *cfg, struct error *err)
{
	const int32_t *cpus = cfg->vcpu_affinity;
	cpu_set_t wanted, refused;
	int ret;

	if (!cpus)
		return 0;
	CPU_ZERO(&wanted);
	for (uint32_t i = 0; i < cfg->vcpus; i++) {
		if (cpus[i] < -1 || cpus[i] >= CPU_SETSIZE)
			return bad_processor(err, i, cpus[i],
					     "expected a processor's number, or -1");
		if (cpus[i] >= 0)
			CPU_SET((size_t)cpus[i], &wanted);
	}
	if (CPU_COUNT(&wanted) == 0)
		return 0;
	ret = thread_refused(&wanted, &refused);
	if (ret < 0)
		return error_errno(err, ret, "vcpu_affinity: a thread that tries it");
	for (uint32_t i = 0; i < cfg->vcpus; i++)
		if (cpus[i] >= 0 && CPU_ISSET((size_t)cpus[i], &refused))
			return bad_processor(err, i, cpus[i],
					     "expected one that this process may use");
	return 0;
}

static int check_trace(const struct catnap_vm_config *cfg, struct error *err)
{
	int flags = cfg->halt_trace_fd < 0 ? O_WRONLY : fcntl(cfg->halt_trace_fd, F_GETFL);

	if (flags >= 0 && !(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY)
		return 0;
	return error_fail(err, -EBADF, "halt_trace_fd: descriptor %d is not open%s",
			  cfg->halt_trace_fd, flags < 0 ? "" : " for writing");
}

static int check_name(const char *name, struct error *err)
{
	static const char known[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = name ? strspn(name, known) : 0;

	if (!name || (len && !name[len] && len <= CATNAP_MAX_NAME))
		return 0;
	return error_fail(err, -EINVAL, "name: expected 1 to %d letters, digits, '.', '_' and '-'",
			  CATNAP_MAX_NAME);
}

static int check_descriptors(const struct catnap_vm_config *cfg, struct error *err)
{
	const struct {
		const char *name;
		int32_t fd;
	} fds[] = {{"kvm_fd", cfg->kvm_fd},
		   {"pressure_fd", cfg->pressure_fd},
		   {"throttle_fd", cfg->throttle_fd}};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i].fd >= 0 && fcntl(fds[i].fd, F_GETFD) < 0)
			return error_fail(err, -EBADF, "%s: descriptor %d is not open", fds[i].name,
					  fds[i].fd);
	if (cfg->cgroup && (cfg->pressure_fd >= 0 || cfg->throttle_fd >= 0))
		return error_fail(err, -EINVAL,
				  "cgroup: either a folder or its files' descriptors, not both");
	return 0;
}

int config_check_host(const struct catnap_vm_config *cfg, struct error *err)
{
	int ret = check_trace(cfg, err);

	if (ret == 0)
		ret = check_name(cfg->name, err);
	if (ret == 0)
		ret = check_descriptors(cfg, err);
	return ret < 0 ? ret : check_affinity(cfg, err);
}
