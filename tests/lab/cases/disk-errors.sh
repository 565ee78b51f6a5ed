# SPDX-License-Identifier: Apache-2.0
# title: the host's disk is full, reads fail or come short: I/O errors in the guest, which goes on
# needs: linux
# drives: ext4=64M unreadable=16M
# limit: 600
needs_option --disk
# Prints what is typed into the guest's shell: vda's host runs full, vdb is cut short under the guest, vdc is a device
# with a sector in its middle that cannot be read, and vdd one that takes more than it can keep.
commands()
{
	cat <<-'END'
		r() { echo "result: $1=$2"; }
		try() { "$@" 2>/dev/null && echo good || echo failed; }
		wr() { try dd if=/tmp/r of=$1 bs=64k seek=$2 count=$3 oflag=direct; }
		rd() { try dd if=$1 of=/dev/null bs=64k skip=$2 count=$3 iflag=direct; }
		head -c 16777216 /dev/urandom >/tmp/r
		r full_begin $(wr /dev/vda 0 64)
		r full $(wr /dev/vda 256 256)
		r full_first $(dd if=/dev/vda bs=64k count=64 iflag=direct 2>/dev/null | cmp -n 4194304 - /tmp/r && echo same)
		r full_again $(wr /dev/vda 0 64)
		r short_begin $(rd /dev/vdb 0 64)
		echo c''ut
	END
	wait_for 60 '^cut' || return
	truncate -s 4M /tmp/images/short.img
	cat <<-'END'
		r short_whole $(rd /dev/vdb 0 64)
		r short $(rd /dev/vdb 64 64)
		r short_across $(try dd if=/dev/vdb of=/dev/null bs=128k skip=31 count=2 iflag=direct)
		r error_before $(rd /dev/vdc 0 128)
		r error $(rd /dev/vdc 128 1)
		r error_after $(rd /dev/vdc 129 127)
		r error_write $(wr /dev/vdc 128 1)
		dd if=/tmp/r of=/dev/vdd bs=64k count=256 conv=fsync 2>/dev/null && r flush good || r flush failed
		r other $(rd /dev/vda 0 64)
		r errors $(dmesg | grep -c 'I/O error, dev vd[a-d]')
		echo e''nd
	END
}

for how in "pci vcpu user" "mmio thread kernel"; do
	# shellcheck disable=SC2086
	set -- $how
	mkdir -p /tmp/small /tmp/tiny /tmp/images
	mount -t tmpfs -o size=8m tmpfs /tmp/small
	mount -t tmpfs -o size=8m tmpfs /tmp/tiny
	mount -t ext4 "$(drive 0)" /tmp/images
	truncate -s 64M /tmp/small/full.img
	truncate -s 64M /tmp/tiny/flush.img
	rm -f /tmp/images/short.img
	truncate -s 16M /tmp/images/short.img
	losetup /dev/loop0 /tmp/tiny/flush.img
	guest_start 150 -k /guest/bzImage -i /guest/initramfs --transport "$1" --io "$2" --irqchip "$3" \
		--cpus 2 -c "console=ttyS0 quiet run=shell" -d path=/tmp/small/full.img \
		-d path=/tmp/images/short.img -d "path=$(drive 1)" -d path=/dev/loop0
	if ! wait_for 60 'guest# '; then
		not_ok "$how: no shell"
		show
		kill -9 $pid
	fi
	commands >&3
	wait_for 90 '^end' || not_ok "$how: the guest does not go on"
	echo exit >&3
	guest_end
	tr -d '\r' <$out >$out.text
	cp $out.text $out
	is "$how: the guest powers off" "$status" 0
	is "$how: full: what fits, what does not, what was there, what fits again" \
		"$(value full_begin) $(value full) $(value full_first) $(value full_again)" "good failed same good"
	is "$how: cut short: before it, what is left, behind its end, across its end" \
		"$(value short_begin) $(value short_whole) $(value short) $(value short_across)" \
		"good good failed failed"
	is "$how: a read error: before it, there, after it; a write there" \
		"$(value error_before) $(value error) $(value error_after) $(value error_write)" \
		"good failed good good"
	is "$how: writes that the host has lost are told by the flush" "$(value flush)" failed
	is "$how: the other disks go on" "$(value other)" good
	between "$how: I/O errors in the guest's log" "$(value errors)" 4 1000
	losetup -d /dev/loop0
	umount /tmp/small /tmp/tiny /tmp/images
done
