"""The globals that checkpoints name besides tensors, and the objects of ours that they make.

They are Python's containers, objects of foreign classes, NumPy's arrays, and stand-ins for the
rest. Each call of `containers` and the others returns new globals, for one file. None of them does
more than keep what it is given, or copy it once; all check their arguments, which may be anything.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from natra_jax.printable import shown
from natra_jax.weights.formats.bounded import num_bytes
from natra_jax.weights.formats.restricted_unpickler import (
    Global,
    StandIn,
    Stateful,
    key,
    malformed,
    not_run,
)

# Names of Python's own library that training scripts pickle beside tensors: of data alone.
_ANY = re.compile(r".*")
_DATA = {
    "builtins": re.compile(
        r"bool|bytearray|bytes|complex|dict|Ellipsis|float|frozenset|int|list|NotImplemented|object"
        r"|range|set|slice|str|tuple|long|unicode|xrange"
    ),
    "collections": _ANY,
    "pathlib": _ANY,
    "pathlib._local": _ANY,
    "datetime": _ANY,
    "decimal": _ANY,
    "fractions": _ANY,
    "uuid": _ANY,
    "zoneinfo": _ANY,
    "argparse": re.compile("Namespace"),
    "types": re.compile("SimpleNamespace"),
    "random": re.compile("Random"),
    "functools": re.compile("partial"),
    "enum": re.compile("[A-Z][A-Za-z]*"),
    "copyreg": re.compile("_reconstructor"),
    "time": re.compile("struct_time"),
}
_DATA |= {"__builtin__": _DATA["builtins"], "copy_reg": _DATA["copyreg"]}  # Python 2's
_STANDARD = sys.stdlib_module_names | {"__builtin__", "copy_reg", "nt", "posix", "ntpath"}

_DTYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


@dataclass(eq=False)
class Instance(Stateful):
    """An object of a foreign class: its class's name, and the attributes that the stream gives."""

    name: str
    state: dict[Any, Any] | None = None

    def build(self, state: Any) -> None:
        """Take the attributes, a dict."""
        if type(state) is not dict:
            raise malformed(self.name)
        self.state = state


@dataclass(eq=False)
class PickledDtype(Stateful):
    """A NumPy type of numbers or truth values."""

    code: str  # 'f4'
    order: Literal["<", ">", "=", "|"] = "="

    def build(self, state: Any) -> None:
        """Take the byte order out of the state, which is as NumPy has written it since 2006."""
        match state:
            case (int(), ("<" | ">" | "=" | "|") as order, *_):
                self.order = order
            case _:
                raise malformed("a NumPy type")

    @property
    def dtype(self) -> np.dtype:
        """The type in the byte order that it was stored in."""
        return np.dtype(self.code).newbyteorder(self.order)


@dataclass(eq=False)
class PickledArray(Stateful):
    """A NumPy array, which comes with its state."""

    array: np.ndarray | None = None
    objects: list[Any] | None = None  # of an array of objects: what it holds

    def build(self, state: Any) -> None:
        """Take the state: (version, shape, type, whether in Fortran order, the bytes)."""
        match state:
            case (
                int(),
                tuple() as shape,
                PickledDtype() as kind,
                bool() as fortran,
                bytes() as data,
            ):
                self.array = _array(shape, kind.dtype, data, "F" if fortran else "C")
            case (int(), tuple(), StandIn(), bool(), list() as objects):
                self.objects = objects
            case (int(), tuple(), StandIn(), bool(), bytes()):
                self.objects = []  # texts, dates or records
            case _:
                raise malformed("a NumPy array")


def stand_in(module: str, name: str) -> StandIn:
    """Return what stands for a global that is not read.

    Raises Unreadable for all of Python's own library but names of data: what else a file asks of it
    is nothing that lies beside weights.
    """
    root = module.partition(".")[0]
    if root in _STANDARD and not (module in _DATA and _DATA[module].fullmatch(name)):
        raise not_run(module, name)
    named = shown(module[:99] + "." + name[:99])
    return StandIn(f"an object of {named}, which is not run,")


