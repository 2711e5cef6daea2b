"""An unpickler that can run nothing.

    names = {("collections", "OrderedDict"): Global("collections.OrderedDict", make)}
    with naming(path):
        found = load(Bounded(file), names)

Checkpoints of PyTorch and of TensorFlow networks are pickles, and a pickle is a program. Python's
own unpicklers, in C and in Python, import what a stream names and set attributes on what they find;
a subclass can only close the doors that it knows of. This one has no doors. It knows the
instructions that protocols 2 to 5 use for containers, numbers, texts and bytes, and makes lists,
dicts, tuples and these. A global is a `Global` out of a table given to `load`, a `StandIn` where
the caller wants these, or an error; calling it calls a function of ours, which checks its
arguments; only what is `Stateful` takes a state. All else (extension codes, INST, OBJ, DUP, the
text instructions of protocols 0 and 1, buffers out of band) is refused.

A `StandIn` stands for what lies beside the tensors, such as an optimizer: it holds no more than a
line to refuse it with, whatever the stream calls it with, fills it with or makes of it.

What a small file could make large is bounded: a length is read only if so much is left of the file;
there are at most MAX_OPCODES instructions; whole numbers have at most 128 bits; keys are texts,
bytes and whole numbers of 64 bits (a tuple that holds itself over and over takes for ever to hash);
sets are kept as lists, bytearrays as bytes. So the objects take a small multiple of the file and
some 100 MB. What comes out may still contain itself: walk it with a bound, and neither compare nor
print it.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from natra_jax.printable import shown
from natra_jax.types import UserError
from natra_jax.weights.formats.bounded import Bounded

MAX_OPCODES = 2**20  # the checkpoint of a large network with its optimizers has less than a tenth
_MAX_NAME = 200  # bytes of a global's module, and of its name
_FIXED = {  # instructions with a number of this form
    pickle.PROTO: "<B",
    pickle.FRAME: "<Q",
    pickle.BININT: "<i",
    pickle.BININT1: "<B",
    pickle.BININT2: "<H",
    pickle.BINFLOAT: ">d",
    pickle.BINPUT: "<B",
    pickle.LONG_BINPUT: "<I",
    pickle.BINGET: "<B",
    pickle.LONG_BINGET: "<I",
}
_COUNTED = {  # instructions with data, whose length stands before it as a number of this form
    pickle.SHORT_BINBYTES: "<B",
    pickle.BINBYTES: "<I",
    pickle.BINBYTES8: "<Q",
    pickle.BYTEARRAY8: "<Q",
    pickle.SHORT_BINUNICODE: "<B",
    pickle.BINUNICODE: "<I",
    pickle.BINUNICODE8: "<Q",
    pickle.SHORT_BINSTRING: "<B",
    pickle.BINSTRING: "<I",
    pickle.LONG1: "<B",
}
_BYTES = {pickle.SHORT_BINBYTES, pickle.BINBYTES, pickle.BINBYTES8, pickle.BYTEARRAY8}
_PYTHON_2 = {pickle.SHORT_BINSTRING, pickle.BINSTRING}
_CONSTANTS = {
    pickle.NONE: None,
    pickle.NEWTRUE: True,
    pickle.NEWFALSE: False,
    pickle.EMPTY_TUPLE: (),
}
_TUPLES = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}


class Unreadable(Exception):
    """A stream is refused: what is wrong with it, in one line; `naming` says of which file."""


@contextmanager
def naming(path: object) -> Iterator[None]:
    """Turn Unreadable into a UserError that begins with the path."""
    try:
        yield
    except Unreadable as error:
        raise UserError(f"{path}: {error}") from error


def malformed(what: str) -> Unreadable:
    """Return the error for a part of a stream that its writer would not have written so."""
    return Unreadable(
        f"{what} in it is not as it should be: it is damaged or was tampered with, get it again"
    )


class Stateful:
    """A base for objects of ours that a stream may give a state."""

    def build(self, state: Any) -> None:
        """Take the state, which may be anything. Raises Unreadable if it is not as it should be."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class StandIn:
    """What a stream gets for something that is not read: it holds nothing, and does nothing."""

    said: str  # what it is, and what to do if it is needed; behind "has" or "holds"


@dataclass(frozen=True, eq=False)
class Global:
    """What a stream gets for a global that it names."""

    name: str
    # (arguments, of any number and type) -> what calling it gives; None: it must not be called
    make: Callable[[tuple], Any] | None = None
    value: Any = None  # what it stands for where it is an argument


