# SPDX-License-Identifier: Apache-2.0
# title: catnap advise: what it expects of another halt_poll_ns comes true, for two VMs of QEMU and one of catnap
# needs: qemu
# limit: 300
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
limit=/sys/module/kvm/parameters/halt_poll_ns
# The emulation does not bear that code is changed while it runs, as tracing does when it begins and ends: with two others
# that listen, advise is only one more in a list.
for i in one two; do
	mkdir /sys/kernel/tracing/instances/$i
	for event in kvm_vcpu_wakeup kvm_halt_poll_ns; do
		echo 1 >/sys/kernel/tracing/instances/$i/events/kvm/$event/enable
	done
done
words="workload=timer random=1 samples=100000 print=0 tsc_khz=2600000"
guests=
for gap in 300000 600000; do
	qemu-system-x86_64 -L /share/qemu -M microvm,accel=kvm -nodefaults -no-user-config -display none -m 32M \
		-serial file:/tmp/said.$gap -kernel /guest/probe.elf -append "$words gap_ns=$gap" </dev/null &
	guests="$guests $!"
done
catnap run --irqchip kernel -m 16M -c "$words gap_ns=3000000" /guest/probe.elf </dev/null >/tmp/said 2>&1 &
guests="$guests $!"
sleep 5

# try TEXT BOUNDS: from 1 ms to what is better in these bounds
try()
{
	echo 1000000 >$limit
	command="catnap advise --apply $2"
	catnap advise --duration 20s --price 50us --apply "$2" >$out 2>$err
	is "$1: it has said something, and nothing went wrong" "$? $(cat $err)" "0 "
	sed 's/^/# /' $out
	verdict "$1: it sees the three" [ "$(grep -c -e ' qemu-system' -e ' catnap' $out)" = 3 ]
	said=$(tr '\n' ' ' <$out | tr -s ' ')
	set -- "$1" $(echo "$said" | sed -n 's/.* \([0-9.]*\) % of a processor were polled .*, \([0-9.]*\) % before, \([0-9.]*\) % expected.*/\1 \2 \3/p')
	between "$1: the polling that is saved, to what was expected: from $3 % to $2 %, not $4 %" \
		"$(awk "BEGIN { print ($3 - $2) / ($3 - $4) }")" 0.8 1.2
	is "$1: it stays" "$(echo "$said" | grep -c 'It stays')" 1
}
try "none" max=1ms
try "300 us" max=1ms,min=300us
try "500 us" max=1ms,min=500us
for pid in $guests; do
	kill "$pid"
done
wait
