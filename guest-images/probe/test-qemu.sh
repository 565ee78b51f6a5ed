#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test-qemu.sh QEMU PROBE.ELF PROBE-MULTIBOOT.ELF: boots the probe in QEMU's emulation, by PVH and
# by Multiboot, with one processor and several, and looks at what it prints and how it ends.
set -u
qemu=$1 pvh=$2 multiboot=$3
failed=0

# check NAME STATUS PATTERN LINES IMAGE CMDLINE [QEMU OPTIONS]: PATTERN is that of a whole line
check()
{
	name=$1 status=$2 pattern=$3 lines=$4 image=$5 cmdline=$6
	shift 6
	out=$(timeout 60 "$qemu" -M microvm -accel tcg -m 8 -nodefaults -display none -no-reboot \
		-serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4 \
		-kernel "$image" -append "$cmdline exit=244" "$@" </dev/null 2>&1)
	got=$?
	n=$(printf '%s\n' "$out" | tr -d '\r' | grep -c -x -E "$pattern")
	if [ "$got" = "$status" ] && [ "$n" = "$lines" ]; then
		echo "ok: $name"
	else
		echo "FAILED: $name: status $got, not $status; $n lines, not $lines, like $pattern"
		printf '%s\n' "$out"
		failed=1
	fi
}

clock='tsc_khz=1000000'
check 'PVH' 65 'probe: start workload=start abi=1' 1 "$pvh" workload=start
check 'Multiboot' 65 'probe: end samples=0' 1 "$multiboot" workload=start
check 'timer' 65 's [0-9]+' 20 "$pvh" "workload=timer samples=20 warmup=2 gap_ns=100000 $clock"
check 'random gaps' 65 's [0-9]+' 20 "$multiboot" \
	"workload=timer samples=20 gap_ns=100000 random=1 seed=5 $clock"
check 'no printing' 65 's [0-9]+' 0 "$pvh" "workload=timer samples=3 print=0 $clock"
check 'IPI' 65 's [0-9]+' 10 "$pvh" "workload=ipi samples=10 gap_ns=0 $clock" -smp 2
check 'IPI with gaps' 65 's [0-9]+' 10 "$multiboot" \
	"workload=ipi samples=10 gap_ns=100000 random=1 $clock" -smp 2
# A guest that polls in user mode comes back from there, whatever ends the poll.
poll='haltpoll=1 guest_halt_poll_ns=50000000 guest_halt_poll_grow_start=50000000'
found='probe: idle cpu=[01] polls=[1-9][0-9]* found=[1-9][0-9]*'
check 'timer, polling' 65 's [0-9]+' 20 "$pvh" "workload=timer samples=20 gap_ns=1000000 $poll $clock"
check 'timer by xAPIC, polling' 65 "$found .*" 1 "$multiboot" \
	"workload=timer samples=20 gap_ns=1000000 apic=xapic $poll $clock"
check 'timer, never polling long enough' 65 'probe: idle cpu=0 polls=[0-9]+ found=[0-9]+ halts=[1-9].*' 1 \
	"$pvh" "workload=timer samples=5 gap_ns=30000000 haltpoll=1 $clock"
check 'IPI, polling' 65 "$found halts=[0-9]+ saved=[1-9].*" 2 "$pvh" \
	"workload=ipi samples=20 gap_ns=0 $poll $clock" -smp 2
check 'IPI by xAPIC, not polling' 65 'probe: idle cpu=[01] polls=0 found=0 halts=[0-9]+ saved=0 sent=[1-9].*' 2 \
	"$pvh" "workload=ipi samples=20 gap_ns=0 apic=xapic haltpoll=1 guest_halt_poll_ns=0 $clock" -smp 2
check 'four processors' 65 's 4' 1 "$pvh" 'workload=cpus cpus=4' -smp 4
check 'a processor too few' 67 'probe: error cpu 1 does not start' 1 "$pvh" 'workload=cpus cpus=2'
check 'no workload' 67 'probe: error no workload= that is known' 1 "$pvh" 'workload=tea'
check 'too many samples' 67 'probe: error too many samples' 1 "$pvh" \
	"workload=timer samples=100001 $clock"

# A disk behind an I/O thread, found by ECAM on microvm and by ports on q35. That has no PIT: QEMU 7.2
# delivers a tick that waited when the probe masked LINT0 as vector -1, which is beyond any IDT.
disk=$(mktemp) || exit 1
trap 'rm -f "$disk"' EXIT
truncate -s 1M "$disk"
set -- -object iothread,id=io -drive "if=none,id=d,file=$disk,format=raw" \
	-device virtio-blk-pci,drive=d,iothread=io
check 'disk' 65 's [0-9]+' 20 "$pvh" "workload=blk samples=20 ecam=3758096384 $clock" \
	-M microvm,pcie=on "$@"
check 'disk, polling' 65 's [0-9]+' 20 "$pvh" "workload=blk samples=20 ecam=3758096384 $poll $clock" \
	-M microvm,pcie=on "$@"
check 'writes to a disk' 65 's [0-9]+' 20 "$pvh" \
	"workload=blk blk_write=1 samples=20 ecam=3758096384 $clock" -M microvm,pcie=on "$@"
check 'the id of a disk' 65 's [0-9]+' 5 "$pvh" "workload=blk blk_id=1 samples=5 $clock" \
	-M q35,pit=off "$@"
check 'no disk' 67 'probe: error no virtio disk on the PCI bus' 1 "$pvh" \
	"workload=blk samples=5 $clock" -M q35,pit=off
exit $failed
