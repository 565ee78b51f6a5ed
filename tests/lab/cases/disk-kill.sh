# SPDX-License-Identifier: Apache-2.0
# title: catnap killed in the midst of writes, discards and flushes: what was flushed is in the image
# needs: linux disk
# drives: ext4=256M
# limit: 1200
# long: 9000
# 10 times; 100 times in the long form. The seeds are always the same, the moments are not.
needs_option --disk
rounds=10
[ "$LAB_LONG" != 1 ] || rounds=100
mkdir -p /tmp/images
mount -t ext4 "$(drive 0)" /tmp/images
image=/tmp/images/disk.img

# round NUMBER ARGUMENTS: status 0 if what was promised is there
round()
{
	seed=$1
	shift
	rm -f $image
	dd if=/dev/zero of=$image bs=1M seek=32 count=0 2>/dev/null
	guest_start 90 -k /guest/bzImage -i /guest/initramfs -d "path=$image$disk_options" "$@" \
		-c "console=ttyS0 quiet run=disk seed=$seed workers=4 seconds=600"
	if ! wait_for 60 'disk: begin'; then
		kill -9 $pid
		guest_end
		note "round $seed: no load"
		show
		return 1
	fi
	# Up to four seconds.
	usleep $((RANDOM % 32768 * 122))
	kill -9 $pid
	guest_end 2>/dev/null # "Killed"
	answer=$(catnap-disk check $image $out)
	good=$?
	if [ $good != 0 ] || [ -s $err ]; then
		note "round $seed: $answer"
		show
		good=1
	fi
	return $good
}

n=0 bad=0 flushes=0 promised=0
while [ $n -lt $rounds ]; do
	n=$((n + 1))
	disk_options=
	case $((n % 5)) in
	0) set -- --transport pci --cpus 2 ;;
	1) set -- --transport pci --cpus 2 && disk_options=,direct=on ;;
	2) set -- --transport mmio --cpus 2 --io thread ;;
	3) set -- --transport pci --irqchip kernel --cpus 1 ;;
	4) set -- --transport mmio --cpus 1 && disk_options=,direct=on ;;
	esac
	if round $n "$@"; then
		flushes=$((flushes + $(echo "$answer" | sed -n 's/.*: \([0-9]*\) flushes.*/\1/p')))
		promised=$((promised + $(echo "$answer" | sed -n 's/.* \([0-9]*\) sectors promised.*/\1/p')))
	else
		bad=$((bad + 1))
	fi
done
is "$rounds kills: images that lack what was flushed" $bad 0
note "$flushes flushes, $promised sectors that they promised"
between "there were promises to keep" $promised $rounds 100000000
# The checker must see a loss, or all of this says nothing.
dd if=/dev/zero of=$image bs=1M count=32 conv=notrunc 2>/dev/null
catnap-disk check $image $out >/tmp/lost
is "an image of zeroes is not as promised" $? 1