Globals = Mapping[tuple[str, str], Global]  # by module and name
# (module, name of a global that is not in the table) -> what stands for it; may raise Unreadable
Unknown = Callable[[str, str], StandIn]


def not_run(module: str, name: str) -> Unreadable:
    """Return the error for a global that is not in the table."""
    return Unreadable(
        f"asks for {shown(module[:99] + '.' + name[:99])}, which a checkpoint of plain tensors "
        "does not need and which is not run: save the state_dict alone"
    )


def take(file: Bounded, count: int) -> bytes:
    """Read the next `count` bytes. Raises Unreadable if there are not so many.

    A Bounded file allocates no more than is left of it, whatever count is.
    """
    data = file.read(count)
    if len(data) != count:
        raise Unreadable("ends in the middle: it is cut off or damaged, get it again")
    return data


def key(value: Any) -> str | bytes | int | None:
    """Return value, if it may be a dict's key.

    Raises Unreadable for all that could be slow to hash, or cannot be hashed.
    """
    if type(value) in (str, bytes, bool, type(None)) or (type(value) is int and abs(value) < 2**63):
        return value
    raise malformed("a dict's key")


def load(
    file: Bounded,
    names: Globals,
    persistent: Callable[[Any], Any] | None = None,
    unknown: Unknown | None = None,
) -> Any:
    """Load the object of the pickle that begins at the file's position, and stop behind the pickle.

    Args:
      file: to read from.
      names: the globals that the stream may name.
      persistent: (id, of any type) -> what the stream means by it; None if it must have no such
        ids.
      unknown: gives what stands for any other global, and for a key that no dict of ours may have;
        None: both are refused.

    Raises:
      Unreadable: for all that is none of what is described above.
    """
    machine = _Machine(file, names, persistent, unknown)
    for _ in range(MAX_OPCODES):
        code = take(file, 1)
        if code == pickle.STOP:
            return machine.pop()
        machine.step(code)
    raise Unreadable(
        f"has more than {MAX_OPCODES} instructions, which no checkpoint needs: it is damaged or "
        "was tampered with"
    )


