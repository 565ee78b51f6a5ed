# SPDX-License-Identifier: Apache-2.0
# title: Firecracker's API by curl: stock Linux from the getting-started sequence, its disk swapped and grown, and from a file
# needs: curl stock-6.1 stock-6.12
# processors: 1
# limit: 1200
# memory: 2048
ln -sf "$(command -v catnap)" /tmp/firecracker

say() # TEXT METHOD RESOURCE [BODY]: a request that succeeds
{
	code=$(curl -sS --unix-socket /tmp/api.sock -o /tmp/answer -w '%{http_code}' -X "$2" ${4:+-d "$4"} \
		"http://localhost$3" 2>/tmp/complaint)
	case $code in
	200 | 204) return 0 ;;
	esac
	not_ok "$1: $2 $3: $code $(cat /tmp/answer /tmp/complaint)"
	return 1
}

begin() # ARGUMENT ...: a process, and its socket
{
	command="firecracker $*"
	rm -f /tmp/input /tmp/api.sock
	mkfifo /tmp/input
	/tmp/firecracker --api-sock /tmp/api.sock --log-path /tmp/log "$@" </tmp/input >"$out" 2>"$err" &
	pid=$!
	exec 3>/tmp/input
	tries=100
	while [ ! -S /tmp/api.sock ] && [ $tries -gt 0 ]; do
		tries=$((tries - 1))
		sleep 0.2
	done
}

shell() # TEXT: Linux is there, and answers
{
	if ! wait_for 150 'guest# '; then
		not_ok "$1: no shell"
		show
		kill $pid
		guest_end
		return 1
	fi
	ok "$1: a shell"
	echo 'echo a$((6*7))z' >&3
	wait_for 30 '^a42z' || not_ok "$1: no answer"
}

end() # TEXT
{
	echo exit >&3
	guest_end
	is "$1: the process ends with the guest" "$status" 0
}

network() # TEXT
{
	echo 'ip addr add 10.9.0.2/24 dev eth0; ip link set eth0 up; ping -c 3 10.9.0.1; echo ping-$?' >&3
	wait_for 60 '^ping-[0-9]'
	verdict "$1: ping" grep -q '^ping-0' "$out"
}

sees_size() # TEXT BYTES: the guest does, in a moment
{
	echo "for i in \$(seq 20); do s=\$(blockdev --getsize64 /dev/vda); [ \$s = $2 ] && break; sleep 1; done;" \
		"echo size-\$s" >&3
	verdict "$1" wait_for 60 "^size-$2"
}

# The guest writes 768 blocks of 4 KiB, one after the other, while it gets another disk: the first disk has those up
# to some block, and the second one the rest.
swap() # TEXT
{
	blocks=768
	seq 1000000 | head -c $((blocks * 4096)) >/tmp/data
	dd if=/dev/zero of=/tmp/other bs=1M count=12 2>/dev/null
	echo "seq 1000000 | head -c $((blocks * 4096)) >/tmp/r; echo be''gins; dd if=/tmp/r of=/dev/vda bs=4k" \
		"oflag=direct 2>/dev/null; echo wrote-\$?" >&3
	wait_for 60 '^begins'
	sleep 0.5
	say "$1" PATCH /drives/data '{"drive_id": "data", "path_on_host": "/tmp/other"}' && ok "$1: swapped"
	wait_for 120 '^wrote-'
	verdict "$1: all is written" grep -q '^wrote-0' "$out"
	old=0
	while [ $old -lt $blocks ] && cmp -s -n 4096 /tmp/data /tmp/disk $((old * 4096)) $((old * 4096)); do
		old=$((old + 1))
	done
	note "$old blocks went to the first disk"
	verdict "$1: the first disk has no more" cmp -s -n $(((blocks - old) * 4096)) /tmp/disk /dev/zero \
		$((old * 4096)) 0
	verdict "$1: the second has the rest" cmp -s -n $(((blocks - old) * 4096)) /tmp/other /tmp/data \
		$((old * 4096)) $((old * 4096))
	sees_size "$1: another size" $((12 << 20))
	truncate -s 20M /tmp/other
	say "$1" PATCH /drives/data '{"drive_id": "data", "path_on_host": "/tmp/other"}'
	sees_size "$1: it has grown" $((20 << 20))
	echo 'dd if=/dev/vda bs=4k count=5120 iflag=direct 2>/dev/null | md5sum | sed "s/^/read-/"' >&3
	verdict "$1: reads the second one" wait_for 60 "^read-$(md5sum </tmp/other | cut -d ' ' -f 1)"
}

tunctl -t tap0 >/dev/null
ip addr add 10.9.0.1/24 dev tap0
ip link set tap0 up
for kernel in 6.1 6.12; do
	args="console=ttyS0 quiet reboot=k panic=1 run=report,shell"
	source="{\"kernel_image_path\": \"/guest/stock-$kernel/vmlinuz\",
		\"initrd_path\": \"/guest/stock-$kernel/initramfs\", \"boot_args\": \"$args\"}"
	dd if=/dev/zero of=/tmp/disk bs=1M count=4 2>/dev/null
	name="$kernel, requests"
	begin
	say "$name" PUT /logger '{"level": "Info", "show_level": true}' &&
		say "$name" PUT /machine-config '{"vcpu_count": 1, "mem_size_mib": 512}' &&
		say "$name" PUT /boot-source "$source" &&
		say "$name" PUT /drives/data '{"drive_id": "data", "path_on_host": "/tmp/disk",
			"is_root_device": false, "is_read_only": false}' &&
		say "$name" PUT /network-interfaces/eth0 '{"iface_id": "eth0", "host_dev_name": "tap0",
			"guest_mac": "02:00:00:00:00:05"}' &&
		say "$name" PUT /actions '{"action_type": "InstanceStart"}' && ok "$name: started"
	if shell "$name"; then
		say "$name" PATCH /vm '{"state": "Paused"}' && say "$name" GET / &&
			verdict "$name: paused" grep -q '"Paused"' /tmp/answer
		say "$name" PATCH /vm '{"state": "Resumed"}'
		echo 'echo b$((7*8))z' >&3
		verdict "$name: goes on" wait_for 30 '^b56z'
		network "$name"
		swap "$name"
		end "$name"
	fi
	name="$kernel, file"
	echo "{\"boot-source\": $source, \"drives\": [],
		\"machine-config\": {\"vcpu_count\": 1, \"mem_size_mib\": 512}}" >/tmp/config
	begin --config-file /tmp/config --enable-pci
	shell "$name" && end "$name"
done
