# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2016,SC2086,SC2154
# A Linux guest at work that is put down and goes on in other processes: for the cases *-snapshot*. It
# computes, sleeps, writes to a disk as catnap-disk does, hands a number and the time from CPU to CPU and back,
# and counts over a TCP connection to this side, which stays open all the time.
all=/tmp/all       # what the guest has printed in all its lives
image=/tmp/disk.img
shot=/tmp/shot
alone=             # 1: its connection has no other side any more
trap '' PIPE # a guest may have gone that something is typed for

# The other side of the guest's connection: the numbers are to come one after the other.
peer_begin()
{
	tunctl -t tap0 >/dev/null
	ip addr add 10.9.0.1/24 dev tap0
	ip link set tap0 up
}

peer_listen()
{
	rm -f /tmp/counted /tmp/miscounted
	sock tcp-listen 5000 </dev/null 2>/dev/null | awk '{
		if ($1 != n + 1) print n, $1 >"/tmp/miscounted"
		n = $1
		print n >"/tmp/counted.new"
		close("/tmp/counted.new")
		system("mv /tmp/counted.new /tmp/counted")
	}' &
}

peer_end()
{
	killall -q sock
}

counted()
{
	cat /tmp/counted 2>/dev/null || echo 0
}

# What is typed into the guest's shell. A file that is written anew is empty for a moment. A job in the
# background that writes to the shell's terminal may be stopped for that.
load_commands()
{
	cat <<-'END'
		stty -echo -tostop; PS1=
		busybox mkfifo /tmp/a /tmp/b
		cat >/tmp/pong <<'X'
		exec 0<>$1 1<>$2
		while read -r n t; do
			read -r u _ </proc/uptime
			u=${u%.*}${u#*.}
			[ "$u" -ge "$t" ] || echo "$t $u" >>/tmp/back
			n=$((n + 1))
			echo $n >$3
			echo $n $u
		done
		X
		cat >/tmp/count <<'X'
		i=0
		while :; do i=$((i + 1)); echo $i; sleep 0.2; done
		X
		: >/tmp/back; : >/tmp/sleeps
		last=$((1 << ($(nproc) - 1)))
		taskset 1 sh /tmp/pong /tmp/a /tmp/b /tmp/there 2>/dev/null &
		taskset $(printf %x $last) sh /tmp/pong /tmp/b /tmp/a /tmp/here 2>/dev/null &
		echo 0 0 >/tmp/a
		taskset 1 sh -c 'i=0; while :; do i=$((i + 1)); echo $i >/tmp/sums; done' &
		taskset $(printf %x $last) sh -c 'while :; do sleep 1; date +%s >>/tmp/sleeps; done' &
		busybox setsid catnap-disk load /dev/vda seed=1 workers=2 seconds=100000 &
		ifconfig eth0 10.9.0.2 netmask 255.255.255.0 up
		sh /tmp/count | sock tcp-connect 10.9.0.1 5000 >/dev/null &
		n() { x=; while [ -z "$x" ]; do x=$(cat /tmp/$1); done; echo $x; }
		slept() { wc -l </tmp/sleeps; }
		look() {
			a=$(n sums) b=$(slept) c=$(n here) k=120
			while [ $k -gt 0 ]; do
				sleep 0.5
				[ $(n sums) -gt $a ] && [ $(slept) -gt $b ] && [ $(n here) -gt $c ] && break
				k=$((k - 1))
			done
			echo; echo "seen $1 $((k > 0)) $(nproc) $(wc -l </tmp/back)"
		}
		echo; echo be''gun
	END
}

# type_in COMMAND PATTERN SECONDS: waits for a line of the answer, and prints it
type_in()
{
	echo "$1" >&3
	wait_for "$3" "$2" && tr -d '\r' <"$out" | grep -e "$2" | tail -n 1
}

# Boots it: load_begin KERNEL CPUS ARGUMENT ...; KERNEL is own, 6.1 or 6.12
load_begin()
{
	cpus=$2
	case $1 in
	own) set -- /guest/bzImage /guest/initramfs "$@" ;;
	*) set -- /guest/stock-$1/vmlinuz /guest/stock-$1/initramfs "$@" ;;
	esac
	linux=$1 initramfs=$2
	shift 4
	rm -rf $shot $all $image
	dd if=/dev/zero of=$image bs=1M seek=32 count=0 2>/dev/null
	peer_listen
	since=$(date +%s)
	guest_start 900 -k $linux -i $initramfs --cpus $cpus -m 192M --api-socket /tmp/api --snapshots "${shot%/*}" \
		--track-dirty on -d path=$image --net tap=tap0,mac=02:00:00:00:00:05 \
		-c "console=ttyS0 quiet run=report,shell" "$@"
	if ! wait_for 150 'guest# '; then
		not_ok "$name: no shell"
		return 1
	fi
	load_commands >&3
	if ! wait_for 60 '^begun'; then
		not_ok "$name: no load"
		return 1
	fi
	# A busy machine takes minutes for all of it: how far it is.
	note "$name: at work after $(($(date +%s) - since)) s"
}

