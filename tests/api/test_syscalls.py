#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
""" Counts what halting and waking cost in system calls, seen by strace from outside:

- the APIC timer of a halted vCPU sets no kernel timer;
- a wake-up of a polling vCPU makes no system call: all there are belong to a wake-up that found its
  vCPU in the guest, which is told by kicks_sent, or to the start of the second processor.

strace stops the threads for what it traces only (--seccomp-bpf), so ioctl, and with it KVM_RUN, runs at
full speed, and the vCPUs meet each other where they would without it.

Usage: test_syscalls.py CATNAP PROBE. Exit status 77: no /dev/kvm, or no strace that can do this.
"""
import collections
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

SKIP = 77
TIMERS = ('timer_settime', 'timerfd_settime', 'setitimer', 'alarm')
CALL = re.compile(r'^(\d+) +(?:<\.\.\. )?(\w+)')


def skip(why):
    print('skipped:', why)
    sys.exit(SKIP)


def run(catnap, probe, workload, options, filters):
    """Returns the trace's (thread, call, line) and the statistics of the vCPUs."""
    with tempfile.TemporaryDirectory() as d:
        trace, stats = os.path.join(d, 'trace'), os.path.join(d, 'stats')
        cmd = ['strace', '-f', '--seccomp-bpf', '-e', 'trace=' + filters, '-o', trace, catnap, 'run',
               '-k', probe, '-m', '8M', '--debug-exit', '0xf4', '--stats', stats, '--timeout', '60s',
               '-c', workload + ' exit=244'] + options
        with subprocess.Popen(cmd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              start_new_session=True) as process:
            try:
                out, err = process.communicate(timeout=90)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # strace alone would leave what it traces
                raise
        if process.returncode != 65 or 'probe: end' not in out:
            sys.exit(f'{cmd}: {process.returncode}\n{out}\n{err}')
        calls = []
        with open(trace, encoding='utf-8', errors='replace') as f:
            for line in f:
                match = CALL.match(line)
                if match and 'resumed>' not in line:
                    calls.append((match[1], match[2], line.rstrip()))
        with open(stats, encoding='utf-8') as f:
            return calls, json.load(f)['vcpus']


def check(ok, what):
    print('ok' if ok else 'FAILED', '-', what)
    return 0 if ok else 1


def timer(catnap, probe, policy):
    # Gaps so long that a busy machine does not let one pass between the timer's arming and HLT.
    samples = 50
    calls, vcpus = run(catnap, probe, f'workload=timer samples={samples} gap_ns=20000000 tsc_khz=2400000',
                       ['--halt-poll', f'policy={policy}'], '!ioctl,write')
    armed = [line for _, call, line in calls if call in TIMERS]
    # The vCPU's own: the start of its thread, and the end, are others' to wait for.
    own = {thread for thread, _, line in calls if '"catnap-vcpu0"' in line}
    slept = [line for thread, call, line in calls if call == 'futex' and thread in own]
    bad = check(len(own) == 1, f'{policy}: the thread of the vCPU has its name')
    bad += check(vcpus[0]['wakeups_timer'] >= samples, f'{policy}: the timer ended the halts')
    bad += check(not armed, f'{policy}: no kernel timer: {armed[:3]}')
    bad += check(vcpus[0]['timer_armed'] == 0, f'{policy}: timer_armed is 0')
    if policy == 'off':  # strace sees what there is to see: the sleeps
        bad += check(len(slept) >= samples, f'{policy}: {len(slept)} sleeps')
    if policy == 'always':
        bad += check(len(slept) < 10, f'{policy}: {len(slept)} sleeps')
    return bad


def ipi(catnap, probe):
    samples = 1000
    calls, vcpus = run(catnap, probe, f'workload=ipi samples={samples} gap_ns=0 tsc_khz=2400000',
                       ['--cpus', '2', '--halt-poll', 'policy=always'], '!ioctl')
    # The guest prints before and after the measuring, a byte at a time.
    output = [i for i, c in enumerate(calls) if c[1] == 'write' and '(1, "' in c[2]]
    newline = next(k for k, i in enumerate(output) if r'"\n"' in calls[i][2])
    counts = collections.Counter(c[1] for c in calls[output[newline] + 1:output[newline + 1]])
    kicks = sum(v['kicks_sent'] for v in vcpus)
    futexes = sum(v['futex_wakes'] for v in vcpus)
    saved = sum(v['kicks_saved'] for v in vcpus)
    print('from the line "start" to the first "s":', dict(counts), 'kicks', kicks, 'futex wakes', futexes,
          'saved', saved)
    # For INIT and SIPI the second vCPU, which is not halted but waits to be started, sleeps.
    starting = 4
    signals = counts['tgkill'] + counts['rt_sigreturn'] + counts['getpid']
    bad = check(saved >= samples, f'{saved} of {2 * samples} wake-ups cost no system call: most, if others let us run')
    bad += check(futexes <= starting, f'{futexes} futex wakes, all of them to start the second vCPU')
    bad += check(counts['futex'] <= 3 * starting, f'{counts["futex"]} futex calls')
    bad += check(signals <= 3 * kicks, f'{signals} calls for {kicks} kicks')
    bad += check(counts['write'] == 0, 'no write')
    rest = {k: n for k, n in counts.items()
            if k not in ('tgkill', 'rt_sigreturn', 'getpid', 'futex', 'write')}
    # The second vCPU's thread may begin only now: a dozen, once.
    bad += check(sum(rest.values()) <= 16, f'nothing else, but for the threads\' start: {rest}')
    return bad


def main():
    catnap, probe = sys.argv[1:3]
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        skip('/dev/kvm is not there')
    if not shutil.which('strace'):
        skip('strace is not there')
    if subprocess.run(['strace', '-f', '--seccomp-bpf', '-o', '/dev/null', 'true'],
                      stderr=subprocess.DEVNULL, check=False).returncode:
        skip('strace cannot trace here, or has no --seccomp-bpf')
    bad = sum(timer(catnap, probe, policy) for policy in ('off', 'kernel', 'always'))
    bad += ipi(catnap, probe)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
