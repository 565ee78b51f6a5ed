# SPDX-License-Identifier: Apache-2.0
# title: disks, network and sockets together on 4 vCPUs, with pauses and resets of devices, in the sandbox
# needs: linux sock
# processors: 1
# limit: 1100
# long: 2400
# memory: 2048
needs_option --disk --net --vsock --sandbox
# A minute, or ten: half with each way to run devices.
half=30
[ "$LAB_LONG" != 1 ] || half=300
tunctl -t tap0 >/dev/null
ip addr add 10.9.0.1/24 dev tap0
ip link set tap0 up

# Prints what runs in the guest. A reset is that of its driver: unbound, bound again. Loads know that they may fail
# meanwhile; that of the first disk, which is never reset, may not.
commands()
{
	cat <<-'END'
		stty -echo
		ifconfig eth0 10.9.0.2 netmask 255.255.255.0 up
		touch /tmp/go; echo 0 >/tmp/resets; dd if=/dev/urandom of=/tmp/blob bs=64k count=16 2>/dev/null
		dd if=/tmp/blob of=/tmp/part bs=64k count=2 2>/dev/null
		want=$(sha256sum </tmp/blob)
		count() { n=$((n + 1)); echo $n >/tmp/n-$1; }
		b1() { n=0; while [ -e /tmp/go ]; do
			dd if=/tmp/blob of=/dev/vda bs=64k oflag=direct 2>/dev/null
			[ "$(dd if=/dev/vda bs=4k count=256 iflag=direct 2>/dev/null | sha256sum)" = "$want" ] || echo bad >>/tmp/bad
			count disk; done; }
		b2() { n=0; while [ -e /tmp/go ]; do
			dd if=/tmp/blob of=/dev/vdb bs=4k conv=fsync 2>/dev/null && count reset-disk || sleep 0.2
			dd if=/dev/vdb of=/dev/null bs=64k iflag=direct 2>/dev/null; done; }
		t() { n=0; while [ -e /tmp/go ]; do sock tcp-connect 10.9.0.1 5001 </tmp/part >/dev/null 2>&1 & p=$!
			w=0; while kill -0 $p 2>/dev/null && [ $w -lt 20 ]; do sleep 0.2; w=$((w + 1)); done
			if kill $p 2>/dev/null; then wait $p; else wait $p && count net || sleep 0.2; fi; done; }
		v() { n=0; while [ -e /tmp/go ]; do sock vsock-connect 2 9 </tmp/part >/dev/null 2>&1 && count vsock || sleep 0.2; done; }
		device() { for d in /sys/bus/virtio/devices/*; do [ "$(cat $d/device)" != $1 ] || echo $d; done | tail -n 1; }
		rebind() { at=$(device $1) drv=$(readlink -f $at/driver); echo ${at##*/} >$drv/unbind; sleep 0.2; echo ${at##*/} >$drv/bind
			echo $(($(cat /tmp/resets) + 1)) >/tmp/resets; }
		r() { while [ -e /tmp/go ]; do rebind 0x0002; sleep 1
			rebind 0x0001; ifconfig eth0 10.9.0.2 netmask 255.255.255.0 up; sleep 1
			rebind 0x0013; sleep 2; done; }
		p() { while [ -e /tmp/go ]; do sleep 10; echo "at: $(cut -d . -f 1 /proc/uptime)" $(grep . /tmp/n-* /tmp/resets); done; }
		touch /tmp/bad; p & b1 & b2 & t & v & r & resetter=$!; echo st''arted
	END
}

listen() # COMMAND ...: for one connection after the other
{
	while [ -e /tmp/serve ]; do
		timeout 5 sock "$@" </dev/null >/dev/null 2>&1
		rm -f /tmp/v_9
	done
}

# KiB that the process has beyond the guest's memory (the mapping that is as large), and its descriptors
sample()
{
	set -- "$(awk '/^[0-9a-f]+-[0-9a-f]+ / { skip = 0 } /^Size:/ { skip = $2 >= 262144 } /^Rss:/ && !skip { s += $2 }
		END { print s + 0 }' /proc/$pid/smaps)" "$(ls /proc/$pid/fd | wc -l)"
	note "$name: $1 KiB, $2 descriptors"
	kib=$1 fds=$2
}

# For @1 seconds: stopped for half a second now and then
pauses()
{
	left=$(($1 / 5))
	while [ $left -gt 0 ] && kill -0 $pid 2>/dev/null; do
		sleep 4.5
		kill -STOP $pid
		sleep 0.5
		kill -CONT $pid
		left=$((left - 1))
	done
}

load() # NAME ARGUMENTS ...
{
	name=$1
	shift
	dd if=/dev/zero of=/tmp/a.img bs=1M count=1 2>/dev/null
	dd if=/dev/zero of=/tmp/b.img bs=1M count=1 2>/dev/null
	guest_start $((half + 400)) -k /guest/bzImage -i /guest/initramfs -m 256M -c "console=ttyS0 quiet run=report,shell" \
		--cpus 4 -d path=/tmp/a.img -d path=/tmp/b.img --net tap=tap0,mac=02:00:00:00:00:05 \
		--vsock cid=7,socket=/tmp/v --sandbox on "$@"
	if ! wait_for 90 'guest# '; then
		not_ok "$name: no shell"
		show
		kill $pid
		guest_end
		return
	fi
	touch /tmp/serve
	listen tcp-listen 5001 &
	listen unix-listen /tmp/v_9 &
	commands >&3
	wait_for 60 started
	pauses 10
	sample
	first_kib=$kib first_fds=$fds
	pauses $((half / 2))
	sample
	pauses $((half / 2))
	sample
	trap '' PIPE # it may have gone
	echo 'rm /tmp/go; while kill -0 $resetter 2>/dev/null; do sleep 1; done; sleep 5; grep . /tmp/n-* | sed "s/.*n-\(.*\):/result: \1=/"; echo "result: bad=$(wc -l </tmp/bad)"' >&3
	echo 'echo "result: resets=$(cat /tmp/resets)"; ifconfig eth0; dmesg | tail -n 5; echo "result: ping=$(ping -c 3 10.9.0.1 | grep -c seq=)"; echo al''ive' >&3
	wait_for 150 alive
	echo exit >&3
	rm -f /tmp/serve
	guest_end
	wait
	tr -d '\r' <"$out" >"$out.text"
	cp "$out.text" "$out"
	is "$name: the guest ended" "$status" 0
	is "$name: what was written is what was read" "$(value bad)" 0
	between "$name: rounds of the disk" "$(value disk)" 2 1000000
	between "$name: rounds of the disk that is reset" "$(value reset-disk)" 2 1000000
	between "$name: connections over the network" "$(value net)" 1 1000000
	between "$name: connections over vsock" "$(value vsock)" 1 1000000
	between "$name: resets" "$(value resets)" 3 1000000
	is "$name: the network afterwards" "$(value ping)" 3
	note "$(grep '^at:' "$out" | tail -n 4)"
	note "disk $(value disk) $(value reset-disk) net $(value net) vsock $(value vsock) resets $(value resets)"
	between "$name: KiB more than in the beginning" $((kib - first_kib)) -100000 4096
	between "$name: descriptors more than in the beginning" $((fds - first_fds)) -100 2
	is "$name: what catnap said" "$(grep -v -i 'needs a reset' "$err")" ""
}

load "vCPUs run the devices" --io vcpu
load "an I/O thread runs the devices" --io thread
