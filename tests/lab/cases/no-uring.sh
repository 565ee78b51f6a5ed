# SPDX-License-Identifier: Apache-2.0
# title: disk, network, vsock, console and balloon where io_uring is switched off (kernel.io_uring_disabled), in the sandbox
# needs: linux sock term
# processors: 1
# limit: 600
# memory: 2560
# hosts: 6.12
needs_option --net --vsock --balloon --console --disk
# shellcheck source=tests/lab/devices.sh
. /lab/devices.sh
devices_begin 4
dd if=/tmp/data of=/tmp/disk bs=1M count=4 2>/dev/null
for disabled in 2 1; do
	echo $disabled >/proc/sys/kernel/io_uring_disabled
	name="io_uring_disabled=$disabled"
	is "$name: check" "$(catnap check 2>/dev/null | sed -n 's/^\([a-z]*\) *io_uring  .*/\1/p')" \
		"$([ $disabled = 2 ] && echo less || echo ok)"
	# shellcheck disable=SC2086
	guest_start 300 -k /guest/bzImage -i /guest/initramfs -m 512M $all_devices --sandbox on -d path=/tmp/disk \
		-c "console=hvc0 quiet run=report,shell tty=/dev/hvc0"
	if ! wait_for 90 'guest# '; then
		not_ok "$name: no shell"
		show
		kill $pid
		guest_end
		continue
	fi
	echo 'ifconfig eth0 10.9.0.2 netmask 255.255.255.0 up' >&3
	[ $disabled = 1 ] || try_devices "$name"
	is "$name: the disk is read" "$(ask read 60 'md5sum </dev/vda')" "$(md5sum </tmp/disk)"
	is "$name: and written" \
		"$(ask write 60 'dd if=/dev/urandom of=/dev/vda bs=64k count=32 conv=fsync 2>/dev/null; md5sum </dev/vda')" \
		"$(md5sum </tmp/disk)"
	echo exit >&3
	guest_end
	is "$name: the guest ended" $status 0
	# Root has the right to make rings with 1, until it closes itself in.
	is "$name: it is said once" "$(grep -c 'without io_uring' $err)" "$([ $disabled = 2 ] && echo 1 || echo 0)"
done
echo 0 >/proc/sys/kernel/io_uring_disabled
