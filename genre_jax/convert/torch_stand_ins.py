"""All that a pickle of PyTorch may name, and what stands here in place of it.

The stand-ins build dictionaries, numbers and descriptions of tensors, whatever they are called with. They
never print, hash or compare what is not a string or a number: a tuple may hold itself, endlessly.

Source: torch/_utils.py, torch/_tensor.py, numpy/_core/src/multiarray (__reduce__, __setstate__).
"""

import dataclasses
import typing
from collections.abc import Callable

import numpy as np

from genre_jax.convert import raw_numbers
from genre_jax.convert.raw_numbers import Room
from genre_jax.errors import UserError

_STORAGES = {
    'torch.FloatStorage': 'float32', 'torch.DoubleStorage': 'float64', 'torch.HalfStorage': 'float16',
    'torch.BFloat16Storage': 'bfloat16', 'torch.LongStorage': 'int64', 'torch.IntStorage': 'int32',
    'torch.ShortStorage': 'int16', 'torch.CharStorage': 'int8', 'torch.ByteStorage': 'uint8',
    'torch.BoolStorage': 'bool', 'torch.ComplexFloatStorage': 'complex64',
    'torch.ComplexDoubleStorage': 'complex128', 'torch.storage.UntypedStorage': 'uint8',
}  # fmt: skip
_TYPES = {f'torch.{kind}': kind for kind in raw_numbers.DTYPES}
_TEXT = 'text'  # of NumPy's types the one that is no number
# Names that stand in a pickle as arguments, and are not called.
_NAMES = {
    *_STORAGES,
    *_TYPES,
    'numpy.ndarray',
    'torch.Tensor',
    *(f'{m}.{n}' for m in ('builtins', '__builtin__') for n in ('list', 'dict', 'int', 'float')),
}


class Storage(typing.NamedTuple):
    """Numbers in a file that tensors share: the record's key, kind (as in raw_numbers) and count.

    Tensors may use `size` of them from `first`: the whole record, except before PyTorch 0.4.
    """

    key: str
    kind: str
    count: int
    first: int
    size: int


class Tensor(typing.NamedTuple):
    """Where a tensor lies in its storage: offset and strides in elements of `kind`."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    kind: str


class _Global(typing.NamedTuple):
    """A function or class that the pickle named; only the name."""

    name: str


@dataclasses.dataclass
class _NumpyType:
    """A numpy.dtype: of raw_numbers.DTYPES, text, or None for another."""

    kind: str | None
    order: str = '<'


@dataclasses.dataclass
class NumpyArray:
    """An array of NumPy among the tensors; None until the pickle has given its content."""

    value: np.ndarray | None = None


def add_items(target: object, items: list) -> None:
    """Puts keys and values, one after the other, into a dictionary, or into None in its place."""
    if type(target) is not dict and target is not None:
        raise ValueError(f'items for a {type(target).__name__}')
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int | float | bytes | None):
            raise UserError(
                f'has a dictionary whose key is a {type(key).__name__}, not the name of a weight: '
                'save model.state_dict() alone'
            )
        if target is not None:
            # As a text: many whole numbers can be made that a dictionary seeks in the same place.
            name = str(key)
            if name in target:
                raise UserError(f'has two entries with the name {name!r}: save them under different names')
            target[name] = value


def find(module: object, name: object) -> _Global:
    """Returns the mark of a function or class that a pickle names; a UserError if not for weights."""
    if type(module) is not str or type(name) is not str:
        raise ValueError('a function whose name is no string')
    full = f'{module}.{name}'
    if full not in _CALLS and full not in _NAMES:
        raise _refused(full)
    return _Global(full)


def _refused(name: str) -> UserError:
    return UserError(
        f'asks to run {name[:100]}: a program, not only weights. It was not run; '
        'where you trust its author, save model.state_dict() alone and read that'
    )


def call(function: object, arguments: object) -> object:
    """Calls what stands in for a function; a UserError where nothing does."""
    if type(function) is not _Global or function.name not in _CALLS:
        raise _refused(getattr(function, 'name', f'a {type(function).__name__}'))
    if type(arguments) is not tuple:
        raise ValueError(f'{function.name} gets no tuple of arguments')
    return _CALLS[function.name](*arguments)


def set_state(instance: object, state: object, room: Room) -> None:
    """Takes over the state of NumPy's objects; that of others holds nothing that is read."""
    if isinstance(instance, _NumpyType):
        instance.order = '>' if state[1] == '>' else '<'
    elif isinstance(instance, NumpyArray):
        _, shape, dtype, fortran, raw = state
        if dtype.kind in raw_numbers.DTYPES and type(raw) is bytes:
            sides = _lengths(shape)
            value = raw_numbers.shaped(raw, dtype.kind, sides, 'of NumPy', room, dtype.order)
            instance.value = value.ravel().reshape(sides, order='F') if fortran else value
    elif not isinstance(instance, dict | Tensor | None):
        raise _refused(f'__setstate__ of a {type(instance).__name__}')


def storage(identity: object) -> Storage:
    """Reads what torch.save writes in place of a storage: a tuple that begins with 'storage'."""
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != 'storage':
        raise _refused('a persistent object that is no storage')
    _, kind, key, _, count, *views = identity
    if type(kind) is not _Global or kind.name not in _STORAGES or type(key) is not str:
        raise _refused('a storage of an unknown type')
    _, first, size = views[0] if views and views[0] is not None else (None, 0, count)
    count, first, size = _lengths((count, first, size))
    if first + size > count:
        raise ValueError('a view of a storage is larger than the storage')
    return Storage(key, _STORAGES[kind.name], count, first, size)


