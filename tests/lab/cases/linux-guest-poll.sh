# SPDX-License-Identifier: Apache-2.0
# title: what guest and host poll for in pipe, disk, timer and TCP of a Linux guest, as a table
# needs: linux stock-6.12 sock
# limit: 1800
# long: 5400
# memory: 1536
# hosts: 6.12
needs_option --guest-halt-poll --api-socket --net
# Each mode and its --guest-halt-poll. The first guests measure what a sleep costs here, for the default of the next.
modes="off|off
200us/off|force,ns=200us,grow-start=50us,host=off
default|force"
export XDG_CACHE_HOME=/tmp/cache
mkdir /tmp/cache
rounds=400
[ "$LAB_LONG" = 1 ] && rounds=4000
: >/tmp/table
dd if=/dev/urandom of=/tmp/disk bs=1M count=16 2>/dev/null
tunctl -t tap0 >/dev/null
ip addr add 10.9.0.1/24 dev tap0
ip link set tap0 up

# Prints what a mode is judged by, so far: HLT exits, polled for, of those successful, processor time of the process in
# ms.
snapshot() # FILE
{
	sock http /tmp/stats.sock GET /catnap/stats >$1.json 2>/dev/null
	stats=$1.json
	echo "$(stat_sum halt_exits) $(stat_sum halt_attempted_poll) $(stat_sum halt_successful_poll)" \
		"$(awk '{ print ($14 + $15) * 10 }' /proc/$pid/stat)" >$1
	stats=/tmp/stats
}

# load NAME: lets the guest run one, between two looks
load()
{
	wait_for 90 "$1_begin=" || return 1
	snapshot /tmp/before
	echo >&3
	wait_for 200 "$1_end=" || return 1
	snapshot /tmp/after
	echo >&3
	wait_for 30 "$1_steal_ms=" || return 1
	tr -d '\r' <$out >$out.text
	paste -d ' ' /tmp/before /tmp/after | awk -v head="$kernel|$cpus|$mode|$1|$(sed -n "s/^.*result: $1_rounds=//p" $out.text)" \
		-v ipis="$(sed -n "s/^.*result: $1_ipis=//p" $out.text)" -v steal="$(sed -n "s/^.*result: $1_steal_ms=//p" $out.text)" \
		'{ printf "%s|%d|%d|%d|%d|%d|%d\n", head, $5 - $1, $6 - $2, $7 - $3, ipis, $8 - $4, steal }' >>/tmp/table
}

# The driver and its governor, and the parameters that it was given, by /sys.
in_use()
{
	tr -d '\r' <$out.raw >$out
	healthy "$name: to its end" $cpus
	want="haltpoll haltpoll"
	[ $mode != off ] || want="none"
	case "$(value idle_driver) $(value idle_governor)" in
	"$want"*) ok "$name: driver and governor" ;;
	*) not_ok "$name: $(value idle_driver) $(value idle_governor), not $want" ;;
	esac
	[ $mode != off ] || return
	for p in ns grow_start; do
		is "$name: its $p is what catnap asks for" "$(value guest_halt_poll_$p)" \
			"$(value cmdline | sed -n "s/.*haltpoll\.guest_halt_poll_$p=\([0-9]*\).*/\1/p")"
	done
	note "$name: /sys: ns $(value guest_halt_poll_ns), grow $(value guest_halt_poll_grow)," \
		"grow_start $(value guest_halt_poll_grow_start), shrink $(value guest_halt_poll_shrink)," \
		"allow_shrink $(value guest_halt_poll_allow_shrink)"
}

loads()
{
	name="$kernel, $cpus vCPUs, $mode"
	k=/guest/bzImage i=/guest/initramfs
	[ $kernel = own ] || k=/guest/stock-6.12/vmlinuz i=/guest/stock-6.12/initramfs
	sock tcp-echo 5000 2>/dev/null &
	echo=$!
	guest_start 400 -k $k -i $i -m 256M --cpus $cpus --guest-halt-poll $poll --api-socket /tmp/stats.sock \
		-d path=/tmp/disk -n tap=tap0,mac=02:00:00:00:00:05 -c "console=ttyS0 quiet run=report,shell,pipe,read,timer,tcp \
go=/dev/ttyS0 rounds=$rounds reads=$rounds samples=$rounds interval_us=2000 requests=$rounds"
	fine=no
	if wait_for 90 'guest# '; then
		echo 'stty -echo; ifconfig eth0 10.9.0.2 netmask 255.255.255.0 up; exit' >&3
		load pipe && load read && load timer && load tcp && fine=yes
	fi
	[ $fine = yes ] || kill $pid
	guest_end
	kill $echo 2>/dev/null
	cp $out $out.raw
	verdict "$name: each load is run" [ $fine = yes ] || return
	in_use
}

for kernel in own stock; do
	for cpus in 2 4; do
		echo "$modes" >/tmp/modes
		while IFS='|' read -r mode poll <&4; do
			loads
		done 4</tmp/modes
	done
done
echo "kernel|vCPUs|mode|load|rounds|HLT exits|polled for|successful|IPIs|monitor, ms|stolen, ms" | cat - /tmp/table |
	sed 's/^/# table: | /; s/|/ | /g; s/$/ |/; s/  */ /g'
