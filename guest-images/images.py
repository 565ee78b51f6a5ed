# SPDX-License-Identifier: Apache-2.0
"""The parts that the scripts that make images share: Debian packages unpacked but not installed, archives for
initramfs, and a cache of what takes long to make.

Everything lies in $CATNAP_CACHE, or ~/.cache/catnap/lab. A package that is there is used as it is,
so that nothing needs the network twice; update=True asks for the newest."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Missing(Exception):
    """Something that is needed is not here: a program or a package. A reason to skip a test."""


class Failed(Exception):
    """A step failed; the text says which."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def cache(*parts):
    top = os.environ.get('CATNAP_CACHE')
    if not top:
        home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
        top = os.path.join(home, 'catnap', 'lab')
    path = Path(top, *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name):
    """One at a time, also among processes."""
    with open(cache('.lock-' + name), 'w', encoding='ascii') as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def made(path):
    """A new folder under a temporary name; it gets its own once it is complete."""
    tmp = Path(tempfile.mkdtemp(prefix='.tmp-', dir=path.parent))
    try:
        yield tmp
        tmp.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        tmp.rename(path)
    finally:
        if tmp.exists():
            shutil.rmtree(tmp)


def need(*programs):
    gone = [p for p in programs if not shutil.which(p)]
    if gone:
        raise Missing(f'{", ".join(gone)}: not installed (scripts/install-deps test)')


def call(*cmd, limit, **more):
    """(status, its output, its errors). It is ended with all that it has started where it takes too long, or this
    script is ended."""
    cmd = [str(c) for c in cmd]
    with subprocess.Popen(cmd, stdin=subprocess.DEVNULL, text=True, start_new_session=True, **more) as p:
        try:
            out, err = p.communicate(timeout=limit)
        except subprocess.TimeoutExpired as e:
            raise Failed(f'{cmd[0]}: not ended after {limit} s') from e
        finally:
            if p.poll() is None:
                os.killpg(p.pid, signal.SIGKILL)
    return p.returncode, out, err


