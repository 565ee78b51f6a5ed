#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Measures this host with the program beside it, and leaves one file to bring back. Part of the
# archive that scripts/results --host-kit makes; it builds nothing and needs a shell only:
#
#	./measure [--quick] [FOLDER]	or, where there is no shell, ./busybox sh ./measure
#
# FOLDER is where the file goes, this one if it is left out. As root it also measures packets, and
# what KVM's polling costs other virtual machines, and Linux at work if the archive has its images.
# Where QEMU is installed, it is measured as well. It takes 30 minutes at most, a few with --quick.
set -u

here=$(cd "$(dirname "$0")" && pwd)
[ -x "$here/busybox" ] && tools="$here/busybox" || tools=
catnap=$here/catnap
quick=
[ "${1:-}" = --quick ] && { quick=1; shift; }
out=$(cd "${1:-.}" && pwd) || exit 1
name=catnap-host-$($tools uname -n 2>/dev/null || echo host)
folder=$out/$name
[ -e "$folder" ] && { echo "measure: $folder is there already" >&2; exit 1; }
$tools mkdir "$folder" || exit 1

say()
{
	echo "measure: $*" >&2
}

# keep NAME COMMAND...: its output and its errors, as files; that it failed is in the errors
keep()
{
	file=$folder/$1
	shift
	"$@" >"$file.txt" 2>"$file.err" </dev/null || echo "exit $?" >>"$file.err"
}

end=$(($($tools date +%s) + 1740))

# bench NAME WORKLOAD... OPTIONS...
bench()
{
	section=$1
	shift
	say "$section"
	echo "catnap bench $*" >"$folder/$section.command"
	left=$((end - $($tools date +%s)))
	if [ "$left" -lt 1 ]; then
		echo "the time for all was over" >"$folder/$section.err"
		return
	fi
	[ "$left" -gt 600 ] && left=600
	[ "$section" = linux ] && set -- "$@" --kernel "$here/bench-vmlinuz" --initramfs "$here/bench-initramfs"
	$tools timeout "$left" "$catnap" bench "$@" --json "$folder/$section.json" >/dev/null \
		2>"$folder/$section.err" </dev/null || echo "exit $?" >>"$folder/$section.err"
}

keep check "$catnap" check
keep cpuinfo $tools cat /proc/cpuinfo
keep date $tools date -u +%Y-%m-%d
keep version "$catnap" --version
if [ -d /sys/kernel/tracing/events/kvm ]; then
	keep advise "$catnap" advise --duration 10s --json
fi
while read -r section peer arguments; do
	[ "$peer" = peer ] && command -v qemu-system-x86_64 >/dev/null && arguments="$arguments --peer qemu"
	# shellcheck disable=SC2086
	bench "$section" $arguments
done <"$here/${quick:+quick-}sections"

made=$out/$name.tar
$tools tar -C "$out" -cf "$made" "$name" || exit 1
# Where there is no gzip, it is as good without.
$tools gzip -f "$made" 2>/dev/null && made=$made.gz
say "done: bring back $made"
