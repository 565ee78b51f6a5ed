# SPDX-License-Identifier: Apache-2.0
# title: how a Linux guest ends, and how it is ended
# needs: linux
# processors: 1
# limit: 450
needs_option --initramfs
for irqchip in user kernel; do
	for hw in acpi fdt; do
		linux 40 "run=report end=poweroff" --irqchip $irqchip --hw $hw --cpus 2
		is "$irqchip, $hw: poweroff" $status 0
		linux 40 "run=report end=reboot" --irqchip $irqchip --hw $hw --cpus 2
		is "$irqchip, $hw: reboot" $status 32
	done
	linux 40 "run=report end=reboot reboot=t" --irqchip $irqchip --cpus 2
	is "$irqchip: reboot by triple fault" $status 33
	linux 40 "run=report end=panic" --irqchip $irqchip --cpus 2
	is "$irqchip: panic" $status 34
	linux 5 "run=shell" --irqchip $irqchip
	is "$irqchip: --timeout" $status 124

	guest_start 60 -k /guest/bzImage -i /guest/initramfs --irqchip $irqchip --cpus 2 \
		-c "console=ttyS0 quiet run=button seconds=40"
	if wait_for 40 'button=ready'; then
		kill -TERM $pid
		guest_end
		is "$irqchip: SIGTERM: the power button, and the guest powers off" \
			"$status $(grep -c 'button=pressed' $out)" "0 1"
	else
		guest_end
		not_ok "$irqchip: SIGTERM: the guest waits for the button"
		show
	fi

	guest_start 60 -k /guest/bzImage -i /guest/initramfs --irqchip $irqchip -c "console=ttyS0 quiet run=shell"
	if wait_for 40 'result: init'; then
		kill -TERM $pid
		sleep 1
		kill -TERM $pid
		guest_end
		is "$irqchip: a second SIGTERM ends it" $status 143
	else
		guest_end
		not_ok "$irqchip: a guest that does not listen"
		show
	fi
done
