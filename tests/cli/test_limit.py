#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap run --net tap=,bw=: a live guest that sends back what it gets, in a network namespace of the test's own.

    test_limit.py CATNAP PROBE-IMAGE

The host floods it. The test checks what a token bucket promises, and nothing else: in any time no more than the rate,
the burst, and the packet that was begun with the last byte. Exit status 77: no /dev/kvm, or no namespace.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time

RATE, BURST, SIZE, SECONDS = 100 << 10, 10 << 10, 1000, 3
ETHERTYPE = 0x88b5  # for local experiments
SO_IGNORE_OUTGOING = 23


def flood(catnap, probe, io):
    with tempfile.TemporaryDirectory() as folder:
        stats = os.path.join(folder, "stats")
        begin = time.monotonic()
        args = [catnap, "run", probe, "--irqchip", "user", "--io", io, "--debug-exit", "0xf4", "-m", "16M", "--rng", "off",
                "-c", "workload=echo samples=100 print=0 tsc_khz=1000000 exit=244", "--net",
                f"tap=t0,mac=02:00:00:00:00:01,bw={RATE},bw-burst={BURST}", "--timeout", f"{SECONDS}s", "--stats", stats]
        with subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p, \
                socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE)) as s:
            s.bind(("t0", ETHERTYPE))
            s.setsockopt(263, SO_IGNORE_OUTGOING, 1)  # SOL_PACKET
            s.setblocking(False)
            frame = bytes([0xff] * 6 + [2, 0, 0, 0, 0, 2]) + ETHERTYPE.to_bytes(2, "big") + bytes(SIZE - 14)
            back = 0
            while p.poll() is None:
                try:
                    s.send(frame)  # the interface drops what its queue does not hold
                except OSError:
                    pass
                try:
                    while True:
                        back += len(s.recv(65536))
                except OSError:
                    pass
                time.sleep(0.0005)
            took = time.monotonic() - begin
            out, err = p.communicate()
        if p.returncode != 124:
            return f"status {p.returncode}: {out!r} {err!r}"
        with open(stats, encoding="ascii") as f:
            net = json.load(f)["devices"][0]
    most = RATE * took + BURST + SIZE
    print(f"io={io}: {took:.2f} s, in {net['read_bytes']}, out {net['written_bytes']}, seen {back}, at most {most:.0f}, "
          f"{net['limit_waits']} waits")
    for what, n in (("in", net["read_bytes"]), ("out", net["written_bytes"]), ("seen", back)):
        if n > most:
            return f"{what}: {n} bytes in {took} s"
        if n < SIZE:
            return f"{what}: nothing"
    if not net["limit_waits"]:
        return "nobody had to wait"
    queue = net["queues"][0]
    if (len(net["queues"]), queue["rx_bytes"], queue["tx_bytes"]) != (1, net["read_bytes"], net["written_bytes"]):
        return f"of the queues: {net}"
    if queue["rx_packets"] + queue["tx_packets"] != net["requests"]:
        return f"packets: {net}"
    return None


def config(path):
    """Returns what the control socket says of the interface."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60)
        until = time.monotonic() + 60
        while s.connect_ex(path) and time.monotonic() < until:
            time.sleep(0.02)
        s.sendall(b"GET /vm/config HTTP/1.1\r\nHost: vm\r\nConnection: close\r\n\r\n")
        answer = b""
        while more := s.recv(65536):
            answer += more
    return json.loads(answer.partition(b"\r\n\r\n")[2])["network-interfaces"][0]


def changed(catnap, probe):
    """Limits and the cable, changed by catnap ctl: what is not given stays, also of what the options gave."""
    def bucket(size, ms):
        return {"size": size, "one_time_burst": None, "refill_time": ms}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        args = [catnap, "run", probe, "--irqchip", "user", "--debug-exit", "0xf4", "-m", "16M", "--api-socket", path,
                "-c", "workload=echo samples=100 print=0 tsc_khz=1000000 exit=244", "--net", "tap=t0,bw=1000K,tx-ops=100"]
        with subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as p:
            try:
                bw = bucket(102400, 100)
                expected = [({"bandwidth": bw, "ops": None}, {"bandwidth": bw, "ops": bucket(10, 100)})]
                expected.append(({"bandwidth": bw, "ops": bucket(9, 1000)}, expected[0][1]))
                expected.append((expected[1][0], {"bandwidth": bucket(2 << 20, 1000), "ops": bucket(10, 100)}))
                for i, settings in enumerate((None, "net0,rx-ops=9", "net0,link=down,tx-bw=2M")):
                    if settings:
                        subprocess.run([catnap, "ctl", path, "net", settings], check=True, timeout=60)
                    net = config(path)
                    if (net["rx_rate_limiter"], net["tx_rate_limiter"]) != expected[i]:
                        return f"{settings}: {net}"
            finally:
                p.kill()
    return None


def inside(catnap, probe):
    subprocess.run(["ip", "tuntap", "add", "t0", "mode", "tap"], check=True)
    subprocess.run(["ip", "link", "set", "t0", "up"], check=True)
    for io in ("vcpu", "thread"):
        wrong = flood(catnap, probe, io)
        if wrong:
            print(f"not ok: io={io}: {wrong}")
            return 1
    wrong = changed(catnap, probe)
    if wrong:
        print(f"not ok: changed: {wrong}")
        return 1
    return 0


def main():
    if len(sys.argv) == 4:
        return inside(*sys.argv[2:])
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("no /dev/kvm")
        return 77
    own = ["unshare", "-rn"]
    try:
        made = subprocess.run([*own, "ip", "tuntap", "add", "t0", "mode", "tap"], capture_output=True, check=False)
    except OSError as e:
        print(e)
        return 77
    if made.returncode:
        print("no network namespace, or no TAP in it:", made.stderr.decode())
        return 77
    return subprocess.run([*own, sys.executable, __file__, "inside", *map(os.path.abspath, sys.argv[1:])],
                          check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
