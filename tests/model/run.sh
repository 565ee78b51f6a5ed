#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Checks the model of the wake protocol with SPIN and reports in TAP.
#
#   run.sh [--tap]              all checks; exit 0: all as expected, 1: not, 77: SPIN or a compiler is missing
#                               (with --tap: exit 0 and a plan that says so)
#   run.sh --trace -DPLAIN ...  the shortest way to the error of one variant, step by step; of group.pml
#                               if -DMEMBERS= is among the defines
#
# Environment: SPIN, CC.

set -u

models=$(cd "$(dirname "$0")" && pwd) || exit 1
model=wake.pml
SPIN=${SPIN:-spin}
CC=${CC:-cc}
MEM_MIB=3500
DEPTH=1500000

missing()
{
	echo "1..0 # SKIP $1 not found"
	[ "${mode:-}" = --tap ] && exit 0
	exit 77
}

mode=${1:-}
case $mode in
-h | --help)
	sed -n '4,12s/^# \{0,1\}//p' "$0"
	exit 0
	;;
"" | --tap | --trace) ;;
*)
	echo "run.sh: $mode: expected --tap, --trace or --help" >&2
	exit 2
	;;
esac
command -v "$SPIN" >/dev/null 2>&1 || missing "$SPIN"
# CC may carry options.
command -v "${CC%% *}" >/dev/null 2>&1 || missing "$CC"

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
cd "$dir" || exit 1
cp "$models"/*.pml . || exit 1

# build "MODEL DEFINES" "C DEFINES"
build()
{
	rm -f pan pan.* ./*.trail
	# shellcheck disable=SC2086
	"$SPIN" -a $1 $model >build.log 2>&1 &&
		$CC -w -DMEMLIM=$MEM_MIB $2 -o pan pan.c >>build.log 2>&1
}

if [ "$mode" = --trace ]; then
	shift
	case $* in *-DMEMBERS=*) model=group.pml ;; esac
	build "$*" "-O1 -DSAFETY -DBFS" || { cat build.log >&2; exit 1; }
	./pan -m$DEPTH >pan.log 2>&1
	grep -E '^pan:1|errors:' pan.log
	[ -f $model.trail ] || exit 0
	"$SPIN" -t -p -g "$@" -k $model.trail $model
	exit 0
fi

count=0
failed=0

# report NUMBER-OF-STATES DESCRIPTION
ok()
{
	count=$((count + 1))
	echo "ok $count - $2 ($1 states)"
}

not_ok()
{
	count=$((count + 1))
	failed=$((failed + 1))
	echo "not ok $count - $2 ($1 states)"
	sed 's/^/# /' build.log
	[ -f pan.log ] && grep -v '^$' pan.log | head -n 60 | sed 's/^/# /'
	return 0
}

states()
{
	n=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log 2>/dev/null | head -n 1)
	echo "${n:-no}"
}

verify() # DEFINES OPTIMIZATION
{
	rm -f pan.log
	case $1 in
	*-DLIVENESS*)
		build "$1" "-DNFAIR=3 $2" && ./pan -a -f -m$DEPTH >pan.log 2>&1 ;;
	*)
		build "$1" "-DSAFETY $2" && ./pan -m$DEPTH >pan.log 2>&1 ;;
	esac
}

# The search was complete, nothing was wrong, and, in a safety run, each statement was reached that is not
# there to fail: a model that cannot do what it is asked about proves nothing.
accept() # DESCRIPTION DEFINES
{
	good=1
	verify "$2" -O2 || good=0
	grep -q 'errors: 0$' pan.log 2>/dev/null || good=0
	grep -qE 'max search depth too small|not completed|MEMLIM|out of memory|aborted|truncated|error:|pan:1:' \
		pan.log 2>/dev/null && good=0
	case $2 in
	*-DLIVENESS*) ;;
	*)
		# Store buffers are empty where a fence is: that half of drain() may be dead.
		grep '\.pml:[0-9]*, state [0-9]*,' pan.log 2>/dev/null |
			grep -vE '"(-end-|assert\(!\(lost[a-z_]*\)\)|sb_full = 0|sb_state = 0)"' >dead.log &&
			good=0 ;;
	esac
	if [ $good = 1 ]; then
		ok "$(states)" "accepted: $1 [$2]"
	else
		not_ok "$(states)" "accepted: $1 [$2]"
	fi
}

reject() # DESCRIPTION DEFINES ERROR
{
	verify "$2" -O0
	if grep -q '^pan:1: .*'"$3" pan.log 2>/dev/null && grep -q 'errors: 1$' pan.log; then
		ok "$(states)" "rejected: $1 [$2]"
	else
		not_ok "$(states)" "rejected: $1 [$2]"
	fi
}

work='assertion violated .*lost_work'
deadline='assertion violated .*lost_deadline'
io='assertion violated .*lost_io'
lost='assertion violated .*lost'
cycle='acceptance cycle'

for c in PLAIN RING EVENTFD; do
	accept "nothing is forgotten" "-D$c"
	accept "each wake is taken" "-D$c -DLIVENESS"
done

for c in PLAIN RING EVENTFD; do
	reject "no fence after the state's store" "-D$c -DBROKEN_NO_FENCE" "$work"
	reject "no look at the work after SLEEPING" "-D$c -DBROKEN_NO_RECHECK" "$work"
done
reject "no fence before the guest" "-DPLAIN -DBROKEN_NO_FENCE_GUEST" "$work"
reject "no fence before the sleep" "-DPLAIN -DBROKEN_NO_FENCE_SLEEP" "$work"
reject "no fence in the waker" "-DPLAIN -DBROKEN_NO_FENCE_WAKER" "$work"
reject "no fence before the sleep, by the formula" "-DPLAIN -DBROKEN_NO_FENCE_SLEEP -DLIVENESS" "$cycle"

reject "immediate_exit cleared after the look at the work" \
	"-DPLAIN -DNO_DEADLINE -DBROKEN_CHECK_BEFORE" "$work"
reject "immediate_exit never cleared" "-DPLAIN -DBROKEN_NO_CLEAR" 'assertion violated kick_due'
reject "deadline looked at before immediate_exit is cleared" \
	"-DPLAIN -DBROKEN_TIMER_BEFORE_CLEAR" "$deadline"
reject "a timer that fired early believed to be armed" "-DPLAIN -DBROKEN_TIMER_BELIEF" "$deadline"
reject "kick without compare-and-swap" "-DPLAIN -DBROKEN_KICK_NO_CAS" 'assertion violated (kicks<=1)'
reject "wake without compare-and-swap" "-DPLAIN -DBROKEN_WAKE_NO_CAS" "$work"

reject "only one waiter woken" "-DRING -DBROKEN_WAKE_ONE" "$work"
reject "only one waiter woken, by the formula" "-DRING -DBROKEN_WAKE_ONE -DLIVENESS" "$cycle"
reject "completed futex request believed to be armed" "-DRING -DBROKEN_NO_REARM" "$work"
reject "plain futex with requests in flight" "-DRING -DBROKEN_PLAIN_INFLIGHT" "$io"
reject "a completion relied on to end KVM_RUN" "-DRING -DGUEST_IO" "$io"

reject "ended multishot poll believed to be armed" "-DEVENTFD -DBROKEN_NO_REARM" "$work"
reject "eventfd written to a plain sleeper" "-DEVENTFD -DBROKEN_EVENTFD_PLAIN" "$work"
reject "way to wake chosen before the compare-and-swap" "-DEVENTFD -DBROKEN_WAKE_FD_EARLY" "$work"
reject "own completion reaped in the last look, then slept" "-DEVENTFD -DBROKEN_REAP_THEN_SLEEP" "$work"

# Groups. Two members hand over to each other, and one comes while the other leaves.
model=group.pml
two='-DMEMBERS=2 -DWAKERS=1'
accept "a shared poller forgets nobody" "-DMEMBERS=2 -DWAKERS=2"
accept "a shared poller, each wake is taken" "$two -DLIVENESS"
reject "the poller looked for before WATCHED is published only" "$two -DBROKEN_NO_REREAD" "$lost"
reject "WATCHED published after the poller was looked for twice" "$two -DBROKEN_UNPUBLISHED" "$lost"
reject "the poller leaves its place after it looked at the states" "$two -DBROKEN_LEAVE_LATE" "$lost"
reject "the poller leaves, and the others stay WATCHED" "$two -DBROKEN_LEAVE_FORGETS" "$lost"
reject "the poller leaves with no last look at their work" "$two -DBROKEN_CONVERT_BLIND" "$lost"
reject "no last look, by the formula" "$two -DBROKEN_CONVERT_BLIND -DLIVENESS" "$cycle"
reject "no look at the own work before the sleep" "$two -DBROKEN_NO_RECHECK" "$lost"

echo "1..$count"
[ $failed = 0 ]
