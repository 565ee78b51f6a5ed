# SPDX-License-Identifier: Apache-2.0
# title: Linux without kvmclock: it measures its TSC by what its description of the machine has; parameters before "--"; pauses
# needs: stock-6.12 linux
# processors: 1
# limit: 1800
# memory: 2048
k=/guest/stock-6.12/vmlinuz i=/guest/stock-6.12/initramfs

for irqchip in user kernel; do
	for hw in acpi mptable fdt; do
		# Debian's kernel reads neither an MP table (CONFIG_X86_MPPARSE) nor a device tree. Without either
		# ACPI or a device tree there is no power to switch off.
		kernel=/guest/bzImage initramfs=/guest/initramfs end=poweroff want=0
		[ $hw != acpi ] || kernel=$k initramfs=$i
		[ $hw != mptable ] || end=reboot want=32
		guest 120 -k $kernel -i $initramfs -m 256M --irqchip $irqchip --hw $hw \
			-c "console=ttyS0 no-kvmclock run=report,sleep sleep=2 end=$end"
		is "$irqchip, $hw: no-kvmclock: to its end" "$(value done) $status" "ok $want"
		verdict "$irqchip, $hw: the frequency of its TSC is known" \
			grep -q -E 'tsc: (Detected|Refined)|tsc: using PMTIMER' $out
		note "$(value clocksource); $(grep -a -o -E 'tsc: .*MHz.*|PM-Timer IO Port.*' $out | tr '\n' ';' | cut -c1-200)"
	done
done
# Words that catnap adds are parameters, and those behind "--" are init's.
guest 60 -k $k -i $i -m 256M -c "console=ttyS0 quiet run=report rdinit=/bin/echo -- words-of-init"
verdict "what catnap adds does not go to init" grep -q '^words-of-init *$' $out
# A stop of the whole process, longer than the watchdog waits.
for irqchip in user kernel; do
	guest_start 120 -k $k -i $i -m 256M --cpus 2 --irqchip $irqchip -c "console=ttyS0 quiet watchdog_thresh=2 run=shell"
	wait_for 90 'guest# '
	sleep 3
	kill -STOP $pid
	sleep 12
	kill -CONT $pid
	sleep 4
	echo 'dmesg | grep -c -i -E "soft lockup|rcu.*stall"; echo en""d-look; exit' >&3
	wait_for 60 end-look
	guest_end
	verdict "$irqchip: no watchdog barks after a stop of 12 s" grep -q -E '^0' $out
done
