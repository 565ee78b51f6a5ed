# SPDX-License-Identifier: Apache-2.0
# title: catnap check knows this host
# smoke: yes
# limit: 30
command="catnap check"
catnap check >$out 2>$err
status=$?
is "catnap check succeeds" $status 0
sed 's/^/# /' $out
verdict "it names kvm_amd" grep -q -i 'kvm.amd\|svm' $out
