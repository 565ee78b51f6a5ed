# SPDX-License-Identifier: Apache-2.0
# title: passt and catnap as an ordinary user: a stock Debian guest reaches a server, and is reached by a port
# needs: debian sock user passt
# drives: debian
# processors: 1
# limit: 2400
# memory: 2560
needs_option --net
# shellcheck source=tests/lab/debian.sh
. /lab/debian.sh
disk=$(drive 0)
mkdir -p /tmp/root
mount -t ext4 "$disk" /tmp/root
cp /bin/sock /tmp/root/usr/local/bin
umount /tmp/root

# The server: another host, on the other end of a wire.
unshare -n sleep 100000 &
server=$!
on_server()
{
	nsenter -t $server -n "$@"
}
while [ "$(readlink /proc/$server/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
ip link add world type veth # the other end is veth0
ip link set veth0 netns $server
ip addr add 10.7.7.2/24 dev world
ip link set world up
ip route add default via 10.7.7.1
on_server ip addr add 10.7.7.3/24 dev veth0
on_server ip link set veth0 up

# The user (busybox has a setpriv of its own): with no right but its group's, to /dev/kvm.
chgrp 100 /dev/kvm
chmod 660 /dev/kvm
chown 1000 "$disk"
mkdir /tmp/user
chown 1000 /tmp/user
stats=/tmp/user/stats
under="/bin/setpriv --reuid 1000 --regid 1000 --groups 100 --inh-caps=-all --bounding-set=-all --no-new-privs"

mib=100
dd if=/dev/urandom of=/tmp/data bs=1M count=$mib 2>/dev/null
sum=$(md5sum </tmp/data)

debian 2300 -k /guest/debian/vmlinuz -i /guest/debian/initrd.img -d "path=$disk" -m 512M --sandbox on \
	--net passt,forward=tcp:8080:5000 -c "root=/dev/vda console=ttyS0 quiet"
under=
rights() # PID: its user, groups and capabilities
{
	awk '/^(Uid|Groups|CapPrm):/ { for (i = 2; i <= NF; i++) printf "%s ", $i }' "/proc/$1/status"
}
is "catnap's user, groups and capabilities" "$(rights $pid)" "1000 1000 1000 1000 100 0000000000000000 "
# It closes itself in as the root of a user name space of its own, which is the same user outside.
is "passt's user" "$(rights "$(pidof passt)" | cut -d ' ' -f 1-5)" "1000 1000 1000 1000 100"
is "an address, by passt's DHCP" "$(ask address 200 \
	'for i in $(seq 60); do set -- $(ip -4 -o addr show scope global); [ -n "$4" ] && break; sleep 1; done; echo $4')" 10.7.7.2/24

begin=$(now)
# docs/host.md has what Debian 12's passt wants: a server that has sent something, an end say, and a guest whose half
# stays open.
on_server timeout 900 sock tcp-listen 5001 </dev/null 2>/dev/null >/tmp/back &
listener=$!
say out "head -c $((mib << 20)) /dev/urandom >/dev/shm/out; md5sum </dev/shm/out | tr '\\n' ' '; sock tcp-connect 10.7.7.3 5001 </dev/shm/out && echo sent"
wait $listener
is "$mib MiB to the server" "$(answer out 120)" "$(md5sum </tmp/back) sent"
is "all of it" "$(wc -c </tmp/back)" $((mib << 20))
took "to the server" $mib
ask clean 60 'rm /dev/shm/out' >/dev/null

begin=$(now)
say in 'sock tcp-take 5000 2>/dev/null >/dev/shm/in; md5sum </dev/shm/in'
connected /tmp/data on_server timeout 900 sock tcp-connect 10.7.7.2 8080
is "$mib MiB to the guest by the port" "$(answer in 300)" "$sum"
took "to the guest" $mib
is "all of it" "$(ask size 60 'wc -c </dev/shm/in')" $((mib << 20))

debian_off "the guest"
is "passt is gone" "$(pidof passt)" ""
is "and its port" "$(on_server sock tcp-connect 10.7.7.2 8080 </dev/null 2>&1)" "sock: connect: Connection refused"
kill $server