def _lengths(numbers: object) -> tuple[int, ...]:
    # The bounds are those of NumPy: a product of many long numbers would take forever.
    if type(numbers) not in (tuple, list) or len(numbers) > 64:
        raise ValueError('a shape that is none')
    if any(type(n) is not int or not 0 <= n < 2**63 for n in numbers):
        raise ValueError('a size, stride or offset is not a whole number of at least 0')
    return tuple(numbers)


def _rebuild_tensor(storage: object, offset: object, shape: object, strides: object, *more: object) -> Tensor:
    """Stands in for _rebuild_tensor and _rebuild_tensor_v2: (requires_grad, hooks, metadata)."""
    if type(storage) is not Storage or len(more) > 3:
        raise ValueError('a tensor without storage')
    if more[2:] not in ((), (None,), ({},)):
        raise UserError('has a tensor that is to be conjugated when read: save tensor.resolve_conj()')
    (offset,) = _lengths((offset,))
    return Tensor(storage, offset, _lengths(shape), _lengths(strides), storage.kind)


def _rebuild_tensor_v3(*arguments: object) -> Tensor:
    """Stands in for the version for types that have no storage of their own, such as uint16."""
    dtype = arguments[6]
    if type(dtype) is not _Global or dtype.name not in _TYPES:
        raise ValueError('a tensor without a type')
    tensor = _rebuild_tensor(*arguments[:6], *arguments[7:])
    return tensor._replace(kind=_TYPES[dtype.name])


def _parameter(data: object = None, *_: object) -> Tensor:
    if type(data) is not Tensor:
        raise ValueError('a parameter without a tensor')
    return data


def _from_type(function: object, kind: object, arguments: object, state: object) -> object:
    """Stands in for _rebuild_from_type_v2, of tensors that carry attributes in Python."""
    if type(function) is not _Global or function.name not in _TENSORS:
        raise _refused(getattr(function, 'name', f'a {type(function).__name__}'))
    return call(function, arguments)


def _ordered_dict(pairs: object = ()) -> dict:
    if pairs and type(pairs) is not list:  # which is what the machine counts
        raise ValueError('an ordered dictionary that is not made of a list')
    result: dict = {}
    for key, value in pairs:
        add_items(result, [key, value])
    return result


def _numpy_type(code: object, *_: object) -> _NumpyType:
    if type(code) is not str:
        raise ValueError('a type of NumPy without a name')
    names = {dtype.str[1:]: name for name, dtype in raw_numbers.DTYPES.items()}
    return _NumpyType(names.get(code, _TEXT if code[:1] == 'U' else None))


def _numpy_scalar(dtype: object = None, raw: object = None) -> str | bool | int | float | None:
    """Returns a single number or text of NumPy as Python's; None for one of another kind."""
    if type(dtype) is not _NumpyType or type(raw) is not bytes:
        return None
    if dtype.kind == _TEXT:
        return raw.decode('utf-32-le' if dtype.order == '<' else 'utf-32-be').rstrip('\0')
    if dtype.kind is None or raw_numbers.DTYPES[dtype.kind].kind not in 'biuf':
        return None
    return raw_numbers.decode(raw, dtype.kind, dtype.order).item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != 'latin1':
        raise ValueError('bytes in another encoding than latin1')
    return text.encode('latin1')


_TENSORS: dict[str, Callable[..., object]] = {
    'torch._utils._rebuild_tensor': _rebuild_tensor,
    'torch._utils._rebuild_tensor_v2': _rebuild_tensor,
    'torch._utils._rebuild_tensor_v3': _rebuild_tensor_v3,
}
# What training scripts save beside their weights: metrics, arguments, schedules.
_NO_WEIGHTS = (
    'collections.Counter argparse.Namespace torch.device builtins.set __builtin__.set '
    'builtins.complex __builtin__.complex pathlib.PosixPath pathlib.WindowsPath '
    'pathlib._local.PosixPath torch.torch_version.TorchVersion'
)
_CALLS: dict[str, Callable[..., object]] = {
    **_TENSORS,
    'torch._utils._rebuild_parameter': _parameter,
    'torch._utils._rebuild_parameter_with_state': _parameter,
    'torch.nn.parameter.Parameter': _parameter,
    'torch._tensor._rebuild_from_type_v2': _from_type,
    'torch.Size': lambda lengths=(): _lengths(lengths),
    'collections.OrderedDict': _ordered_dict,
    'collections.defaultdict': lambda *_: {},
    '_codecs.encode': _encode,
    '__builtin__.bytes': lambda: b'',
    'numpy.dtype': _numpy_type,
    # Before and since NumPy 2.
    'numpy.core.multiarray._reconstruct': lambda *_: NumpyArray(),
    'numpy._core.multiarray._reconstruct': lambda *_: NumpyArray(),
    'numpy.core.multiarray.scalar': _numpy_scalar,
    'numpy._core.multiarray.scalar': _numpy_scalar,
    **dict.fromkeys(_NO_WEIGHTS.split(), lambda *_: None),
}
