# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# What the cases have in common; busybox sh reads it. A case prints "ok - TEXT" and "not ok - TEXT"; what
# else it says begins with "# ".
out=/tmp/out err=/tmp/err stats=/tmp/stats status=
slow=${LAB_SLOW:-1} # limits of guests, times this: --patience

ok()
{
	echo "ok - $*"
}

not_ok()
{
	echo "not ok - $*"
}

note()
{
	sed 's/^/# /' <<-END
	$*
	END
}

skip() # TEXT REASON
{
	echo "ok - $1 # SKIP $2"
}

# The last guest: what it printed and what catnap said.
show()
{
	note "status $status: $command"
	tail -n 25 "$out" | awk '{ print "# out: " $0 }' # which ends the last line, too
	tail -n 15 "$err" | awk '{ print "# err: " $0 }'
}

# verdict TEXT COMMAND ...: ok where the command succeeds; else the last guest is shown
verdict()
{
	text=$1
	shift
	if "$@"; then
		ok "$text"
	else
		not_ok "$text"
		show
		return 1
	fi
}

is() # TEXT GOT WANT
{
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		not_ok "$1: \"$2\", not \"$3\""
		show
		return 1
	fi
}

between() # TEXT GOT MIN MAX
{
	if awk -v v="$2" -v a="$3" -v b="$4" 'BEGIN { exit !(v ~ /^-?[0-9.]+$/ && v + 0 >= a && v + 0 <= b) }'; then
		ok "$1"
	else
		not_ok "$1: $2, expected $3 to $4"
		show
		return 1
	fi
}

# guest SECONDS ARGUMENT ...: catnap run; sets status, out, err, stats
guest()
{
	limit=$(($1 * slow))
	shift
	command="catnap run $*"
	rm -f "$stats"
	timeout -k 2 $((limit + 5)) catnap run "$@" --timeout ${limit}s --stats "$stats" \
		</dev/null >"$out.raw" 2>"$err"
	status=$?
	tr -d '\r' <"$out.raw" >"$out"
}

# probe SECONDS CMDLINE ARGUMENT ...: the probe guest (guest-images/probe); it ends with status 65
probe()
{
	seconds=$1 words=$2
	shift 2
	guest "$seconds" /guest/probe.elf -m 16M --debug-exit 0xf4 -c "$words exit=244 tsc_khz=3000000" "$@"
}

# Prints what a Linux guest reported: result: KEY=...
value()
{
	sed -n "s/^.*result: $1=//p" "$out" | tail -n 1
}

# The sum over the vCPUs of a statistic; each_stat prints the single ones.
each_stat()
{
	[ -f "$stats" ] && grep -o "\"$1\": *[0-9]*" "$stats" | sed 's/.*: *//'
}

stat_sum()
{
	each_stat "$1" | awk '{ s += $1 } END { print s + 0 }'
}

# now: seconds, with two places
now()
{
	cut -d ' ' -f 1 /proc/uptime
}

# resident PID: MiB
resident()
{
	awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$1/status"
}

# balloon_to SOCKET MIB SECONDS: asks for a balloon of that size by the control socket, and waits until the guest has
# given as much; what there is in the end, in MiB
balloon_to()
{
	sock http "$1" PATCH /balloon "{\"amount_mib\": $2}" >/dev/null || { echo refused; return; }
	looks=$3
	while [ $looks -gt 0 ]; do
		actual=$(sock http "$1" GET /catnap/balloon | sed -n 's/.*"actual_bytes": *\([0-9]*\).*/\1/p')
		[ "$actual" != $(($2 << 20)) ] || break
		looks=$((looks - 1))
		sleep 1
	done
	echo $((${actual:-0} >> 20))
}

# drive NUMBER: the device of this case's drive, from 0 on
drive()
{
	serial=$(sed -n "s/^$LAB_CASE //p" /lab/drives | cut -d ' ' -f $(($1 + 1)))
	for d in /sys/block/vd*; do
		[ "$(cat "$d/serial")" = "$serial" ] && echo "/dev/${d##*/}"
	done
}

# Does this catnap have an option of the command run?
has_option()
{
	catnap run --help 2>&1 | grep -q -e "$1"
}

needs_option() # OPTION ...
{
	for o; do
		if ! has_option "$o"; then
			skip "Linux guests" "this catnap has no $o"
			exit 0
		fi
	done
}

# -- a guest that one talks to --

# guest_start SECONDS ARGUMENT ...: in the background; its input is descriptor 3. under: a program, with its
# arguments, that catnap is run by.
under=
guest_start()
{
	limit=$(($1 * slow))
	shift
	command="catnap run $*"
	rm -f "$stats" /tmp/input
	mkfifo /tmp/input
	# shellcheck disable=SC2086
	$under catnap run "$@" --timeout ${limit}s --stats "$stats" </tmp/input >"$out" 2>"$err" &
	pid=$!
	exec 3>/tmp/input
}

