# SPDX-License-Identifier: Apache-2.0
# title: Firecracker's API: stock Linux from the getting-started sequence and from a file, at a shell
# needs: sock stock-6.1 stock-6.12
# processors: 1
# limit: 900
# memory: 2048
ln -sf "$(command -v catnap)" /tmp/firecracker

say() # TEXT METHOD RESOURCE [BODY]: a request that succeeds
{
	what=$1
	shift
	if sock http /tmp/api.sock "$@" >/tmp/answer 2>&1; then
		return 0
	fi
	not_ok "$what: $*: $(cat /tmp/answer)"
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
		say "$name" PUT /actions '{"action_type": "InstanceStart"}' && ok "$name: started"
	if shell "$name"; then
		say "$name" PATCH /vm '{"state": "Paused"}' && say "$name" GET / &&
			verdict "$name: paused" grep -q '"Paused"' /tmp/answer
		say "$name" PATCH /vm '{"state": "Resumed"}'
		echo 'echo b$((7*8))z' >&3
		verdict "$name: goes on" wait_for 30 '^b56z'
		end "$name"
	fi
	name="$kernel, file"
	echo "{\"boot-source\": $source, \"drives\": [],
		\"machine-config\": {\"vcpu_count\": 1, \"mem_size_mib\": 512}}" >/tmp/config
	begin --config-file /tmp/config --enable-pci
	shell "$name" && end "$name"
done
