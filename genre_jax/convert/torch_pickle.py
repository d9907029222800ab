"""Pickles of PyTorch, read without running anything that they ask for.

A pickle is a program for a small stack machine, and may call any function. This machine knows the
instructions that torch.save writes, and builds dictionaries, lists, numbers and descriptions of
tensors. It imports nothing: a function that a pickle names is looked up by its full name in the table
of torch_stand_ins, and a pickle that names another is refused. So there is no object whose state a
pickle could set, and no call that leads elsewhere. (A subclass of pickle.Unpickler would need
guards for each of its instructions: BUILD sets attributes of whatever find_class returned, INST and
EXT1 have ways of their own to callables, and LONG_BINPUT allocates what it is told.)

Source: pickletools in Python's library, torch/serialization.py.
"""

import pickletools
from collections.abc import Callable
from typing import BinaryIO

from genre_jax.convert import torch_stand_ins
from genre_jax.convert.raw_numbers import Room
from genre_jax.convert.torch_stand_ins import Storage
from genre_jax.errors import UserError

_MAX_MARKS = 1000
# What a call copies of one of its arguments, at most, for each of its elements.
_COPIED_BYTES = {str: 1, bytes: 1, tuple: 8, list: Room.OBJECT}


def load(file: BinaryIO, storages: dict[str, Storage], room: Room) -> object:
    """Reads the next pickle of a file in memory; `storages` gets those that the pickle mentions, by key.

    Returns what the pickle holds: dicts, lists, tuples, strings, numbers, and the descriptions of
    torch_stand_ins; None in place of other harmless objects. A UserError, without the file's name, where it
    asks for more than weights, or than there is room; an exception of nearly any kind where it is damaged.
    """
    machine = _Machine(storages, room)
    for opcode, argument, _ in pickletools.genops(file):
        machine.step(opcode.name, argument)
    (result,) = machine.stack
    return result


class _Machine:
    """Runs a pickle, one instruction at a time."""

    def __init__(self, storages: dict[str, Storage], room: Room) -> None:
        self.storages = storages
        self.room = room
        self.stack: list = []
        self.outer: list[list] = []  # the stacks below the open marks
        self.memo: list = []

    def step(self, op: str, argument: object) -> None:
        """Carries out one instruction; the names are those of pickletools."""
        stack = self.stack
        if op in _MAKE_OBJECTS:
            self.room.take(Room.OBJECT)
        if op in _ARGUMENTS:
            stack.append(argument)
        elif op in _CONSTANTS:
            stack.append(_CONSTANTS[op]())
        elif op in ('PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE'):
            place = len(self.memo) if argument is None else argument
            missing = max(0, place + 1 - len(self.memo))
            self.room.take(8 * missing)
            self.memo += [None] * missing
            self.memo[place] = stack[-1]
        elif op in ('GET', 'BINGET', 'LONG_BINGET'):
            stack.append(self.memo[argument])
        elif op == 'MARK':
            if len(self.outer) == _MAX_MARKS:
                raise ValueError('it is nested too deep')
            self.outer.append(stack)
            self.stack = []
        elif op in _CLOSES_MARK:
            if op in ('DICT', 'SETITEMS'):
                self.room.take(Room.OBJECT // 2 * len(stack))
            self.stack = self.outer.pop()
            _CLOSES_MARK[op](self.stack, stack)
        elif op in ('TUPLE1', 'TUPLE2', 'TUPLE3'):
            parts = [stack.pop() for _ in range(int(op[-1]))]
            stack.append(tuple(reversed(parts)))
        elif op == 'APPEND':
            _extend(stack, [stack.pop()])
        elif op == 'SETITEM':
            value, key = stack.pop(), stack.pop()
            torch_stand_ins.add_items(stack[-1], [key, value])
        elif op == 'POP':
            stack.pop()
        elif op == 'GLOBAL':
            stack.append(torch_stand_ins.find(*argument.split(' ', 1)))
        elif op == 'STACK_GLOBAL':
            name, module = stack.pop(), stack.pop()
            stack.append(torch_stand_ins.find(module, name))
        elif op in ('REDUCE', 'NEWOBJ'):
            arguments, function = stack.pop(), stack.pop()
            self._charge(arguments)
            stack.append(torch_stand_ins.call(function, arguments))
        elif op == 'BUILD':
            state = stack.pop()
            self._charge(state)
            torch_stand_ins.set_state(stack[-1], state, self.room)
        elif op == 'BINPERSID':
            storage = torch_stand_ins.storage(stack.pop())
            stack.append(storage)
            known = self.storages.setdefault(storage.key, storage)
            if (known.kind, known.count) != (storage.kind, storage.count):
                raise ValueError(f'storage {storage.key} has two types or sizes')
        elif op not in ('PROTO', 'FRAME', 'STOP'):
            raise UserError(
                f'has the pickle instruction {op}, which torch.save does not write: it was not run'
            )

    def _charge(self, arguments: object) -> None:
        """Counts what a call may copy; a small pickle could hand over the same many thousand times."""
        if type(arguments) is tuple:
            self.room.take(8 * len(arguments))
            for part in arguments:
                if type(part) in _COPIED_BYTES:
                    self.room.take(_COPIED_BYTES[type(part)] * len(part))


def _extend(stack: list, items: list) -> None:
    if type(stack[-1]) is not list:
        raise ValueError(f'items for a {type(stack[-1]).__name__}')
    stack[-1].extend(items)


def _new_dict(stack: list, items: list) -> None:
    stack.append({})
    torch_stand_ins.add_items(stack[-1], items)


_ARGUMENTS = set(
    'INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING '
    'UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8'.split()
)
_CONSTANTS: dict[str, Callable[[], object]] = {
    'NONE': lambda: None,
    'NEWTRUE': lambda: True,
    'NEWFALSE': lambda: False,
    'EMPTY_DICT': dict,
    'EMPTY_LIST': list,
    'EMPTY_SET': list,
    'EMPTY_TUPLE': tuple,
}
# Those that leave an object of Python's for one byte of the file or a few.
_MAKE_OBJECTS = set(
    'EMPTY_DICT EMPTY_LIST EMPTY_SET DICT LIST FROZENSET TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM GLOBAL '
    'STACK_GLOBAL REDUCE NEWOBJ BINPERSID'.split()
)
_CLOSES_MARK: dict[str, Callable[[list, list], None]] = {
    'TUPLE': lambda stack, items: stack.append(tuple(items)),
    'LIST': lambda stack, items: stack.append(items),
    'FROZENSET': lambda stack, items: stack.append(items),
    'DICT': _new_dict,
    'APPENDS': _extend,
    'ADDITEMS': _extend,
    'SETITEMS': lambda stack, items: torch_stand_ins.add_items(stack[-1], items),
    'POP_MARK': lambda stack, items: None,
}
