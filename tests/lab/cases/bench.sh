# SPDX-License-Identifier: Apache-2.0
# title: catnap bench on a host whose TSC cannot be measured by
# limit: 60
# The lab's TSC is not invariant. bench must say so, and not measure.
for w in event timer start; do
	command="catnap bench $w"
	timeout 20 catnap bench $w --rounds 1 >$out 2>$err
	status=$?
	is "$w: refused" "$status $(wc -l <$err)" "1 1"
	verdict "$w: it says why" grep -q 'TSC is not invariant' $err
done