def run(*cmd, limit=600, **more):
    """Its output; Failed where it fails."""
    status, out, err = call(*cmd, limit=limit, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    if status:
        tail = '\n'.join((out + err).rstrip().splitlines()[-25:])
        raise Failed(f'{" ".join(map(str, cmd))}: status {status}\n{tail}')
    return out


def digest(*parts):
    """Of texts, bytes and files, in this order."""
    h = hashlib.sha256()
    for p in parts:
        data = p.read_bytes() if isinstance(p, Path) else p if isinstance(p, bytes) else str(p).encode()
        h.update(b'%d:' % len(data) + data)
    return h.hexdigest()[:16]


# -- packages ---------------------------------------------------------------------------------------

def real_name(name):
    """A metapackage stands for the one that it depends on: linux-image-6.12-cloud-amd64."""
    if re.fullmatch(r'linux-image(-[\d.]+)?(-cloud)?-amd64', name):
        out = run('apt-cache', 'depends', '--no-recommends', name, env={**os.environ, 'LC_ALL': 'C'})
        m = re.search(r'Depends: (linux-image-\S+)', out)
        if m:
            return m.group(1)
    return name


def package(name, pattern=None, update=False):
    """The .deb file. pattern: the names (of files) that serve if they are in the cache already."""
    folder = cache('debs', 'x').parent
    folder.mkdir(exist_ok=True)
    have = sorted(folder.glob(pattern or f'{name}_*.deb'), key=lambda p: p.stat().st_mtime)
    if have and not update:
        return have[-1]
    need('apt-get', 'apt-cache', 'dpkg-deb')
    with locked('apt'):
        try:
            real = real_name(name)
            with tempfile.TemporaryDirectory(prefix='.tmp-', dir=folder) as tmp:
                os.chmod(tmp, 0o755)
                say(f'downloading {real}')
                run('apt-get', 'download', '-q', real, cwd=tmp, limit=900)
                got = list(Path(tmp).glob('*.deb'))
                if len(got) != 1:
                    raise Failed(f'apt-get download {real}: no file')
                return got[0].rename(folder / got[0].name)
        except Failed as e:
            if have:
                return have[-1]
            raise Missing(f'the package {name} cannot be had: {str(e).splitlines()[-1]}') from e


def unpacked(name, pattern=None, update=False):
    """The folder with what is in the package."""
    deb = package(name, pattern, update)
    path = cache('unpacked', deb.stem)
    with locked('unpack'):
        if not path.exists():
            need('dpkg-deb')
            with made(path) as tmp:
                run('dpkg-deb', '-x', deb, tmp)
    return path


def busybox():
    """A static one: the system's if there, else out of the package."""
    for path in ('/bin/busybox', '/usr/bin/busybox'):
        if os.path.exists(path) and b'/lib64/ld-linux' not in Path(path).read_bytes()[:4096]:
            return Path(path)
    return unpacked('busybox-static') / 'bin/busybox'


def memcached():
    """Debian's, and what it needs: {path in the archive: file}."""
    program = shutil.which('memcached') or unpacked('memcached') / 'usr/bin/memcached'
    try:
        return {'bin/memcached': Path(program), **libraries(program)}
    except Failed as e:
        raise Missing(f'memcached has not all that it needs here ("apt-get install memcached"): {e}') from e


class StockKernel:
    """A Debian kernel: vmlinuz, config and modules. which: 6.1 or 6.12, the newest cloud kernel of
    that series that Debian 12 has; 6.12-full, the one for all machines; or the path of a package."""

    META = {'6.1': ('linux-image-cloud-amd64', 'linux-image-6.1[.+]*cloud-amd64_*.deb'),
            '6.12': ('linux-image-6.12-cloud-amd64', 'linux-image-6.12[.+]*cloud-amd64_*.deb'),
            '6.12-full': ('linux-image-6.12-amd64', 'linux-image-6.12[.+]*[0-9]-amd64_*.deb')}

    def __init__(self, which, update=False):
        if which.endswith('.deb'):
            need('dpkg-deb')
            self.top = cache('unpacked', f'{Path(which).stem}-{digest(Path(which))}')
            with locked('unpack'):
                if not self.top.exists():
                    with made(self.top) as tmp:
                        run('dpkg-deb', '-x', which, tmp)
        elif which in self.META:
            self.top = unpacked(*self.META[which], update)
        else:
            raise Failed(f'no such kernel: {which}; expected {", ".join(self.META)} or a .deb file')
        try:
            self.vmlinuz = next((self.top / 'boot').glob('vmlinuz-*'))
        except StopIteration as e:
            raise Failed(f'{which}: no kernel in the package') from e
        self.release = self.vmlinuz.name[len('vmlinuz-'):]
        base = self.top / 'lib/modules'
        self.tree = (base if base.exists() else self.top / 'usr/lib/modules') / self.release
        self._index = {f.name.split('.ko')[0].replace('-', '_'): f
                       for f in sorted(self.tree.rglob('*.ko*'))}

    def modules(self, *names):
        """The files, each after those that it depends on. Built-in ones are left out."""
        order = []

        def visit(name):
            f = self._index.get(name.replace('-', '_'))
            if not f:
                return
            data = read_module(f)
            m = re.search(rb'\0depends=([^\0]*)\0', b'\0' + data)
            for d in (m.group(1).decode().split(',') if m else []):
                if d:
                    visit(d)
            if f not in order:
                order.append(f)

        for n in names:
            visit(n)
        return order


def read_module(path):
    """Uncompressed: a busybox insmod knows xz at best."""
    if path.suffix == '.xz':
        need('xz')
        return subprocess.run(['xz', '-dc', str(path)], capture_output=True, check=True).stdout
    if path.suffix == '.zst':
        need('zstd')
        return subprocess.run(['zstd', '-dcq', str(path)], capture_output=True, check=True).stdout
    return path.read_bytes()


def libraries(program):
    """The shared libraries of a program, with the loader: {path in the archive: file}."""
    p = subprocess.run(['ldd', str(program)], capture_output=True, text=True, check=False)
    found = {}
    for line in p.stdout.splitlines():
        m = re.match(r'\s*(?:(\S+) => )?(/\S+) \(0x', line)
        if m:
            found[m.group(2).lstrip('/')] = Path(m.group(2))
        elif 'not found' in line:
            raise Failed(f'{program}: {line.strip()}')
    return found


CFLAGS = ('-static -O2 -g0 -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Wshadow -Wundef -Wvla -Wstrict-prototypes '
          '-Wmissing-prototypes -Wformat=2 -Wno-unused-parameter -Werror -Wl,--build-id=none').split()


def static_program(name, folder):
    """Of all the C sources in a folder; it runs on any Linux."""
    need('gcc')
    sources = sorted(folder.glob('*.[ch]'))
    cc = run('gcc', '--version').splitlines()[0]
    path = cache(f'{name}-' + digest(cc, ' '.join(CFLAGS), *sources))
    with locked(name):
        if not path.exists():
            tmp = path.with_suffix('.tmp')
            run('gcc', *CFLAGS, '-o', tmp, *[s for s in sources if s.suffix == '.c'], '-lpthread')
            tmp.rename(path)
    return path


def disk_load():
    """The verifying disk load and its checker."""
    return static_program('catnap-disk', ROOT / 'guest-images/disk')


# -- archives ---------------------------------------------------------------------------------------

class Archive:
    """A cpio archive (newc) for an initramfs. The same content gives the same bytes: names are sorted;
    times, owners and inode numbers do not come from the disk. Device nodes need no root."""

    def __init__(self):
        self.entries = {}

    def _add(self, name, mode, data=b'', rdev=(0, 0)):
        name = str(name).strip('/')
        up = os.path.dirname(name)
        if up and up not in self.entries:
            self.folder(up)
        self.entries[name] = (mode, data, rdev)

    def folder(self, name, mode=0o755):
        self._add(name, stat.S_IFDIR | mode)

    def text(self, name, text, mode=0o644):
        self._add(name, stat.S_IFREG | mode, text.encode() if isinstance(text, str) else text)

    def file(self, name, path, mode=None):
        path = Path(path)
        if mode is None:
            mode = 0o755 if os.access(path, os.X_OK) else 0o644
        self._add(name, stat.S_IFREG | mode, path.read_bytes())

    def link(self, name, target):
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name, major, minor, mode=0o600):
        self._add(name, stat.S_IFCHR | mode, rdev=(major, minor))

    def bytes(self):
        out = bytearray()

        def put(ino, name, mode, data, rdev):
            head = (ino, mode, 0, 0, 2 if stat.S_ISDIR(mode) else 1, 0, len(data), 0, 0, *rdev,
                    len(name) + 1, 0)
            out.extend(b'070701' + b''.join(b'%08X' % n for n in head) + name + b'\0')
            out.extend(b'\0' * (-len(out) % 4))
            out.extend(data)
            out.extend(b'\0' * (-len(out) % 4))

        # A folder sorts before what is in it.
        for i, name in enumerate(sorted(self.entries), 1):
            mode, data, rdev = self.entries[name]
            put(i, name.encode(), mode, data, rdev)
        put(0, b'TRAILER!!!', 0, b'', (0, 0))
        out.extend(b'\0' * (-len(out) % 512))
        return bytes(out)

    def write(self, path):
        path = Path(path)
        tmp = path.with_name(f'.tmp-{os.getpid()}-{path.name}')
        tmp.write_bytes(self.bytes())
        tmp.rename(path)


def main(function):
    """Runs a script's main: 0, 1 failed, 77 something is missing."""
    name = Path(sys.argv[0]).name
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(function())
    except Missing as e:
        say(f'{name}: {e}')
        sys.exit(77)
    except (Failed, OSError) as e:
        say(f'{name}: {e}')
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
