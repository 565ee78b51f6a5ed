# SPDX-License-Identifier: Apache-2.0
# title: disks and an interface come and go in a stock Debian kernel: found, mounted, let go of, by ACPI alone
# needs: curl stock-6.12
# drives: ext4=16M
# processors: 2
# limit: 900
# memory: 2048
needs_option --hotplug
rounds=5

ask() # METHOD RESOURCE [BODY]: the status; the answer is in /tmp/answer
{
	curl -sS --unix-socket /tmp/api.sock -o /tmp/answer -w '%{http_code}' -X "$1" ${3:+-d "$3"} "http://localhost$2" \
		2>/tmp/complaint
}

gone() # ID: it is, within 30 s
{
	tries=150
	while [ $tries -gt 0 ]; do
		ask GET /vm/config >/dev/null
		grep -q "\"$1\"" /tmp/answer || return 0
		tries=$((tries - 1))
		sleep 0.2
	done
	return 1
}

says() # TEXT COMMAND PATTERN: the answer is a line of its own, so the echo is none
{
	echo "$2" >&3
	if wait_for 90 "^$3"; then
		ok "$1"
	else
		not_ok "$1: no answer"
		show
		return 1
	fi
}

there='for i in $(seq 100); do [ -e $f ] && break; sleep 0.1; done'
work='seq 100000 >/m/file && sync && umount /m'
ping='ip addr add 10.9.0.2/24 dev eth0; ip link set eth0 up; ping -c 3 10.9.0.1 >/dev/null'
away='for i in $(seq 100); do [ -e $f ] || break; sleep 0.1; done'

disk() # TEXT ROUND
{
	cp /tmp/base "/tmp/image-$2"
	is "$1: comes" "$(ask PUT /drives/data "{\"drive_id\": \"data\", \"path_on_host\": \"/tmp/image-$2\",
		\"is_root_device\": false, \"is_read_only\": false}")" 204
	says "$1: is mounted, written, and put down" \
		"f=/dev/vda; $there; mkdir -p /m; mount -t ext4 \$f /m && $work; echo work-$2-\$?" "work-$2-0" || return 1
	is "$1: the guest is asked" "$(ask DELETE /drives/data)" 204
	verdict "$1: has gone" gone data
	says "$1: the guest sees it no more" "f=/dev/vda; $away; [ ! -e \$f ]; echo away-$2-\$?" "away-$2-0"
	mkdir -p /tmp/look
	mount -o loop,ro "/tmp/image-$2" /tmp/look
	is "$1: what was written is there" "$(md5sum </tmp/look/file)" "$(seq 100000 | md5sum)"
	umount /tmp/look
}

net() # TEXT
{
	is "$1: comes" "$(ask PUT /network-interfaces/eth '{"iface_id": "eth", "host_dev_name": "tap0"}')" 204
	says "$1: reaches the host" "f=/sys/class/net/eth0; $there; $ping; echo ping-\$?" "ping-0"
	is "$1: the guest is asked" "$(ask DELETE /network-interfaces/eth)" 204
	verdict "$1: has gone" gone eth
}

dd if="$(drive 0)" of=/tmp/base bs=1M 2>/dev/null
tunctl -t tap0 >/dev/null
ip addr add 10.9.0.1/24 dev tap0
ip link set tap0 up
for irqchip in user kernel; do
	rm -f /tmp/api.sock
	guest_start 400 -k /guest/stock-6.12/vmlinuz -i /guest/stock-6.12/initramfs --cpus 2 -m 512M --irqchip $irqchip \
		--hotplug on --sandbox off --api-socket /tmp/api.sock -c "console=ttyS0 quiet run=report,shell"
	if ! wait_for 200 'guest# '; then
		not_ok "$irqchip: a shell"
		show
		kill $pid
		guest_end
		continue
	fi
	ok "$irqchip: a shell"
	round=1
	while [ $round -le $rounds ]; do
		disk "$irqchip, disk $round" $round || break
		[ $round = 1 ] && before=$(ls /proc/$pid/fd | wc -l)
		round=$((round + 1))
	done
	net "$irqchip, interface"
	is "$irqchip: descriptors" "$(ls /proc/$pid/fd | wc -l)" "$before"
	echo exit >&3
	guest_end
	is "$irqchip: the status" $status 0
	rm -f /tmp/image-*
done
