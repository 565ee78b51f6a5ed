# SPDX-License-Identifier: Apache-2.0
"""The library, loaded once; its errors, and its structures as Python's."""
import dataclasses
import os
import typing
from typing import Any, List, Optional, Type, TypeVar, Union

from . import _types
from ._abi import ffi

T = TypeVar('T')


def _load() -> Any:
    """libcatnap of the soname that the headers have; CATNAP_LIBRARY names another file."""
    named = os.environ.get('CATNAP_LIBRARY')
    major, minor = _types.VERSION_MAJOR, _types.VERSION_MINOR
    return ffi.dlopen(named or f'libcatnap.so.{f"0.{minor}" if major == 0 else major}')


lib = _load()


class Error(OSError):
    """A call that failed: errno, and the sentence that says what was wrong with what."""

    def __str__(self) -> str:
        return str(self.strerror)


def text(pointer: Any) -> str:
    return str(ffi.string(pointer).decode('utf-8', 'replace'))


def given(what: str, value: Union[str, bytes, 'os.PathLike[str]', 'os.PathLike[bytes]']) -> Any:
    """A text or a path for the library, which takes a zero byte for its end."""
    encoded = os.fsencode(value)
    if b'\0' in encoded:
        raise ValueError(f'{what}: embedded null byte')
    return ffi.new('char[]', encoded)


def check(value: int, vm: Optional[Any] = None) -> int:
    """The value of a call, on @vm or on none; raises Error if it is a negative errno value."""
    if value < 0:
        sentence = text(lib.catnap_vm_last_error(ffi.NULL if vm is None else vm))
        raise Error(-value, sentence or os.strerror(-value))
    return value


def check_number(value: int) -> int:
    """The value of a call that has no sentences, but numbers alone."""
    if value < 0:
        raise Error(-value, os.strerror(-value))
    return value


def raise_first(raised: List[BaseException]) -> None:
    """Raises the first of them, if there is one, and forgets all."""
    if raised:
        first = raised[0]
        raised.clear()
        try:
            raise first
        finally:
            del first  # Else it and this frame would keep each other, and the callers' objects.


def convert(cls: Type[T], struct: Any) -> T:
    """A structure that the library has filled, as its dataclass."""
    values = {}
    types = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        value = getattr(struct, field.name)
        kind = types[field.name]
        named = _types.NAMED.get((cls, field.name))
        if named is not None:
            try:
                value = named(value)
            except ValueError:
                pass  # a later library's
        elif kind is str:
            value = text(value)
        elif kind is bytes:
            value = bytes(ffi.buffer(value))
        elif dataclasses.is_dataclass(kind):
            value = convert(typing.cast(Type[Any], kind), value)
        elif kind is not int:
            item = typing.get_args(kind)[0]
            value = tuple(convert(item, v) if dataclasses.is_dataclass(item) else int(v) for v in value)
        values[field.name] = value
    return cls(**values)


def filled(cls: Type[T], name: str, call: Any, vm: Optional[Any], **sizes: int) -> T:
    """Has @call fill a structure, which knows its size."""
    struct = ffi.new(f'struct {name} *')
    struct.size = ffi.sizeof(f'struct {name}')
    for member, value in sizes.items():
        setattr(struct, member, value)
    check(call(struct), vm)
    return convert(cls, struct)
