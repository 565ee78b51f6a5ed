# SPDX-License-Identifier: Apache-2.0
# title: a thousand sockets each way between guest and host, half closed, closed early, read late
# needs: stock-6.12 streams
# processors: 1
# limit: 2700
# memory: 1536
# hosts: 6.12
needs_option --vsock
seed=$(date +%s)

# of FILE KEY: what a streams program has said
of()
{
	tr -d '\r' <"$1" | sed -n "s/^.*streams=.* $2=\([^ ]*\).*/\1/p"
}

# judge NAME COUNT CONNECTED ACCEPTED: the last words of the two ends
judge()
{
	for f in $3 $4; do
		grep '^stream ' $f | head -n 5 | sed 's/^/# /'
		note "$1: $(tr -d '\r' <$f | grep 'streams=' || head -c 200 $f)"
		is "$1: $2 streams at this end, none with a fault" "$(tr -d '\r' <$f | grep -c "streams=$2 faults=0 ")" 1
	done
	is "$1: what one end has sent the other has got, bytes and sum" "$(of $3 sent) $(of $4 sent)" "$(of $4 got) $(of $3 got)"
}

for io in vcpu thread; do
	count=1000
	guest_start 1200 -k /guest/stock-6.12/vmlinuz -i /guest/stock-6.12/initramfs -m 256M --cpus 2 --io $io --vsock cid=7,socket=/tmp/v \
		-c "console=ttyS0 quiet run=shell"
	if ! wait_for 120 'guest# '; then
		not_ok "--io $io: no shell"
		show
		kill $pid
		guest_end
		continue
	fi
	note "--io $io: seeds $seed and $((seed + 1))"
	begin=$(now)
	rm -f /tmp/v_9
	streams unix-accept /tmp/v_9 $count $((seed + 1)) >/tmp/accepted 2>&1 &
	acceptor=$!
	echo "stty -echo; streams vsock-accept 5 $count $seed >/tmp/in 2>&1 & sleep 1
		streams vsock-connect 2 9 $count $((seed + 1)) >/tmp/out 2>&1; wait
		echo; sed 's/^/in-/' /tmp/in; sed 's/^/out-/' /tmp/out; echo en''ded" >&3
	sleep 3
	streams unix-connect /tmp/v 5 $count $seed >/tmp/connected 2>&1
	wait $acceptor
	wait_for 120 '^ended'
	note "--io $io: $(awk "BEGIN { printf \"%.0f\", $(now) - $begin }") s"
	tr -d '\r' <$out | sed -n 's/^in-//p' >/tmp/in
	tr -d '\r' <$out | sed -n 's/^out-//p' >/tmp/out.guest
	judge "--io $io, to the guest" $count /tmp/connected /tmp/in
	judge "--io $io, from the guest" $count /tmp/out.guest /tmp/accepted
	echo exit >&3
	guest_end
	is "--io $io: the guest ended" $status 0
	is "--io $io: nothing was to be said" "$(cat $err)" ""
done
