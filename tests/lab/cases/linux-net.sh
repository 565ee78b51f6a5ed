# SPDX-License-Identifier: Apache-2.0
# title: network over TAP: ping, TCP both ways with equal checksums, several queues
# needs: linux sock
# limit: 400
# memory: 2048
needs_option --net
size=${NET_SIZE:-8}
dd if=/dev/urandom of=/tmp/data bs=1M count=$size 2>/dev/null
sum=$(md5sum </tmp/data)
tunctl -t tap0 >/dev/null
sock tap tapm0
ip link set tap0 up
ip link set tapm0 up

# over NAME TAP NET ARGUMENTS ...
over()
{
	name=$1 tap=$2 net=10.9.$3 dev=${2%%,*}
	shift 3
	ip addr flush dev $dev
	ip addr add $net.1/24 dev $dev
	guest_start 200 -k /guest/bzImage -i /guest/initramfs -m 256M -c "console=ttyS0 quiet run=report,shell" \
		--net tap=$tap,mac=02:00:00:00:00:05 "$@"
	if ! wait_for 60 'guest# '; then
		not_ok "$name: no shell"
		show
		kill $pid
		guest_end
		return
	fi
	echo "stty -echo; ifconfig eth0 $net.2 netmask 255.255.255.0 up; cat /sys/class/net/eth0/address" >&3
	echo "ls -d /sys/class/net/eth0/queues/rx-* | wc -l | sed 's/^/queues /'" >&3
	echo "ping -c 5 $net.1; echo ping-\$?" >&3
	wait_for 30 '^ping-[0-9]'
	is "$name: ping" "$(grep -c '^ping-0' "$out")" 1
	begin=$(now)
	echo 'sock tcp-listen 5000 </dev/null >/tmp/in; md5sum </tmp/in | sed "s/^/in-/"; echo re''ady' >&3
	sleep 2
	timeout 60 sock tcp-connect $net.2 5000 </tmp/data
	wait_for 100 '^ready'
	is "$name: $size MiB to the guest" "$(tr -d '\r' <"$out" | sed -n 's/^in-//p')" "$sum"
	note "$(awk "BEGIN { print $(now) - $begin }") s"
	begin=$(now)
	timeout 60 sock tcp-listen 5001 </dev/null >/tmp/back 2>/dev/null &
	listener=$!
	sleep 1
	echo "sock tcp-connect $net.1 5001 </tmp/in; ifconfig eth0; dmesg | sed 's/^/dm: /'; exit" >&3
	wait $listener
	is "$name: $size MiB from the guest" "$(md5sum </tmp/back)" "$sum"
	note "$(awk "BEGIN { print $(now) - $begin }") s"
	guest_end
	is "$name: the guest ended" "$status" 0
	is "$name: its address" "$(grep -c '^02:00:00:00:00:05' "$out")" 1
	note "$(grep -A 12 '"net' $stats | tr -d '\n')"
}
over "mmio" tap0 0 --transport mmio
over "pci, two queues, two CPUs" tapm0,queues=2 1 --transport pci --cpus 2
over "pci, I/O thread" tap0 0 --transport pci --io thread
