# SPDX-License-Identifier: Apache-2.0
# title: 100 KB pasted into a shell on the serial port arrive
# needs: linux
# limit: 900
needs_option --initramfs --serial
for irqchip in user kernel; do
	# With flow control a part of it shows that what is held back comes later.
	for flow in "-crtscts 102400" "crtscts 20480"; do
		seq 1 14500 | sed 's/$/ a line of it/' | head -c ${flow#* } >/tmp/paste
		echo >>/tmp/paste
		sum=$(md5sum </tmp/paste)
		flow=${flow% *}
		guest_start 200 -k /guest/bzImage -i /guest/initramfs --irqchip $irqchip -c "console=ttyS0 quiet run=shell"
		if ! wait_for 40 'guest# '; then
			guest_end
			not_ok "$irqchip, $flow: no shell"
			show
			continue
		fi
		echo "stty -echo $flow; echo now-\$((1+1)); cat >/tmp/f; md5sum </tmp/f; exit" >&3
		wait_for 20 '^now-2'
		begin=$(now)
		cat /tmp/paste >&3
		printf '\004' >&3
		wait_for 150 '^[0-9a-f]* *-'
		note "$(awk "BEGIN { print $(now) - $begin }") s"
		guest_end
		is "$irqchip, $flow: what arrived" "$(tr -d '\r' <$out | grep -c "^$sum")" 1
	done
done
