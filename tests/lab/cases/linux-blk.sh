# SPDX-License-Identifier: Apache-2.0
# title: disks in Linux: data, flushes, discards, ids, read-only; by mmio and PCI, however they are found
# needs: linux
# limit: 2000
# memory: 2048
needs_option --disk --io
# Prints what is typed into the guest's shell. Each answer is a line "result: KEY=...".
commands()
{
	cat <<-'END'
		r() { echo "result: $1=$2"; }
		sum() { sha256sum | cut -d ' ' -f 1; }
		drop() { sync; echo 3 >/proc/sys/vm/drop_caches; }
		r size $(blockdev --getsize64 /dev/vda)
		r serial "$(cat /sys/block/vda/serial)"
		r cache "$(cat /sys/block/vda/queue/write_cache)"
		r queues $(ls /sys/block/vda/mq | wc -l)
		r ro $(blockdev --getro /dev/vdb)
		r write_ro $(dd if=/dev/zero of=/dev/vdb count=1 2>/dev/null && echo done || echo refused)
		r discard $(cat /sys/block/vda/queue/discard_max_bytes)
		dd if=/dev/urandom of=/tmp/r bs=64k count=32 2>/dev/null
		dd if=/tmp/r of=/dev/vda bs=4k conv=fsync 2>/dev/null
		r wrote $(sum </tmp/r)
		drop
		r read $(dd if=/dev/vda bs=64k count=32 2>/dev/null | sum)
		drop
		r direct $(dd if=/dev/vda bs=4k count=512 iflag=direct 2>/dev/null | sum)
		r other $(dd if=/dev/vdb bs=4k count=256 2>/dev/null | sum)
		r rng $(cat /sys/class/misc/hw_random/rng_current)
		r random $(dd if=/dev/hwrng bs=64 count=4 2>/dev/null | wc -c)
		r pins $(grep -c 'IO-APIC.*virtio' /proc/interrupts)
		r log "$(dmesg | grep -c 'vda.*error\|I/O error\|virtio.*\(fail\|broken\)')"
		echo e''nd
	END
}

drive() # NAME SECONDS ARGUMENTS
{
	name=$1 seconds=$2
	shift 2
	dd if=/dev/zero of=/tmp/a.img bs=1M count=16 2>/dev/null
	dd if=/dev/urandom of=/tmp/b.img bs=1M count=1 2>/dev/null
	guest_start "$seconds" -k /guest/bzImage -i /guest/initramfs -c "console=ttyS0 quiet run=report,shell $words" \
		-d path=/tmp/a.img,id=lab-disk -d path=/tmp/b.img,readonly=on "$@"
	if ! wait_for "$seconds" 'guest# '; then
		not_ok "$name: no shell"
		show
		kill $pid
		guest_end
		return
	fi
	commands >&3
	wait_for "$seconds" '^end' || {
		not_ok "$name: no answer"
		kill $pid
	}
	trap '' PIPE # it may have gone
	echo exit >&3
	guest_end
	tr -d '\r' <$out >$out.text
	cp $out.text $out
	healthy "$name" "" $end
	is "$name: size, id" "$(value size) $(value serial)" "16777216 lab-disk"
	is "$name: write-back" "$(value cache)" "write back"
	is "$name: read-only" "$(value ro) $(value write_ro)" "1 refused"
	is "$name: read back" "$(value read)" "$(value wrote)"
	is "$name: read around the cache" "$(value direct)" "$(value wrote)"
	is "$name: what the host sees" "$(dd if=/tmp/a.img bs=1M count=2 2>/dev/null | sha256sum | cut -d ' ' -f 1)" \
		"$(value wrote)"
	is "$name: the other disk" "$(value other)" "$(sha256sum </tmp/b.img | cut -d ' ' -f 1)"
	verdict "$name: discards" [ "$(value discard)" -gt 0 ]
	is "$name: random numbers" "$(value rng | cut -d . -f 1) $(value random)" "virtio_rng 256"
	is "$name: nothing failed" "$(value log)" 0
}

words='' end=0
drive "mmio, ACPI" 150 --transport mmio
is "a queue for the vCPU" "$(value queues)" 1
drive "mmio, device tree, 2 vCPUs" 180 --transport mmio --hw fdt --cpus 2
is "a queue for each vCPU" "$(value queues)" 2
drive "mmio, KVM's irqchip, I/O thread" 180 --transport mmio --irqchip kernel --io thread --cpus 2
drive "PCI, ACPI, 2 vCPUs" 180 --transport pci --cpus 2
drive "PCI, I/O thread" 180 --transport pci --io thread --cpus 2
drive "PCI, device tree, KVM's irqchip" 180 --transport pci --hw fdt --irqchip kernel
# Drivers that have no messages take the functions' pins.
words=pci=nomsi
drive "PCI by its pins, ACPI, 2 vCPUs" 180 --transport pci --cpus 2
verdict "pins are in use" [ "$(value pins)" -gt 0 ]
# With neither of them; it cannot power off.
words=end=reboot end=32
drive "mmio, command line, 2 vCPUs" 180 --transport mmio --hw mptable --cpus 2
drive "mmio, command line, KVM's irqchip" 180 --transport mmio --hw mptable --irqchip kernel
words="end=reboot pci=nomsi"
drive "PCI by its pins, MP table" 180 --transport pci --hw mptable
verdict "pins are in use" [ "$(value pins)" -gt 0 ]
