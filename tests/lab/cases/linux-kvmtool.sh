# SPDX-License-Identifier: Apache-2.0
# title: catnap bench linux --peer kvmtool: how lkvm is called, what its guest says, and that nothing is left
# needs: stock-6.12
# processors: 1
# limit: 600
# memory: 2048
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mkdir -p /var/tmp
with_beat /guest/stock-6.12/initramfs >/tmp/initramfs
command="catnap bench linux --peer kvmtool"
# kvmtool is in no Debian: another program is called by its name, that takes its arguments and has catnap do what they say.
mkdir -p /tmp/bin /tmp/home
cat >/tmp/bin/lkvm <<'END'
#!/bin/sh
[ "$1" = run ] || exit 9
shift
while [ $# -gt 0 ]; do
	case $1 in
	--name) mkdir -p "$HOME/.lkvm" && : >"$HOME/.lkvm/$2.sock" ;;
	--console) [ "$2" = serial ] || exit 9 ;;
	-c) cpus=$2 ;;
	-m) memory=$2 ;;
	-k) kernel=$2 ;;
	-i) initramfs=$2 ;;
	-p) words=$2 ;;
	-d) case $2 in *,ro | *,ro,*) disk=${2%%,*} ;; *) exit 9 ;; esac ;;
	-n) [ "$2" = mode=none ] || { tap=${2#mode=tap,tapif=} && tap=${tap%%,*}; } ;;
	*) exit 9 ;;
	esac
	shift 2
done
exec catnap run --irqchip kernel --transport pci --cpus "$cpus" -m "${memory}M" -k "$kernel" -i "$initramfs" \
	-c "console=ttyS0 $words" ${disk:+-d "$disk,readonly=on"} ${tap:+--net "tap=$tap"}
END
chmod +x /tmp/bin/lkvm
for load in read udp; do
	HOME=/tmp/home PATH=/tmp/bin:$PATH timeout $((400 * slow)) catnap bench linux --kernel /guest/stock-6.12/vmlinuz \
		--initramfs /tmp/initramfs --load $load --mode kernel:200us --peer kvmtool --samples 16 --rounds 1 --exits >$out 2>$err
	status=$?
	is "$load, kvmtool's arguments: to its end, each result right" "$status $(cat $err)" "0 "
	line=$(awk -v l="$load" '$1 == l && $2 == "kvmtool"' $out)
	note "$line"
	is "$load, kvmtool's arguments: all is counted" "$(echo "$line" | wc -w)" 8
	is "$load, kvmtool's arguments: nothing is left" "$(ls /tmp/home/.lkvm)" ""
done