# wait_for SECONDS PATTERN: until the guest has printed it
wait_for()
{
	tries=$(($1 * slow * 5))
	while ! grep -q -e "$2" "$out"; do
		tries=$((tries - 1))
		if [ $tries -le 0 ] || ! kill -0 $pid 2>/dev/null; then
			return 1
		fi
		sleep 0.2
	done
}

# shell_says TEXT COMMAND PATTERN: the answer is a line of its own, so the echo is none
shell_says()
{
	echo "$2" >&3
	if wait_for 30 "^$3"; then
		ok "$1"
	else
		not_ok "$1: no answer"
		show
	fi
}

# say KEY COMMAND: types it into the guest's shell, which prints what it says as a line "result: KEY=..."
say()
{
	echo "a=\$($2); echo; echo 'res''ult: $1='\"\$a\"; echo 'do''ne: $1'" >&3
}

answer() # KEY SECONDS
{
	wait_for "$2" "done: $1" && value "$1" | tr -d '\r'
}

ask() # KEY SECONDS COMMAND
{
	say "$1" "$3"
	answer "$1" "$2"
}

guest_end()
{
	wait $pid
	status=$?
	exec 3>&-
}

# connected FILE COMMAND ...: which sends the file, once the other side listens
connected()
{
	file=$1 turns=30
	shift
	until "$@" <"$file" >/dev/null 2>&1; do
		turns=$((turns - 1))
		[ $turns -gt 0 ] || return 1
		sleep 1
	done
}

took()
{
	note "$1: $(awk "BEGIN { t = $(now) - $begin; printf \"%.1f s, %.1f MiB/s\", t, $2 / t }")"
}

# -- Linux guests --

# linux SECONDS CMDLINE ARGUMENT ...: our kernel and initramfs, unless the arguments say otherwise. Words that are not
# for catnap are for init: "run=report end=reboot".
linux()
{
	seconds=$1 words=$2
	shift 2
	case " $* " in
	*" -k "*) ;;
	*) set -- -k /guest/bzImage "$@" ;;
	esac
	guest "$seconds" -i /guest/initramfs -c "console=ttyS0 quiet $words" "$@"
}

# Prints an initramfs whose guest is woken after five seconds at the latest: in this emulation its processor may halt
# although it has something to do (docs/lab.md).
with_beat() # INITRAMFS
{
	mkdir -p /tmp/more
	echo beat=5 >/tmp/more/options
	(cd /tmp/more && echo options | cpio -o -H newc 2>/dev/null) | cat "$1" -
}

# Drops one report of Linux 6.12 where stopping all CPUs takes a second, as it does in the lab: the run queue
# of a CPU that goes offline counts, besides the thread that stops it, its deadline server, which is no task
# (inc_dl_tasks; dl_server_stop comes after the look). With any other task on that list the report stays.
without_fair_server()
{
	awk '
	function flush() { if (held && !(dying && total && pids == 1)) printf "%s", text; held = ended = dying = total = pids = 0; text = "" }
	/-\[ cut here \]-/ { flush(); held = 1 }
	held && ended && !/enqueued tasks|\tpid: / { flush() }
	held {
		text = text $0 "\n"
		if (/Dying CPU not properly vacated!/) dying = 1
		if (/-\[ end trace /) ended = 1
		if (ended && / enqueued tasks \(2 total\):/) total = 1
		if (ended && /\tpid: /) pids += /name: migration\// ? 1 : 2
		next
	}
	{ print }
	END { flush() }'
}

# Prints what a guest's kernel complained about, but for what healthy machines print.
new_log_lines()
{
	sed -n 's/^.*log: //p' "$out" | without_fair_server | grep -v -E -f /lab/known-log
}

# healthy TEXT CPUS [STATUS]: it came to its end, all CPUs are there, no complaint is in the log
healthy()
{
	what=
	[ "$status" = "${3:-0}" ] || what="$what status $status;"
	[ "$(value "done")" = ok ] || what="$what not done: $(value error);"
	[ -z "$2" ] || [ "$(value cpus_online)" = "$2" ] || what="$what $(value cpus_online) CPUs, not $2;"
	[ "$(value interrupts_err)" = 0 ] || [ -z "$2" ] || what="$what ERR $(value interrupts_err);"
	lines=$(new_log_lines | head -n 12)
	[ -z "$lines" ] || what="$what its log;"
	[ ! -s "$err" ] || what="$what messages of catnap;"
	if [ -z "$what" ]; then
		ok "$1"
	else
		not_ok "$1:$what"
		[ -z "$lines" ] || note "$lines"
		show
		return 1
	fi
}
