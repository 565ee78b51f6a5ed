# SPDX-License-Identifier: Apache-2.0
# title: a stock Debian 12 disk, its own kernel and initrd: network, vsock, entropy, console and balloon by PCI
# needs: debian sock term
# drives: debian
# processors: 1
# limit: 1500
# memory: 2560
needs_option --disk --net --vsock --balloon --console
# shellcheck source=tests/lab/devices.sh
. /lab/devices.sh
disk=$(drive 0)
mkdir -p /tmp/root
mount -t ext4 "$disk" /tmp/root
cp /bin/sock /tmp/root/usr/local/bin
umount /tmp/root

devices_begin 100
# shellcheck disable=SC2086
guest_start 1400 -k /guest/debian/vmlinuz -i /guest/debian/initrd.img -d "path=$disk" -m 512M $all_devices \
	-c "root=/dev/vda console=hvc0 quiet ip=10.9.0.2::10.9.0.1:255.255.255.0"
begin=$(now)
if ! wait_for 600 'debian login: '; then
	not_ok "a login on the virtio console"
	show
	kill $pid
	guest_end
	exit 0
fi
ok "a login on the virtio console"
note "after $(awk "BEGIN { print $(now) - $begin }") s"
echo root >&3
wait_for 90 'root@debian' || not_ok "a shell"
echo 'exec sh' >&3
sleep 2
try_devices "Debian"
is "no unit has failed" "$(ask failed 60 'systemctl --failed --no-legend --plain')" ""
is "its drivers are by PCI" "$(ask pci 30 'ls -d /sys/bus/pci/devices/*/virtio* | wc -l')" 6
echo 'systemctl poweroff' >&3
guest_end
is "poweroff: its status" $status 0
is "nothing to say for catnap" "$(cat $err)" ""
is "the sockets are gone" "$(ls /tmp/v /tmp/b 2>/dev/null)" ""