def once(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return make as a function that is called once for each object and remembers its result.

    A stream that names a large object many times over does not make many of it.
    """
    made: dict[int, tuple[Any, Any]] = {}

    def result(argument: Any) -> Any:
        if id(argument) not in made:
            # with the argument, so that its id stays its own
            made[id(argument)] = argument, make(argument)
        return made[id(argument)][1]

    return result


def containers() -> dict[tuple[str, str], Global]:
    """Return the globals of OrderedDicts, which become dicts, sets, which become lists, and bytes.

    The bytes are those of protocol 2, which has no instruction for them.
    """
    as_dict, as_bytes = once(_as_dict), once(_as_bytes)

    def ordered_dict(arguments: tuple) -> dict:
        match arguments:
            case ():
                return {}
            case (list() as items,):  # Python 2's way
                return as_dict(items)
        raise malformed("an OrderedDict")

    def set_(arguments: tuple) -> list:
        match arguments:
            case (list() as items,):
                return items
        raise malformed("a set")

    def encode(arguments: tuple) -> bytes:
        match arguments:
            case (str() as text, str() as encoding) if encoding == "latin1":
                return as_bytes(text)
        raise malformed("a string of bytes")

    return {
        ("collections", "OrderedDict"): Global("collections.OrderedDict", ordered_dict),
        ("builtins", "set"): Global("builtins.set", set_),
        # Python 2's name, which protocol 2 keeps
        ("__builtin__", "set"): Global("builtins.set", set_),
        ("_codecs", "encode"): Global("_codecs.encode", encode),
    }


def empty_dict(name: str) -> Global:
    """Return the global of a subclass of dict: it makes a dict, which the stream then fills."""
    return Global(name, _without_arguments(name, dict))


def instance(name: str) -> Global:
    """Return the global of a class: it makes an `Instance`, without arguments.

    The stream then gives the attributes.
    """
    return Global(name, _without_arguments(name, lambda: Instance(name)))


def numpy_arrays(lenient: bool = False) -> dict[tuple[str, str], Global]:
    """Return the globals of NumPy's types, scalars and arrays, under the names of NumPy 1 and 2.

    They make `PickledDtype`s, NumPy's own scalars and `PickledArray`s. lenient: a type other than
    of numbers gives a `StandIn`; else it is refused.
    """

    def dtype(arguments: tuple) -> PickledDtype:
        match arguments:
            case (str() as code, *_) if code in _DTYPES:
                return PickledDtype(code)
        raise malformed("a NumPy type other than of numbers")

    def lenient_dtype(arguments: tuple) -> PickledDtype | StandIn:
        match arguments:
            case (str() as code, *_) if code not in _DTYPES:
                return StandIn(f"NumPy values of type {shown(code, 20)}")
        return dtype(arguments)

    def scalar(arguments: tuple) -> Any:
        match arguments:
            case (PickledDtype() as kind, bytes() as data):
                return _array((), kind.dtype, data, "C")[()]
        raise malformed("a NumPy number")

    def reconstruct(arguments: tuple) -> PickledArray:
        match arguments:
            case (Global(name="numpy.ndarray"), *_):
                return PickledArray()
        raise malformed("a NumPy array")

    def from_buffer(arguments: tuple) -> PickledArray:
        match arguments:
            case (bytes() as data, PickledDtype() as kind, tuple() as shape, ("C" | "F") as order):
                return PickledArray(_array(shape, kind.dtype, data, order))
        raise malformed("a NumPy array")

    found = {
        ("numpy", "dtype"): Global("numpy.dtype", lenient_dtype if lenient else dtype),
        ("numpy", "ndarray"): Global("numpy.ndarray"),
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        found[module, "scalar"] = Global(f"{module}.scalar", scalar)
        found[module, "_reconstruct"] = Global(f"{module}._reconstruct", reconstruct)
    for module in ("numpy.core.numeric", "numpy._core.numeric"):  # of pickle's protocol 5
        found[module, "_frombuffer"] = Global(f"{module}._frombuffer", from_buffer)
    return found


def _without_arguments(name: str, make: Callable[[], Any]) -> Callable[[tuple], Any]:
    """Return make as a `Global` calls it, refusing arguments."""

    def made(arguments: tuple) -> Any:
        if arguments:
            raise malformed(name)
        return make()

    return made


def _as_dict(items: list) -> dict[Any, Any]:
    """Return a list of (key, value) as a dict."""
    if not all(type(item) in (list, tuple) and len(item) == 2 for item in items):
        raise malformed("an OrderedDict")
    return {key(name): value for name, value in items}


def _as_bytes(text: str) -> bytes:
    """Return the bytes that protocol 2 wrote as a text of latin1."""
    try:
        return text.encode("latin1")
    except UnicodeEncodeError as error:
        raise malformed("a string of bytes") from error


def _array(shape: tuple, dtype: np.dtype, data: bytes, order: Literal["C", "F"]) -> np.ndarray:
    """Return a view of the data as an array [*shape]. shape: of a stranger's, of any types."""
    whole = all(type(side) is int for side in shape)
    if not whole or num_bytes(shape, dtype.itemsize) != len(data):
        raise malformed("a NumPy array")
    return np.ndarray(shape, dtype, data, order=order)
