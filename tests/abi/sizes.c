/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the layout of every public structure, for sizes.py to compare with sizes.txt. */
#include <stdio.h>

#include <catnap/catnap.h>

#define STRUCT(s)   printf("struct %s %zu align %zu\n", #s, sizeof(struct s), _Alignof(struct s))
#define FIELD(s, f) printf("  %s %zu+%zu\n", #f, offsetof(struct s, f), sizeof(((struct s *)0)->f))
#define VALUE(v)    printf("%s %lld\n", #v, (long long)(v))

int main(void)
{
	STRUCT(catnap_halt_poll);
	FIELD(catnap_halt_poll, size);
	FIELD(catnap_halt_poll, policy);
	FIELD(catnap_halt_poll, max_ns);
	FIELD(catnap_halt_poll, grow);
	FIELD(catnap_halt_poll, grow_start_ns);
	FIELD(catnap_halt_poll, shrink);
	FIELD(catnap_halt_poll, bias);
	FIELD(catnap_halt_poll, price_ns);
	FIELD(catnap_halt_poll, cpu_max);
	STRUCT(catnap_halt);
	FIELD(catnap_halt, halt_ns);
	FIELD(catnap_halt, waited);
	FIELD(catnap_halt, valid);
	FIELD(catnap_halt, allowed);
	STRUCT(catnap_halt_stats);
	FIELD(catnap_halt_stats, size);
	FIELD(catnap_halt_stats, policy);
	FIELD(catnap_halt_stats, halt_exits);
	FIELD(catnap_halt_stats, halt_attempted_poll);
	FIELD(catnap_halt_stats, halt_successful_poll);
	FIELD(catnap_halt_stats, halt_poll_invalid);
	FIELD(catnap_halt_stats, halt_wakeup);
	FIELD(catnap_halt_stats, halt_poll_success_ns);
	FIELD(catnap_halt_stats, halt_poll_fail_ns);
	FIELD(catnap_halt_stats, halt_wait_ns);
	FIELD(catnap_halt_stats, halt_poll_success_hist);
	FIELD(catnap_halt_stats, halt_poll_fail_hist);
	FIELD(catnap_halt_stats, halt_wait_hist);
	FIELD(catnap_halt_stats, wakeups);
	FIELD(catnap_halt_stats, kicks_sent);
	FIELD(catnap_halt_stats, kicks_saved);
	FIELD(catnap_halt_stats, futex_wakes);
	FIELD(catnap_halt_stats, window_ns);
	FIELD(catnap_halt_stats, poll_allowed);
	FIELD(catnap_halt_stats, price_ns);
	FIELD(catnap_halt_stats, halt_poll_contended);
	STRUCT(catnap_halter_config);
	FIELD(catnap_halter_config, size);
	FIELD(catnap_halter_config, flags);
	FIELD(catnap_halter_config, halt_poll);
	FIELD(catnap_halter_config, kick);
	FIELD(catnap_halter_config, on_eventfd);
	FIELD(catnap_halter_config, ctx);
	STRUCT(catnap_vm_config);
	FIELD(catnap_vm_config, size);
	FIELD(catnap_vm_config, vcpus);
	FIELD(catnap_vm_config, memory_size);
	FIELD(catnap_vm_config, irqchip);
	FIELD(catnap_vm_config, image_kind);
	FIELD(catnap_vm_config, kernel_path);
	FIELD(catnap_vm_config, kernel_data);
	FIELD(catnap_vm_config, kernel_size);
	FIELD(catnap_vm_config, cmdline);
	FIELD(catnap_vm_config, halt_poll);
	FIELD(catnap_vm_config, debug_exit_port);
	FIELD(catnap_vm_config, kick_signal);
	FIELD(catnap_vm_config, halt_trace_fd);
	FIELD(catnap_vm_config, vcpu_affinity);
	FIELD(catnap_vm_config, serial_output);
	FIELD(catnap_vm_config, serial_ctx);
	FIELD(catnap_vm_config, log);
	FIELD(catnap_vm_config, log_ctx);
	FIELD(catnap_vm_config, initramfs_path);
	FIELD(catnap_vm_config, initramfs_data);
	FIELD(catnap_vm_config, initramfs_size);
	FIELD(catnap_vm_config, linux_cmdline);
	FIELD(catnap_vm_config, hw);
	FIELD(catnap_vm_config, realtime);
	STRUCT(catnap_exit);
	FIELD(catnap_exit, size);
	FIELD(catnap_exit, reason);
	FIELD(catnap_exit, code);
	FIELD(catnap_exit, vcpu);
	FIELD(catnap_exit, report);
	STRUCT(catnap_vcpu_stats);
	FIELD(catnap_vcpu_stats, size);
	FIELD(catnap_vcpu_stats, vcpu);
	FIELD(catnap_vcpu_stats, halt);
	FIELD(catnap_vcpu_stats, exits);
	FIELD(catnap_vcpu_stats, exits_signal);
	FIELD(catnap_vcpu_stats, injected);
	FIELD(catnap_vcpu_stats, pv_eoi);
	FIELD(catnap_vcpu_stats, timer_armed);
	FIELD(catnap_vcpu_stats, unclaimed);
	FIELD(catnap_vcpu_stats, cpu_ns);
	FIELD(catnap_vcpu_stats, tsc_offset);
	STRUCT(catnap_check);
	FIELD(catnap_check, name);
	FIELD(catnap_check, state);
	FIELD(catnap_check, found);
	FIELD(catnap_check, advice);
	VALUE(CATNAP_POLICY_OFF);
	VALUE(CATNAP_POLICY_KERNEL);
	VALUE(CATNAP_POLICY_FIXED);
	VALUE(CATNAP_POLICY_ALWAYS);
	VALUE(CATNAP_POLICY_ADAPTIVE);
	VALUE(CATNAP_BIAS_BALANCED);
	VALUE(CATNAP_BIAS_LATENCY);
	VALUE(CATNAP_BIAS_POWER);
	VALUE(CATNAP_CAUSE_IPI);
	VALUE(CATNAP_CAUSE_TIMER);
	VALUE(CATNAP_CAUSE_IO);
	VALUE(CATNAP_CAUSE_EVENTFD);
	VALUE(CATNAP_CAUSE_OTHER);
	VALUE(CATNAP_CAUSES);
	VALUE(CATNAP_WORK_IPI);
	VALUE(CATNAP_WORK_USER);
	VALUE(CATNAP_IRQCHIP_USER);
	VALUE(CATNAP_IRQCHIP_KERNEL);
	VALUE(CATNAP_IMAGE_AUTO);
	VALUE(CATNAP_IMAGE_PVH);
	VALUE(CATNAP_IMAGE_MULTIBOOT);
	VALUE(CATNAP_IMAGE_FLAT);
	VALUE(CATNAP_EXIT_NONE);
	VALUE(CATNAP_EXIT_POWEROFF);
	VALUE(CATNAP_EXIT_RESET);
	VALUE(CATNAP_EXIT_TRIPLE_FAULT);
	VALUE(CATNAP_EXIT_KVM_ERROR);
	VALUE(CATNAP_EXIT_DEBUG);
	VALUE(CATNAP_EXIT_STOPPED);
	VALUE(CATNAP_EXIT_HOST_ERROR);
	VALUE(CATNAP_EXIT_PANIC);
	return 0;
}
