# SPDX-License-Identifier: Apache-2.0
# title: the guest's time: a sleep of 10 s, clocks of 4 vCPUs, 100,000 timers
# needs: linux
# processors: 1
# limit: 1300
needs_option --initramfs
for irqchip in user kernel; do
	# Held against the lab's clock, by when its lines come.
	guest_start 90 -k /guest/bzImage -i /guest/initramfs --irqchip $irqchip \
		-c "console=ttyS0 quiet run=report,sleep sleep=10"
	if wait_for 40 'result: sleep_begin'; then
		begin=$(now)
		wait_for 30 'result: sleep_ns'
		end=$(now)
		guest_end
		tr -d '\r' <$out >$out.text
		cp $out.text $out
		healthy "$irqchip: sleep 10: to its end" 1
		between "$irqchip: sleep 10, by the guest's clock" "$(value sleep_ns)" 10000000000 10100000000
		# Two looks at 0.2 s, and the time lines take.
		between "$irqchip: sleep 10, by the host's clock" \
			"$(awk "BEGIN { print $end - $begin }")" 9.7 10.4
	else
		guest_end
		not_ok "$irqchip: sleep 10: does not begin"
		show
	fi
	linux 90 "run=report,clock seconds=10" --cpus 4 --irqchip $irqchip
	healthy "$irqchip: clock: to its end" 4
	is "$irqchip: CLOCK_MONOTONIC never goes back over 4 vCPUs" "$(value clock_backs)" 0
	note "$(value clock_looks) looks, clocksource $(value clocksource)"
	linux 450 "run=report,timer,report samples=100000 interval_us=500" --cpus 2 --irqchip $irqchip
	healthy "$irqchip: timers: to its end" 2
	is "$irqchip: no timer is lost in 100000" "$(value timer_samples) $(value timer_lost)" "100000 0"
	note "late: mean $(value timer_mean_ns) ns, most $(value timer_max_ns) ns; skipped: $(value timer_overruns)"
done
