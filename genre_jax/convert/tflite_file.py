"""Constants of a LiteRT (TensorFlow Lite) model, without LiteRT.

The flatbuffer is read by what its schema generates (the package tflite). That checks no offset: NumPy and
struct do, and what they find where a false one leads must have the size that its tensor announces.
"""

import numpy as np

from genre_jax.convert import raw_numbers
from genre_jax.convert.raw_numbers import Room
from genre_jax.errors import UserError

IDENTIFIER = b'TFL3'  # at byte 4
# By the numbers of the schema's TensorType.
_KINDS = {
    0: 'float32', 1: 'float16', 2: 'int32', 3: 'uint8', 4: 'int64', 6: 'bool', 7: 'int16',
    8: 'complex64', 9: 'int8', 10: 'float64', 11: 'complex128', 12: 'uint64', 15: 'uint32',
    16: 'uint16', 18: 'bfloat16',
}  # fmt: skip
_STRING = 5


def read(data: bytes, room: Room) -> dict[str, np.ndarray]:
    """Reads the constants of all subgraphs of a file; 8-bit numbers and such in their true scale.

    Returns arrays by the tensors' names; a tensor without a name has ''. Quantised ones are float32, (q -
    zero_point) * scale, the others as they are. Tensors of strings are left out. A UserError, without the
    file's name, where two constants have one name, or one is of a kind that is not read; an exception of
    nearly any kind where the file is damaged.
    """
    from tflite.Model import Model  # its nearly two hundred modules take half a second

    model = Model.GetRootAs(data)
    arrays: dict[str, np.ndarray] = {}
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        room.take(Room.OBJECT)
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            # Tables may stand in a vector many times, and tensors share a name or a buffer.
            room.take(Room.ARRAY)
            if tensor.Buffer() >= model.BuffersLength():
                raise ValueError('a tensor is without buffer')
            buffer = model.Buffers(tensor.Buffer())
            if buffer.Offset() > 1:
                raise UserError('keeps constants behind the model, as those over 2 GB: not read')
            if not buffer.DataLength() or tensor.Type() == _STRING:
                continue
            name = (tensor.Name() or b'').decode()
            values = _constant(tensor, name, buffer.DataAsNumpy().data, room)
            if name in arrays and not np.array_equal(arrays[name], values):
                raise UserError(
                    f'has two different constants with the name {name!r}: expected a name for each'
                )
            arrays[name] = values
    return arrays


def _constant(tensor, name: str, raw: memoryview, room: Room) -> np.ndarray:
    kind = tensor.Type()
    if kind not in _KINDS or tensor.Sparsity() is not None:
        what = 'is sparse' if kind in _KINDS else f'has the type {kind} of LiteRT'
        raise UserError(f'has the constant {name}, which {what}: not read; use a model in floats')
    shape = tensor.ShapeAsNumpy().tolist() if tensor.ShapeLength() else []
    values = raw_numbers.shaped(raw, _KINDS[kind], shape, name, room)
    quantised = tensor.Quantization()
    if quantised is None or values.dtype.kind not in 'iu' or not quantised.ScaleLength():
        return values
    scale = quantised.ScaleAsNumpy()
    zero = quantised.ZeroPointAsNumpy() if quantised.ZeroPointLength() else np.zeros_like(scale)
    if zero.size != scale.size:
        raise ValueError(f'{name} has not as many zero points as scales')
    if scale.size > 1:
        axis = quantised.QuantizedDimension()
        if not 0 <= axis < values.ndim or values.shape[axis] != scale.size:
            raise ValueError(f'{name} has not a scale for each of its channels')
        sides = [1] * values.ndim
        sides[axis] = scale.size
        scale, zero = scale.reshape(sides), zero.reshape(sides)
    room.take(4 * values.size)
    with np.errstate(over='ignore', invalid='ignore'):  # what is not finite is refused as a weight
        return ((values.astype(np.float64) - zero) * scale).astype(np.float32)
