# SPDX-License-Identifier: Apache-2.0
# title: the guest's haltpoll driver: on, off, its parameters, what it saves
# needs: linux
# limit: 900
needs_option --initramfs --guest-halt-poll

# The driver's default and the option's are not the same here: each parameter must arrive.
linux 60 run=report --cpus 2 --guest-halt-poll force,ns=150us,grow=3,grow-start=20us,shrink=4,allow-shrink=off
healthy "force, with parameters" 2
is "each parameter arrives" "$(value guest_halt_poll_ns) $(value guest_halt_poll_grow) \
$(value guest_halt_poll_grow_start) $(value guest_halt_poll_shrink) \
$(value guest_halt_poll_allow_shrink)" "150000 3 20000 4 N"

# exchange IRQCHIP POLL: sets halts, what the exchange alone has taken. catnap writes a line for each HLT
# exit, and the guest sleeps before and after, for the lines to be counted; KVM's own can be counted at the
# end only, so from them what a boot without an exchange takes is subtracted.
exchange()
{
	trace="--halt-trace /tmp/trace" rounds=1000
	# So many that a boot, which takes some hundreds more or less each time, does not matter.
	[ $1 = user ] || trace='' rounds=4000
	if [ $1 = kernel ]; then
		linux 60 run=report --cpus 2 --irqchip $1 --guest-halt-poll $2
		before=$(stat_sum halt_exits)
	fi
	# shellcheck disable=SC2086
	guest_start 180 -k /guest/bzImage -i /guest/initramfs --cpus 2 --irqchip $1 --guest-halt-poll $2 $trace \
		-c "console=ttyS0 quiet run=report,pipe rounds=$rounds settle=4"
	begin=0 end=0
	wait_for 60 'pipe_begin=' && sleep 2 && [ $1 = user ] && begin=$(wc -l </tmp/trace)
	wait_for 120 'pipe_end=' && sleep 2 && [ $1 = user ] && end=$(wc -l </tmp/trace)
	guest_end
	tr -d '\r' <$out >$out.text
	cp $out.text $out
	halts=$((end - begin))
	if [ $1 = kernel ]; then
		halts=$(($(stat_sum halt_exits) - before))
		[ $halts -ge 0 ] || halts=0
	else
		is "$irqchip, $mode: each HLT exit of the statistics is a line of the trace" \
			$(stat_sum halt_exits) $(($(wc -l </tmp/trace) - 1))
	fi
}

for irqchip in user kernel; do
	for mode in force realtime off; do
		want="haltpoll haltpoll"
		[ $mode != off ] || want="none"
		# A round takes milliseconds in the lab: a window that is longer than that, from the start.
		poll=$mode
		[ $mode = off ] || poll=$mode,ns=200ms,grow-start=200ms
		exchange $irqchip $poll
		healthy "$irqchip, $mode: to its end" 2
		case "$(value idle_driver) $(value idle_governor)" in
		"$want"*) ok "$irqchip, $mode: driver and governor" ;;
		*) not_ok "$irqchip, $mode: $(value idle_driver) $(value idle_governor)" ;;
		esac
		ipis=$(value pipe_ipis)
		note "$irqchip, $mode: $(value pipe_rounds) rounds, $ipis IPIs (RES $(value pipe_res)," \
			"CAL $(value pipe_cal)), $halts HLT exits, $(value pipe_round_ns) ns a round"
		eval "ipis_$mode=$ipis halts_$mode=$halts"
		if [ $irqchip = user ]; then
			off=$(grep -c '"poll_allowed": *false' $stats)
			[ $mode = off ] && want=0 || want=2
			is "$mode: vCPUs whose guest has switched host polling off" "$off" $want
		fi
	done
	between "$irqchip: guest polling saves 9 of 10 IPIs, of $ipis_off" "$ipis_force" 0 $((ipis_off / 10))
	between "$irqchip: guest polling saves 9 of 10 HLT exits, of $halts_off" "$halts_force" 0 $((halts_off / 10))
done

linux 60 run=report,offline --cpus 4 --guest-halt-poll force
healthy "CPUs go off" 4
is "a CPU that is off does not poll: host polling is on again" "$(grep -c '"poll_allowed": *true' $stats)" 3
linux 60 run=report,offline,online --cpus 4 --guest-halt-poll force
healthy "CPUs go off and on" 4
is "host polling is off again" "$(grep -c '"poll_allowed": *false' $stats)" 4

# The guest gives up after 10 us; then the host polls for as long as one sleep is worth, or as its policy has
# learned, which may be not at all where a halt takes milliseconds.
for host in off break-even learned; do
	linux 60 "run=report,pipe rounds=100" --cpus 2 --guest-halt-poll force,ns=10us,grow-start=10us,host=$host
	healthy "host=$host" 2
	is "host=$host: the guest wants no host polling" "$(grep -c '"poll_allowed": *false' $stats)" 2
	polled=$(stat_sum after_guest_attempted)
	note "host=$host: $(stat_sum halt_exits) halts, $polled polled for after the guest," \
		"$(stat_sum after_guest_successful) of them with success"
	if [ $host = off ]; then
		is "host=$host: not polled for" $polled 0
	elif [ $host = break-even ]; then
		between "host=$host: polled for" $polled 1 1000000
	fi
done
