# SPDX-License-Identifier: Apache-2.0
# title: stock Debian kernels, 6.1 and 6.12: to a shell on the serial port, commands and answers
# needs: stock-6.1 stock-6.12
# processors: 1
# limit: 400
# memory: 2048
needs_option --initramfs

for kernel in 6.1 6.12; do
	for irqchip in user kernel; do
		name="$kernel, $irqchip"
		guest_start 150 -k /guest/stock-$kernel/vmlinuz -i /guest/stock-$kernel/initramfs --cpus 2 -m 512M \
			--irqchip $irqchip -c "console=ttyS0 quiet run=report,shell"
		if ! wait_for 100 'guest# '; then
			not_ok "$name: no shell"
			show
			kill $pid
			sleep 1
			kill -9 $pid 2>/dev/null
			guest_end
			continue
		fi
		ok "$name: a shell"
		shell_says "$name: arithmetic" 'echo a$((6*7))z' 'a42z'
		shell_says "$name: both CPUs" 'echo n$(nproc)n' 'n2n'
		shell_says "$name: the release" 'uname -r' "$kernel\\."
		shell_says "$name: an IPI, a page fault, a fork" 'taskset 2 sh -c "echo b\$((7*8))"' 'b56'
		echo exit >&3
		guest_end
		tr -d '\r' <$out >$out.text
		cp $out.text $out
		healthy "$name: exit ends it" 2
		note "init after $(value init) s, clocksource $(value clocksource), idle $(value idle_driver)" \
			"$(value idle_governor)"
	done
done
