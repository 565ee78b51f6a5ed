# SPDX-License-Identifier: Apache-2.0
"""The lab's machine: QEMU's software emulation of an AMD machine with SVM and nested paging, in which a stock Debian
kernel has a real, unmodified KVM."""

import os
import re
import selectors
import shutil
import subprocess
import time

QEMU = 'qemu-system-x86_64'
# Without XSAVE: the emulation does not intercept XSETBV, so KVM would not know what its guests have enabled. And
# without what needs it, which a guest's kernel would otherwise find, and fault on.
CPU = 'max,+svm,+npt,-xsave,-avx,-avx2,-f16c,-fma'
BEAT_S = 0.25


def tsc_khz(catnap):
    """The frequency of this machine's TSC, which the emulation hands to the lab as it is. None: not known."""
    p = subprocess.run([catnap, 'check'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                       text=True, timeout=60, check=False)
    m = re.search(r'invariant TSC +yes, ([\d.]+) MHz', p.stdout)
    return round(float(m[1]) * 1000) if m else None


class Machine:
    """QEMU. Its console goes to a file, the results come by a second serial port."""

    def __init__(self, host, initrd, log, memory, cpus, shell, more, khz):
        self.log = log
        cmd = [QEMU, '-accel', 'tcg,thread=multi', '-M', 'q35', '-cpu', CPU, '-smp', str(cpus),
               '-m', str(memory), '-nodefaults', '-display', 'none', '-no-reboot', '-kernel',
               str(host.vmlinuz), '-initrd', str(initrd), *more]
        # All its processors read one TSC, but it does not say so: then the host would take the HPET, which
        # is slow here, and its guests' clocks would be off by milliseconds when the machine is busy.
        append = 'console=ttyS0 reboot=t panic=-1 no_timer_check tsc=reliable mitigations=off audit=0 ' + \
            ('quiet' if shell else 'loglevel=5')
        # Its own measure is wrong where this machine is busy, and time in the lab then runs too fast.
        if khz:
            append += f' tsc_early_khz={khz}'
        if shell:
            cmd += ['-chardev', 'stdio,id=c,signal=off', '-serial', 'chardev:c', '-serial', 'null']
        else:
            cmd += ['-serial', f'file:{log}', '-serial', 'stdio']
        # Not left behind, even where this is killed.
        before = ['setpriv', '--pdeathsig', 'KILL', '--'] if shutil.which('setpriv') else []
        self.p = subprocess.Popen([*before, *cmd, '-append', append],
                                  stdin=None if shell else subprocess.PIPE,
                                  stdout=None if shell else subprocess.PIPE,
                                  stderr=None if shell else subprocess.STDOUT, bufsize=0)

    def beat(self):
        """A byte to the serial port, for its interrupt. The emulation loses one now and then: where the
        processor enters or leaves a guest, it changes its word of pending interrupts without a lock, and
        what another thread of QEMU's sets there at that moment is gone. The next interrupt brings back
        what waits in the APIC; but if it was the timer's, and all wait for it, there is no next one."""
        try:
            os.write(self.p.stdin.fileno(), b'\n')
        except (BlockingIOError, BrokenPipeError):
            pass  # nobody reads it; or the machine is at its end

    def lines(self, limit):
        """Its lines as they come; ends with the machine, or raises TimeoutError."""
        fd = self.p.stdout.fileno()
        os.set_blocking(fd, False)
        os.set_blocking(self.p.stdin.fileno(), False)
        have, next_beat = b'', time.monotonic()
        with selectors.DefaultSelector() as s:
            s.register(fd, selectors.EVENT_READ)
            while True:
                left = limit() - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                ready = s.select(min(left, BEAT_S))
                if time.monotonic() >= next_beat:
                    self.beat()
                    next_beat = time.monotonic() + BEAT_S
                if not ready:
                    continue
                data = os.read(fd, 65536)
                if not data:
                    return
                have += data.replace(b'\r', b'')
                *whole, have = have.split(b'\n')
                for line in whole:
                    yield line.decode('utf-8', 'replace')

    def end(self):
        if self.p.poll() is None:
            self.p.terminate()
            try:
                self.p.wait(5)
            except subprocess.TimeoutExpired:
                self.p.kill()
        self.p.wait()
