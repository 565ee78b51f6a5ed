# SPDX-License-Identifier: Apache-2.0
# title: the PCI bus: stock Debian kernels by ACPI, ours by a device tree; and nothing to complain about
# needs: stock-6.1 stock-6.12 linux
# limit: 400
# memory: 2048
needs_option --transport
# boot NAME COMMANDLINE ARGUMENTS ...: what the kernel says, and what is on the bus
boot()
{
	name=$1 words=$2
	shift 2
	guest_start 150 --cpus 1 -m 512M -c "console=ttyS0 quiet run=report,shell $words" "$@"
	if ! wait_for 100 'guest# '; then
		not_ok "$name: no shell"
		show
		kill $pid
		guest_end
		return 1
	fi
	# shellcheck disable=SC2016
	echo 'cd /sys/bus/pci/devices; for d in *; do echo dev $d $(cat $d/vendor $d/device $d/class); done' >&3
	echo 'dmesg | sed "s/^/dm: /"; echo e''nd' >&3
	wait_for 60 '^end' || not_ok "$name: no answer"
	echo exit >&3
	guest_end
	tr -d '\r' <$out >$out.text
	cp $out.text $out
	healthy "$name" 1 || sed -n 's/^dm: /# &/p' "$out"
}

said() # TEXT PATTERN
{
	verdict "$1" grep -q "^dm: .*$2" $out
}

for kernel in 6.1 6.12; do
	set -- -k /guest/stock-$kernel/vmlinuz -i /guest/stock-$kernel/initramfs
	boot "$kernel, ACPI" "" "$@" || continue
	said "$kernel: the root bridge" 'PCI host bridge to bus 0000:00'
	said "$kernel: its window" 'root bus resource \[mem 0xd0000000-0xdfffffff window\]'
	said "$kernel: configuration space at its address" '0xe0000000-0xe00fffff\]'
	verdict "$kernel: MCFG is believed" grep -q -i \
		'^dm: .*PCI: Using \(MMCONFIG\|ECAM\) for extended\|^dm: .*PCI: Using configuration type 1' $out
	verdict "$kernel: the host bridge is there" grep -q '^dev 0000:00:00.0 0x1b36 0x0008 0x060000' $out
	is "$kernel: nothing failed" "$(grep -i '^dm: .*\(pci\|ecam\|mmconfig\)' $out | grep -v pci=nocrs |
		grep -i 'fail\|not reserved\|bug\|error\|can.t')" ""
done
# With a device tree x86 Linux goes by the ports.
boot "device tree" "" -k /guest/bzImage -i /guest/initramfs --hw fdt && {
	verdict "device tree: the host bridge is there" grep -q '^dev 0000:00:00.0 0x1b36 0x0008 0x060000' $out
	said "device tree: by the ports" 'PCI: Using configuration type 1'
}
boot "6.12, no PCI" "" -k /guest/stock-6.12/vmlinuz -i /guest/stock-6.12/initramfs --transport mmio &&
	is "--transport mmio: no bus" "$(grep -c '^dm: .*host bridge to bus' $out)" 0
