# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2016
# All devices of one Linux guest, tried from both sides: for the cases *-devices. The guest is one of
# guest_start with $under and $all_devices, in which a shell listens, with address 10.9.0.2 on eth0 or so.
all_devices="--net tap=tap0,mac=02:00:00:00:00:05 --vsock cid=7,socket=/tmp/v --balloon size=0 --api-socket /tmp/b
	--console stdio --serial null"
under="term 80 24"

devices_begin() # MIB: of data to send
{
	mib=$1
	dd if=/dev/urandom of=/tmp/data bs=1M count="$mib" 2>/dev/null
	dd if=/tmp/data of=/tmp/small bs=1M count=4 2>/dev/null
	sum=$(md5sum </tmp/data)
	small=$(md5sum </tmp/small)
	tunctl -t tap0 >/dev/null
	ip addr add 10.9.0.1/24 dev tap0
	ip link set tap0 up
}

try_devices() # NAME
{
	name=$1
	echo 'stty -echo; PS1=; mkdir -p /dev/shm' >&3

	# The address may come a little after the login.
	say up 'for i in $(seq 60); do ping -c 1 10.9.0.1 >/dev/null 2>&1 && break; sleep 1; done; echo $i'
	answer up 200 >/dev/null
	is "$name: ping" "$(ask ping 60 'ping -c 5 10.9.0.1 >/dev/null; echo $?')" 0
	is "$name: its address" "$(ask mac 20 'cat /sys/class/net/e*/address')" 02:00:00:00:00:05
	begin=$(now)
	say tcpin 'sock tcp-listen 5000 </dev/null 2>/dev/null >/dev/shm/in; md5sum </dev/shm/in'
	connected /tmp/data timeout 600 sock tcp-connect 10.9.0.2 5000
	is "$name: $mib MiB to the guest by TCP" "$(answer tcpin 120)" "$sum"
	took "TCP to the guest" "$mib"
	begin=$(now)
	timeout 600 sock tcp-listen 5001 </dev/null 2>/dev/null | md5sum >/tmp/back &
	listener=$!
	sleep 1
	say tcpout 'sock tcp-connect 10.9.0.1 5001 </dev/shm/in; echo $?'
	wait $listener
	is "$name: $mib MiB from the guest by TCP" "$(cat /tmp/back)" "$sum"
	took "TCP from the guest" "$mib"
	is "$name: its status" "$(answer tcpout 30)" 0
	note "its packets: $(ask packets 20 'cd /sys/class/net/e*/statistics; echo $(cat tx_packets tx_bytes rx_packets rx_bytes)')"

	say vin 'sock vsock-listen 5 </dev/null 2>/dev/null >/dev/shm/in; md5sum </dev/shm/in'
	connected /tmp/small timeout 200 sock unix-connect /tmp/v 5
	is "$name: 4 MiB to the guest by vsock" "$(answer vin 120)" "$small"
	rm -f /tmp/v_9
	timeout 200 sock unix-listen /tmp/v_9 </dev/null 2>/dev/null | md5sum >/tmp/back &
	listener=$!
	sleep 1
	say vout 'sock vsock-connect 2 9 </dev/shm/in; echo $?'
	wait $listener
	is "$name: 4 MiB from the guest by vsock" "$(cat /tmp/back)" "$small"
	is "$name: its status" "$(answer vout 30)" 0

	is "$name: the guest's entropy" \
		"$(ask rng 60 'echo $(cat /sys/class/misc/hw_random/rng_current) $(head -c 64 /dev/hwrng | wc -c)')" "virtio_rng.0 64"

	is "$name: the console's size" "$(ask size 20 'stty size')" "24 80"
	kill -USR1 $pid
	turns=10
	while [ $turns -gt 0 ] && [ "$(ask "size$turns" 20 'stty size')" != "36 120" ]; do
		turns=$((turns - 1))
		sleep 0.5
	done
	verdict "$name: its terminal is resized" [ $turns -gt 0 ]

	ask big 120 'dd if=/dev/zero of=/dev/shm/big bs=1M count=160 2>/dev/null; rm /dev/shm/in' >/dev/null
	read -r child _ </proc/$pid/task/$pid/children
	full=$(resident "$child")
	ask gone 60 'rm /dev/shm/big' >/dev/null
	is "$name: a balloon of 256 MiB" "$(balloon_to /tmp/b 256 200)" 256
	note "resident: $full MiB, then $(resident "$child") MiB"
	between "$name: resident memory falls by 128 MiB from $full" "$(resident "$child")" 1 $((full - 128))
	is "$name: and none" "$(balloon_to /tmp/b 0 200)" 0
}
