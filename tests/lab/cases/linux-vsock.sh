# SPDX-License-Identifier: Apache-2.0
# title: sockets between guest and host, both ways, and memory that comes back by the balloon
# needs: linux sock
# processors: 1
# limit: 500
# memory: 2048
needs_option --vsock --balloon
dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>/dev/null
sum=$(md5sum </tmp/data)

for io in vcpu thread; do
	guest_start 240 -k /guest/bzImage -i /guest/initramfs -m 512M -c "console=ttyS0 quiet run=report,shell" \
		--transport mmio --vsock cid=7,socket=/tmp/v --balloon size=32M --api-socket /tmp/b --io $io
	if ! wait_for 60 'guest# '; then
		not_ok "--io $io: no shell"
		show
		kill $pid
		guest_end
		continue
	fi
	begin=$(now)
	echo 'stty -echo; sock vsock-listen 5 </dev/null >/tmp/in; md5sum </tmp/in | sed "s/^/in-/"; echo re''ady' >&3
	wait_for 20 'sock: listening'
	timeout 60 sock unix-connect /tmp/v 5 </tmp/data
	wait_for 60 '^ready'
	is "--io $io: 8 MiB to the guest" "$(tr -d '\r' <"$out" | sed -n 's/^in-//p')" "$sum"
	note "$(awk "BEGIN { print $(now) - $begin }") s"
	is "--io $io: nobody listens" "$(sock unix-connect /tmp/v 6 </dev/null 2>&1)" "sock: refused"
	begin=$(now)
	rm -f /tmp/v_9
	timeout 60 sock unix-listen /tmp/v_9 </dev/null >/tmp/back 2>/dev/null &
	listener=$!
	sleep 1
	echo 'sock vsock-connect 2 9 </tmp/in; sock vsock-connect 2 10; echo st''atus-$?' >&3
	wait $listener
	is "--io $io: 8 MiB from the guest" "$(md5sum </tmp/back)" "$sum"
	note "$(awk "BEGIN { print $(now) - $begin }") s"
	wait_for 20 'status-[0-9]'
	is "--io $io: no such port on the host" "$(tr -d '\r' <"$out" | sed -n 's/^.*status-//p')" 1
	# Memory that the guest has freed comes back to the host: in blocks of 2 MiB, so memory beside something in use does
	# not (of 64 MiB, 47 to 64 were seen to).
	echo 'rm /tmp/in; dd if=/dev/zero of=/tmp/big bs=1M count=64 2>/dev/null; echo fi''lled' >&3
	wait_for 60 filled
	full=$(resident $pid)
	echo 'rm /tmp/big; sleep 6; echo fr''eed' >&3
	wait_for 60 freed
	tries=60 left=$(resident $pid)
	while [ $tries -gt 0 ] && [ "$left" -gt $((full - 32)) ]; do
		sleep 1
		left=$(resident $pid) tries=$((tries - 1))
		[ $((tries % 10)) != 0 ] || note "resident: $left MiB"
	done
	note "resident: $full MiB, then $left MiB"
	between "--io $io: resident memory falls by 32 MiB from $full" "$left" 1 $((full - 32))
	# And the balloon follows, while the guest runs: what it gives back is free in the guest again, once it has
	# been reported, which takes the guest some seconds.
	given=0
	for size in 96M 32M; do
		is "--io $io: a balloon of $size" "$(balloon_to /tmp/b ${size%M} 60)" "${size%M}"
		looks=10
		while [ $looks -gt 0 ] && [ "$given" -lt 57344 ]; do
			looks=$((looks - 1))
			echo "echo; sleep 3; sed -n 's/^MemFree: *\\([0-9]*\\).*/free-$size-$looks-\\1/p' /proc/meminfo" >&3
			wait_for 20 "^free-$size-$looks-"
			free=$(tr -d '\r' <"$out" | sed -n "s/^free-$size-$looks-//p")
			[ $size = 32M ] || { before=$free; break; }
			given=$((free - before))
		done
	done
	between "--io $io: KiB that the smaller balloon left to the guest" "$given" 57344 73728
	echo exit >&3
	guest_end
	is "--io $io: the guest ended" "$status" 0
	is "--io $io: the sockets are gone" "$(ls /tmp/v /tmp/b 2>/dev/null)" ""
done
