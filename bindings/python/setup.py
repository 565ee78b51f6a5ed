# SPDX-License-Identifier: Apache-2.0
"""Makes what is made of the headers when the package is built; the rest is in pyproject.toml."""
import os
import re
import shlex
import subprocess
import sys

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = os.path.dirname(os.path.abspath(__file__))


def include():
    """CATNAP_INCLUDE, the tree's, or what pkg-config says."""
    given = os.environ.get('CATNAP_INCLUDE')
    tree = os.path.join(HERE, '..', '..', 'include')
    if given or os.path.exists(os.path.join(tree, 'catnap', 'version.h')):
        return given or tree
    return subprocess.run(['pkg-config', '--variable=includedir', 'catnap'], stdout=subprocess.PIPE, text=True,
                          check=True).stdout.strip()


def version():
    with open(os.path.join(include(), 'catnap', 'version.h'), encoding='utf-8') as f:
        return re.search(r'CATNAP_VERSION_STRING "(.*)"', f.read())[1]


class Build(build_py):
    def run(self):
        super().run()
        subprocess.run([sys.executable, os.path.join(HERE, 'make_abi.py'), include(), os.path.join(self.build_lib, 'catnap'),
                        *shlex.split(os.environ.get('CC', 'cc'))], check=True)


setup(version=version(), cmdclass={'build_py': Build})