# Ends what could not begin, or go on.
load_give_up()
{
	show
	kill -9 $pid 2>/dev/null
	guest_end
	peer_end
	rm -f /tmp/api
}

# put_down DIFF: true or false; the process is killed then
put_down()
{
	{
		sock http /tmp/api PATCH /vm '{"state": "Paused"}' &&
			sock http /tmp/api PUT /catnap/snapshot "{\"dir\": \"$shot\", \"diff\": $1}"
	} >/tmp/ctl 2>&1 || {
		not_ok "$name: a snapshot"
		note "$(cat /tmp/ctl)"
		return 1
	}
	kill -9 $pid
	guest_end 2>/dev/null
	cat "$out" >>$all
	rm -f /tmp/api
}

# go_on KEYS: of --restore
go_on()
{
	guest_start 900 --restore "$shot$1" --api-socket /tmp/api --snapshots "${shot%/*}" --track-dirty on
	tries=$((150 * slow))
	while [ ! -S /tmp/api ] && [ $tries -gt 0 ] && kill -0 $pid 2>/dev/null; do
		tries=$((tries - 1))
		sleep 0.2
	done
	[ -S /tmp/api ]
}

# works NUMBER: all that the guest does goes on; the status tells, and what failed is said
works()
{
	if ! wait_for 60 'disk: '; then
		not_ok "$name: cycle $1: its disk goes on"
		return 1
	fi
	before=$(counted)
	seen=$(type_in "look $1" "^seen $1 " 120)
	if [ "$seen" != "seen $1 1 $cpus 0" ]; then
		not_ok "$name: cycle $1: \"$seen\", not \"seen $1 1 $cpus 0\": its number, all goes on, CPUs, times that went back"
		return 1
	fi
	[ -z "$alone" ] || return 0
	tries=$((300 * slow))
	while [ "$(counted)" -le "$before" ] && [ $tries -gt 0 ]; do
		tries=$((tries - 1))
		sleep 0.2
	done
	if [ "$(counted)" -le "$before" ] || [ -e /tmp/miscounted ]; then
		not_ok "$name: cycle $1: its connection: $before, $(counted); $(cat /tmp/miscounted 2>&1)"
		return 1
	fi
}

# Ends it, and looks at its log and at its disk.
load_end()
{
	if ! wait_for 60 'disk: ' || [ -z "$(type_in 'kill $(busybox pidof catnap-disk); sync; echo; echo synced' '^synced' 60)" ]; then
		not_ok "$name: its disk goes on"
		load_give_up
		return
	fi
	echo exit >&3
	guest_end
	peer_end
	cat "$out" >>$all
	tr -d '\r' <$all >$out
	rm -f /tmp/api
	healthy "$name: its end, and its log" "$cpus"
	answer=$(catnap-disk check $image $all)
	is "$name: its disk is as it was promised" $? 0
	note "$name: $answer; $(counted) counted"
}

# -- again and again --

