# SPDX-License-Identifier: Apache-2.0
# title: snapshots: Linux goes on in other processes, with all that it was doing, and knows of it
# needs: stock-6.1 stock-6.12 sock
# processors: 1
# limit: 900
# memory: 2048
needs_option --restore
all=/tmp/all
# TEXT COMMAND PATTERN: the answer is a line of its own, so the echo is none
ask()
{
	echo "$2" >&3
	if wait_for 60 "^$3"; then
		ok "$1"
	else
		not_ok "$1: no answer"
		show
	fi
}

# Puts it down, and goes on from that.
again()
{
	{
		sock http /tmp/api PATCH /vm '{"state": "Paused"}' &&
			sock http /tmp/api PUT /catnap/snapshot '{"dir": "/tmp/shot", "diff": false}' &&
			sock http /tmp/api POST /catnap/stop '{"wait": false}'
	} >/tmp/ctl 2>&1 || {
		not_ok "$name: a snapshot"
		note "$(cat /tmp/ctl)"
		kill -9 $pid
	}
	guest_end
	tr -d '\r' <$out >>$all
	rm -f /tmp/api
	guest_start 300 --restore /tmp/shot --api-socket /tmp/api --snapshots /tmp
}

for kernel in 6.12 6.1; do
	for irqchip in user kernel; do
		name="$kernel, $irqchip"
		rm -rf /tmp/shot $all
		guest_start 300 -k /guest/stock-$kernel/vmlinuz -i /guest/stock-$kernel/initramfs --cpus 2 -m 256M \
			--irqchip $irqchip --api-socket /tmp/api --snapshots /tmp \
			-c "console=ttyS0 quiet run=report,shell"
		if ! wait_for 150 'guest# '; then
			not_ok "$name: no shell"
			show
			kill -9 $pid 2>/dev/null
			guest_end
			continue
		fi
		# One that computes, and one that sleeps: each on a CPU.
		echo 'taskset 1 sh -c "i=0; while :; do i=\$((i+1)); echo \$i >/tmp/i; done" &' >&3
		echo 'taskset 2 sh -c "while :; do sleep 1; date +%s >>/tmp/t; done" &' >&3
		# Its file is empty for a moment, each time that it is written.
		# shellcheck disable=SC2016
		echo 'n() { x=; while [ -z "$x" ]; do x=$(cat /tmp/i); done; echo $x; }' >&3
		ask "$name: a shell" 'echo a$((6*7))z' 'a42z'
		for cycle in 1 2 3; do
			again
			ask "$name, $cycle: the shell goes on" "echo b\$(($cycle+7))z" "b$((cycle + 7))z"
			ask "$name, $cycle: both CPUs" "echo n\$(nproc)n" 'n2n'
			# shellcheck disable=SC2016
			ask "$name, $cycle: who computes goes on" \
				'a=$(n); sleep 3; [ $(n) -gt $a ] && echo co''mputes' 'computes'
			# shellcheck disable=SC2016
			ask "$name, $cycle: who sleeps wakes" \
				'a=$(wc -l </tmp/t); sleep 4; [ $(wc -l </tmp/t) -gt $a ] && echo wa''kes' 'wakes'
		done
		# Debian's 6.1 is built without the driver.
		# shellcheck disable=SC2016
		ask "$name: what drivers it has" 'echo d$(ls -d /sys/bus/*/drivers/vmgenid 2>/dev/null | wc -l)d' 'd[0-9]*d'
		if grep -q '^d0d' "$out"; then
			skip "$name: it has reseeded, each time" "its kernel has no driver for the generation"
		else
			# shellcheck disable=SC2016
			ask "$name: it has reseeded, each time" \
				'echo f$(dmesg | grep -c "virtual machine fork")f' 'f3f'
		fi
		echo exit >&3
		guest_end
		tr -d '\r' <$out >>$all
		cp $all $out
		healthy "$name: its end" 2
	done
done
