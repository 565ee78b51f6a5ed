# SPDX-License-Identifier: Apache-2.0
# title: disks, interfaces and folders come and go in a stock Debian kernel, by ACPI alone: found, mounted, loaded, let go of
# needs: curl stock-6.12 virtiofsd
# drives: ext4=16M
# processors: 1
# limit: 900
# long: 9000
# memory: 2048
# The long form has 50 rounds of each, the short one 3, which is too few to tell whether the heap grows.
needs_option --hotplug
rounds=3 settled=5 seconds=400
[ "$LAB_LONG" != 1 ] || rounds=50 seconds=4000
late=/tmp/late

ask() # METHOD RESOURCE [BODY]: the status; the answer is in /tmp/answer
{
	curl -sS --unix-socket /tmp/api.sock -o /tmp/answer -w '%{http_code}' -X "$1" ${3:+-d "$3"} "http://localhost$2" \
		2>/tmp/complaint
}

gone() # ID: it is, within 30 s
{
	tries=150
	while [ $tries -gt 0 ]; do
		ask GET /catnap/devices >/dev/null
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
# In large pieces: busybox's seq writes each number by itself, which takes a folder a request each.
work='seq 100000 >/file && cp /file /m/file && sync && umount /m'
ping='ip addr add 10.9.0.2/24 dev eth0; ip link set eth0 up; ping -c 3 10.9.0.1 >/dev/null'
away='for i in $(seq 100); do [ -e $f ] || break; sleep 0.1; done'
sum=$(seq 100000 | md5sum)

disk() # TEXT ROUND
{
	cp /tmp/base "$late/image"
	is "$1: comes" "$(ask PUT /drives/data "{\"drive_id\": \"data\", \"path_on_host\": \"$late/image\",
		\"is_root_device\": false, \"is_read_only\": false}")" 204 || return 1
	says "$1: is mounted, written, and put down" \
		"f=/dev/vda; $there; mkdir -p /m; mount -t ext4 \$f /m && $work; echo work-$2-\$?" "work-$2-0" || return 1
	is "$1: the guest is asked" "$(ask DELETE /drives/data)" 204
	verdict "$1: has gone" gone data || return 1
	says "$1: the guest sees it no more" "f=/dev/vda; $away; [ ! -e \$f ]; echo away-$2-\$?" "away-$2-0"
	mount -o loop,ro "$late/image" /tmp/look
	is "$1: what was written is there" "$(md5sum </tmp/look/file)" "$sum"
	umount /tmp/look
}

net() # TEXT ROUND
{
	is "$1: comes" "$(ask PUT /network-interfaces/eth '{"iface_id": "eth", "host_dev_name": "tap0"}')" 204 || return 1
	says "$1: reaches the host" "f=/sys/class/net/eth0; $there; $ping; echo ping-$2-\$?" "ping-$2-0" || return 1
	is "$1: the guest is asked" "$(ask DELETE /network-interfaces/eth)" 204
	verdict "$1: has gone" gone eth || return 1
	says "$1: the guest sees it no more" "f=/sys/class/net/eth0; $away; [ ! -e \$f ]; echo lost-$2-\$?" "lost-$2-0"
}

folder() # TEXT ROUND
{
	rm -f "$late/share/file"
	is "$1: comes" "$(ask PUT /catnap/fs/work "{\"fs_id\": \"work\", \"path_on_host\": \"$late/share\"}")" 204 || return 1
	says "$1: is mounted, written, and put down" \
		"mkdir -p /m; for i in \$(seq 100); do mount -t virtiofs work /m 2>/dev/null && break; sleep 0.1; done; cat /m/given && $work; echo share-$2-\$?" "share-$2-0" || return 1
	is "$1: the guest is asked" "$(ask DELETE /catnap/fs/work)" 204
	verdict "$1: has gone" gone work || return 1
	is "$1: what was written is there" "$(md5sum <$late/share/file)" "$sum"
}

heap() # PID: KiB of it that are resident
{
	awk '$6 == "[heap]" { on = 1 } on && /^Rss/ { print $2; exit }' "/proc/$1/smaps"
}

counts() # descriptors, threads, children and mappings of catnap; without the kernel's own workers for io_uring
{
	echo "$(ls /proc/$pid/fd | wc -l) $(cat /proc/$pid/task/*/comm | grep -v -c '^iou-wrk')" \
		"$(cat /proc/$pid/task/$pid/children | wc -w) $(wc -l </proc/$pid/maps)"
}

begin() # TEXT WORDS ARGUMENT ...: a guest with a shell
{
	name=$1 words=$2
	shift 2
	rm -f /tmp/api.sock
	guest_start $seconds -k /guest/stock-6.12/vmlinuz -i /guest/stock-6.12/initramfs --cpus 2 -m 512M,shared=on \
		--hotplug on --sandbox off --api-socket /tmp/api.sock -c "console=ttyS0 quiet run=report,shell $words" "$@"
	verdict "$name: a shell" wait_for 200 'guest# ' && return 0
	kill $pid
	guest_end
	return 1
}

end() # TEXT
{
	echo exit >&3
	guest_end
	is "$1: the status" $status 0
}

dd if="$(drive 0)" of=/tmp/base bs=1M 2>/dev/null
mkdir -p $late/share /tmp/look
echo given >$late/share/given
tunctl -t tap0 >/dev/null
ip addr add 10.9.0.1/24 dev tap0
ip link set tap0 up
for irqchip in user kernel; do
	begin "$irqchip" "" --irqchip $irqchip || continue
	round=1 heap=
	while [ $round -le $rounds ]; do
		disk "$irqchip, disk $round" $round && net "$irqchip, interface $round" $round &&
			folder "$irqchip, folder $round" $round || break
		[ $round != 1 ] || before=$(counts)
		[ $round != $settled ] || heap=$(heap $pid)
		round=$((round + 1))
	done
	sleep 1
	note "$irqchip: descriptors, threads, children, mappings after round 1: $before, after round $((round - 1)): $(counts)"
	note "$irqchip: heap after round $settled: $heap KiB, after round $((round - 1)): $(heap $pid) KiB"
	is "$irqchip: descriptors, threads, children, mappings" "$(counts)" "$before"
	[ -z "$heap" ] || between "$irqchip: heap, KiB" "$(heap $pid)" 1 $((heap + 64))

	# A stock kernel lets go of a disk that it has mounted, which errors tell those who use it of.
	cp /tmp/base $late/image
	ask PUT /drives/data "{\"drive_id\": \"data\", \"path_on_host\": \"$late/image\", \"is_root_device\": false}" >/dev/null
	says "$irqchip: a disk is mounted" "f=/dev/vda; $there; mount -t ext4 \$f /m; echo mounted-\$?" "mounted-0"
	is "$irqchip: the guest is asked for it" "$(ask DELETE /drives/data)" 204
	verdict "$irqchip: a disk in use has gone" gone data
	says "$irqchip: who uses it is told" "dd if=/dev/zero of=/m/more bs=64k count=64 conv=fsync 2>/dev/null; echo used-\$?; umount /m" "used-1"
	disk "$irqchip, a disk after it" after
	end "$irqchip"
done

# A stock kernel that answers no: by _OST, since nobody there takes care of slots.
if begin "refused" "acpiphp.disable=1"; then
	cp /tmp/base $late/image
	is "refused: comes" "$(ask PUT /drives/data "{\"drive_id\": \"data\", \"path_on_host\": \"$late/image\", \"is_root_device\": false}")" 204
	catnap ctl /tmp/api.sock disk id=data,remove=on >/tmp/said 2>&1
	is "refused: the status" $? 1
	verdict "refused: said so" grep -q "refuses to let go" /tmp/said || sed 's/^/# said: /' /tmp/said
	ask GET /catnap/devices >/dev/null
	verdict "refused: the list says so" grep -q kept /tmp/answer
	end "refused"
fi
