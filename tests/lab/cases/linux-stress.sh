# SPDX-License-Identifier: Apache-2.0
# title: 16 vCPUs on one processor: 60 s of forks, pipes, futexes, barriers, timers, CPUs off and on
# needs: linux
# processors: 1
# limit: 600
needs_option --initramfs
stress() # TEXT ARGUMENT ...
{
	text=$1
	shift
	linux 180 "run=report,stress,report seconds=60 stuck_s=40" --cpus 16 -m 512M "$@"
	healthy "$text" 16
	for w in fork pipe futex timer barrier hotplug; do
		note "$w $(value stress_$w)"
	done
}

stress "user:kernel" --halt-poll kernel
stress "user:off" --halt-poll off
stress "irqchip=kernel" --irqchip kernel