# Three times each; fifty times in the long form.
cycles=3
[ "$LAB_LONG" != 1 ] || cycles=50

# Says now's difference between this side's clock and the guest's, as the least and the most that it can be.
lag()
{
	a=$(date +%s)
	g=$(type_in 'echo; echo date $(date +%s)' '^date [0-9]' 60 | cut -d ' ' -f 2)
	b=$(date +%s)
	echo "$((a - g)) $((b - g))"
}

# Two clones of the last snapshot: one has the snapshot's time, the other one today's.
clones()
{
	forks=$(type_in 'echo; echo forks $(dmesg | grep -c "virtual machine fork") \
		$(ls -d /sys/bus/*/drivers/vmgenid | wc -l)' '^forks [0-9]' 60 | cut -d ' ' -f 2,3)
	before=$(lag)
	if ! put_down false; then
		load_give_up
		return 1
	fi
	cp $image $image.first
	lives=$(wc -c <$all)
	numbers=
	for clock in kept realtime; do
		cp $image.first $image
		[ $clock = kept ] || sleep 10
		if ! go_on ",clock=$clock"; then
			not_ok "$name: a clone"
			load_give_up
			return 1
		fi
		numbers="$numbers $(type_in 'echo; echo random $(head -c 16 /dev/urandom | hexdump -v -e "/1 \"%02x\"")' \
			'^random [0-9a-f]' 60 | cut -d ' ' -f 2)"
		known=$(type_in 'echo; echo forks $(dmesg | grep -c "virtual machine fork")' '^forks [0-9]' 60 | cut -d ' ' -f 2)
		if [ "${forks#* }" = 0 ]; then
			skip "$name: a clone says once that it was forked" "its kernel has no driver for that"
		else
			is "$name: a clone says once that it was forked" "$known" $((${forks% *} + 1))
		fi
		after=$(lag)
		[ $clock = realtime ] || {
			kill -9 $pid
			guest_end 2>/dev/null
			rm -f /tmp/api
			head -c "$lives" $all >$all.first
			mv $all.first $all
		}
	done
	rm -f $image.first
	# shellcheck disable=SC2086
	set -- $before $after
	verdict "$name: the time is today's with clock=realtime: it lagged by $1 to $2 s, and by $3 to $4 s" \
		[ $(($3 - $2)) -le 1 ] && [ $(($1 - $4)) -le 1 ]
	# shellcheck disable=SC2086
	set -- $numbers
	if [ "${forks#* }" != 0 ]; then
		verdict "$name: two clones have other random numbers: $1, $2" [ ${#1} = 32 ] && [ ${#2} = 32 ] && [ "$1" != "$2" ]
	fi
}

# Each machine of those that are given, a line each: KERNEL CPUS ARGUMENT ...; or of /lab/machines, where the lab was
# called with one. Clones are made of the first.
over_all()
{
	[ ! -e /lab/machines ] || set -- "$(cat /lab/machines)"
	echo "$1" | tr -d '\t' | grep . >/tmp/machines
	also=clones
	while read -r machine <&4; do
		over $machine
		also=
	done 4</tmp/machines
}

# over KERNEL CPUS ARGUMENT ...
over()
{
	name="$*"
	if ! load_begin "$@"; then
		load_give_up
		return
	fi
	n=0 went_on=0
	while [ $n -lt $cycles ]; do
		n=$((n + 1))
		# A full one, and diffs of it; by each way of the memory.
		diff=true keys=
		[ $((n % 3)) != 1 ] || diff=false
		case $((n % 4)) in
		2) keys=,memory=copy ;;
		3) keys=,memory=working-set ;;
		esac
		since=$(date +%s)
		put_down $diff && go_on "$keys" && works $n || break
		went_on=$n
		[ $((n % 10)) != 1 ] || note "$name: cycle $n: $(($(date +%s) - since)) s"
	done
	is "$name: snapshots, kills and restores, of $cycles" $went_on $cycles || {
		load_give_up
		return
	}
	if [ "$also" != clones ] || clones; then
		load_end
	fi
}