class _Machine:
    """The stack, the marks and the memo that a pickle's instructions work on."""

    def __init__(
        self,
        file: Bounded,
        names: Globals,
        persistent: Callable[[Any], Any] | None,
        unknown: Unknown | None,
    ) -> None:
        self._file, self._names, self._persistent = file, names, persistent
        self._unknown, self._stand_ins = unknown, dict[tuple[str, str], StandIn]()
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def step(self, code: bytes) -> None:
        """Carry out the instruction with that code; its operand follows in the file."""
        operand = self._operand(code)
        match code:
            case pickle.PROTO | pickle.FRAME:
                if code == pickle.PROTO and operand > 5:
                    raise Unreadable(f"is of pickle protocol {operand}: save it with protocol 4")
            case pickle.BINPUT | pickle.LONG_BINPUT:
                self._memo[operand] = self._top()
            case pickle.MEMOIZE:
                self._memo[len(self._memo)] = self._top()
            case pickle.BINGET | pickle.LONG_BINGET:
                if operand not in self._memo:
                    raise malformed("a reference in the pickle")
                self._stack.append(self._memo[operand])
            case _ if code in _FIXED or code in _COUNTED:
                self._stack.append(operand)
            case _ if code in _CONSTANTS:
                self._stack.append(_CONSTANTS[code])
            case pickle.EMPTY_LIST | pickle.EMPTY_SET:
                self._stack.append([])
            case pickle.EMPTY_DICT:
                self._stack.append({})
            case pickle.MARK:
                self._marks.append(len(self._stack))
            case pickle.TUPLE:
                self._stack.append(tuple(self._popped()))
            case _ if code in _TUPLES:
                self._stack.append(tuple([self.pop() for _ in range(_TUPLES[code])][::-1]))
            case pickle.FROZENSET:
                self._stack.append(self._popped())
            case pickle.APPEND:
                self._extend([self.pop()])
            case pickle.APPENDS | pickle.ADDITEMS:
                self._extend(self._popped())
            case pickle.SETITEM:
                self._update([self.pop(), self.pop()][::-1])
            case pickle.SETITEMS:
                self._update(self._popped())
            case pickle.GLOBAL:
                self._stack.append(self._global(self._line(), self._line()))
            case pickle.STACK_GLOBAL:
                name, module = self.pop(), self.pop()
                self._stack.append(self._global(module, name))
            case pickle.REDUCE | pickle.NEWOBJ:
                self._call()
            case pickle.NEWOBJ_EX:
                self._call_with_names()
            case pickle.BUILD:
                self._build(self.pop())
            case pickle.BINPERSID:
                if self._persistent is None:
                    raise malformed("a reference out of the pickle")
                self._stack.append(self._persistent(self.pop()))
            case _:
                raise Unreadable(
                    f"has the instruction {code.hex()} where no checkpoint has it: it is damaged "
                    "or was tampered with"
                )

    def pop(self) -> Any:
        """Take the last value since the last mark off the stack, and return it."""
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise malformed("the pickle")
        return self._stack.pop()

    def _top(self) -> Any:
        """Return the last value since the last mark, and leave it on the stack."""
        value = self.pop()
        self._stack.append(value)
        return value

    def _popped(self) -> list:
        """Take all values since the last mark off the stack, and the mark, and return them."""
        if not self._marks:
            raise malformed("the pickle")
        mark = self._marks.pop()
        values = self._stack[mark:]
        del self._stack[mark:]
        return values

    def _operand(self, code: bytes) -> Any:
        """Read what follows the instruction in the file; None for one that nothing follows."""
        if form := _FIXED.get(code):
            return struct.unpack(form, take(self._file, struct.calcsize(form)))[0]
        if not (form := _COUNTED.get(code)):
            return None
        data = take(self._file, struct.unpack(form, take(self._file, struct.calcsize(form)))[0])
        if code in _BYTES:
            return data
        if code in _PYTHON_2:
            return data.decode("latin1")
        if code == pickle.LONG1:
            if len(data) > 16:
                raise malformed("a whole number")
            return int.from_bytes(data, "little", signed=True)
        try:
            return data.decode("utf-8", "surrogatepass")  # as pickle writes any str
        except UnicodeDecodeError as error:
            raise malformed("a text") from error

    def _line(self) -> str:
        line = self._file.readline(_MAX_NAME)
        if not line.endswith(b"\n"):
            raise malformed("a global's name")
        return line[:-1].decode("utf-8", "replace")

    def _extend(self, values: list) -> None:
        found = self._top()
        if isinstance(found, StandIn):
            return
        if type(found) is not list:
            raise malformed("a list")
        found.extend(values)

    def _update(self, values: list) -> None:
        found = self._top()
        if isinstance(found, StandIn):
            return
        if type(found) is not dict or len(values) % 2:
            raise malformed("a dict")
        found.update(
            {self._key(name): value for name, value in zip(values[::2], values[1::2], strict=True)}
        )

    def _key(self, value: Any) -> Any:
        try:
            return key(value)
        except Unreadable:
            if self._unknown is None:
                raise
            return StandIn(f"a key of type {type(value).__name__}")  # hashed by its identity

    def _global(self, module: Any, name: Any) -> Global | StandIn:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise malformed("a global's name")
        if (module, name) in self._names:
            return self._names[module, name]
        if self._unknown is None:
            raise not_run(module, name)
        if (module, name) not in self._stand_ins:
            self._stand_ins[module, name] = self._unknown(module, name)
        return self._stand_ins[module, name]

    def _call(self) -> None:
        arguments, called = self.pop(), self.pop()
        if isinstance(called, StandIn):
            self._stack.append(called)
            return
        if not isinstance(called, Global) or called.make is None or type(arguments) is not tuple:
            raise malformed(f"a call of {called.name}" if isinstance(called, Global) else "a call")
        # what is made of something that is not read is not read either
        unread = [argument for argument in arguments if isinstance(argument, StandIn)]
        self._stack.append(unread[0] if unread else called.make(arguments))

    def _call_with_names(self) -> None:
        """Make an object with arguments by name, as none of ours is made."""
        _, _, called = self.pop(), self.pop(), self.pop()
        if not isinstance(called, StandIn):
            raise malformed("a call with arguments by name")
        self._stack.append(called)

    def _build(self, state: Any) -> None:
        target = self._top()
        if isinstance(target, StandIn):
            return
        if isinstance(target, Stateful):
            target.build(state)
        elif type(target) is not dict or type(state) is not dict:
            # two dicts: an OrderedDict's attributes, on which no tensor depends, are left out
            raise malformed("an object's state")
