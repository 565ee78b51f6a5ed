#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The example of a web service behind passt, with a stock Debian kernel, in the lab's machine: web_service.py CATNAP

Status 77, which skips, where Debian's kernel, passt, busybox or curl cannot be had."""
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'guest-images'))
import images  # noqa: E402 pylint: disable=wrong-import-position

# passt copies a host's way to the world: this one has none, so it gets one that leads nowhere. Then the page is asked
# for until it is there, by an address of the host's, and the service is ended.
SCRIPT = r'''
set -e
ip link add world type veth peer name nowhere
ip address add 10.7.7.2/24 dev world
ip link set nowhere up
ip link set world up
ip route add default via 10.7.7.1
{service} &
pid=$!
for i in $(seq 900); do
	page=$(curl -sf -m 5 http://10.7.7.2:8080/) && break
	kill -0 $pid
	sleep 1
done
echo "page: $page"
echo "other: $(curl -s -m 20 -o /dev/null -w '%{http_code}' http://10.7.7.2:8080/none)"
kill $pid
sleep 5
# A guest that heard its power button has nobody to heed it.
kill $pid 2>/dev/null || true
wait $pid || echo "status: $?"
sleep 1
pgrep -x passt || echo "passt: gone"
'''


def main():
    catnap = Path(sys.argv[1]).resolve()
    for program in ('passt', 'busybox', 'curl'):
        if not shutil.which(program):
            raise images.Missing(f'no {program}')
    kernel = images.StockKernel('6.12')
    with tempfile.TemporaryDirectory() as temp:
        www = Path(temp, 'www')
        www.mkdir()
        (www / 'index.html').write_text('served by a guest\n', encoding='ascii')
        cmd = [ROOT / 'docs/examples/web-service', '--console', '--catnap', catnap, '--kernel', kernel.vmlinuz]
        for number, module in enumerate(kernel.modules('virtio_pci', 'virtio_net', 'af_packet')):
            path = Path(temp, f'{number}.ko')
            path.write_bytes(images.read_module(module))
            cmd += ['--module', path]
        script = SCRIPT.replace('{service}', shlex.join(str(c) for c in cmd + [www]))
        p = subprocess.run([sys.executable, ROOT / 'tests/lab/inside', '--cpus', '1', '--limit', '1400', '--catnap', catnap, script],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(p.stdout)
    missing = [line for line in ('page: served by a guest', 'other: 404', 'status: 143', 'passt: gone') if line not in p.stdout]
    print('not ok: lacks ' + '; '.join(missing) if missing else 'ok')
    return 1 if missing else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except images.Missing as e:
        print(e)
        sys.exit(77)
