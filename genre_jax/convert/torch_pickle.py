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

from __future__ import annotations

import os
import pickletools
from collections.abc import Callable
from typing import BinaryIO

from genre_jax.convert import torch_stand_ins
from genre_jax.convert.torch_stand_ins import Storage
from genre_jax.errors import UserError

# How many times its size a pickle may hand to functions, by naming the same thing again and again.
_MAX_GROWTH = 16


def load(file: BinaryIO, storages: dict[str, Storage]) -> object:
    """Reads the next pickle of a file in memory; `storages` gets those that the pickle mentions, by key.

    Returns what the pickle holds: dicts, lists, tuples, strings, numbers, and the descriptions of
    torch_stand_ins; None in place of other harmless objects.

    Raises a UserError, without the file's name, where it asks for more than weights; an exception of nearly
    any kind where the pickle is damaged.
    """
    start = file.tell()
    machine = _Machine(storages, _MAX_GROWTH * file.seek(0, os.SEEK_END))
    file.seek(start)
    for opcode, argument, _ in pickletools.genops(file):
        machine.step(opcode.name, argument)
    (result,) = machine.stack
    return result


class _Machine:
    """Runs a pickle, one instruction at a time."""

    def __init__(self, storages: dict[str, Storage], room: int) -> None:
        self.storages = storages
        self.room = room
        self.stack: list = []
        self.outer: list[list] = []  # the stacks below the open marks
        self.memo: dict[int, object] = {}

    def step(self, op: str, argument: object) -> None:
        """Carries out one instruction; the names are those of pickletools."""
        stack = self.stack
        if op in _CONSTANTS:
            stack.append(_CONSTANTS[op]() if argument is None else argument)
        elif op in ('PUT', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE'):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif op in ('GET', 'BINGET', 'LONG_BINGET'):
            stack.append(self.memo[argument])
        elif op == 'MARK':
            self.outer.append(stack)
            self.stack = []
        elif op in _CLOSES_MARK:
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
            torch_stand_ins.set_state(stack[-1], state)
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

    def _charge(self, values: object) -> None:
        """Counts what a call may copy; a small pickle could ask for it many thousand times."""
        sized = str | bytes | list | tuple | dict
        if isinstance(values, sized):
            parts = values if isinstance(values, list | tuple) else ()
            self.room -= len(values) + sum(len(v) for v in parts if isinstance(v, sized))
        if self.room < 0:
            raise ValueError('it unfolds to many times its size')


def _extend(stack: list, items: list) -> None:
    if type(stack[-1]) is not list:
        raise ValueError(f'items for a {type(stack[-1]).__name__}')
    stack[-1].extend(items)


def _new_dict(stack: list, items: list) -> None:
    stack.append({})
    torch_stand_ins.add_items(stack[-1], items)


_CONSTANTS: dict[str, Callable[[], object]] = {
    'NONE': lambda: None,
    'NEWTRUE': lambda: True,
    'NEWFALSE': lambda: False,
    'EMPTY_DICT': dict,
    'EMPTY_LIST': list,
    'EMPTY_SET': list,
    'EMPTY_TUPLE': tuple,
} | dict.fromkeys(
    'INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING '
    'UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8'.split(),
    lambda: None,
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
