"""Writes checkpoints byte by byte, from the descriptions of their formats, for the reader's tests."""

import io
import pickle
import struct
import zipfile

import google_crc32c
import numpy as np

# --- PyTorch: instructions of the pickle machine, as pickletools describes them ------------------

MAGIC = 0x1950A86A20F9469CFC6C


def name(dotted):
    module, _, attribute = dotted.rpartition('.')
    return f'c{module}\n{attribute}\n'.encode()


def text(value):
    return b'X' + struct.pack('<I', len(value.encode())) + value.encode()


def number(value):
    return b'\x8a\x08' + struct.pack('<q', value)


def group(*parts):
    return b'(' + b''.join(parts) + b't'


def numbers(*values):
    return group(*map(number, values))


def call(function, *arguments):
    return name(function) + group(*arguments) + b'R'


def mapping(**items):
    return b'}(' + b''.join(text(key) + value for key, value in items.items()) + b'u'


def storage(key, kind, count, *view):
    what = name(f'torch.{kind}Storage')
    return group(text('storage'), what, text(key), text('cpu'), number(count), *view) + b'Q'


def tensor(stored, offset, shape, strides):
    where = stored, number(offset), numbers(*shape), numbers(*strides)
    hooks = call('collections.OrderedDict')
    return call('torch._utils._rebuild_tensor_v2', *where, b'\x89', hooks)


def legacy(tree, storages=(), little=True):
    """Returns a .pth as before 1.6; storages: (key, count, raw)."""
    order = '<' if little else '>'
    system = {'protocol_version': 1001, 'little_endian': little, 'type_sizes': {}}
    head = b''.join(pickle.dumps(part, 2) for part in (MAGIC, 1001, system))
    keys = pickle.dumps([key for key, *_ in storages], 2)
    data = b''.join(struct.pack(order + 'q', count) + raw for _, count, raw in storages)
    return head + b'\x80\x02' + tree + b'.' + keys + data


def zipped(tree, storages=(), little=True, **records):
    """Returns a .pth as since 1.6."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('archive/data.pkl', b'\x80\x02' + tree + b'.')
        archive.writestr('archive/byteorder', 'little' if little else 'big')
        for key, _, raw in storages:
            archive.writestr(f'archive/data/{key}', raw)
        for key, raw in records.items():
            archive.writestr(f'archive/{key}', raw)
    return file.getvalue()


# --- TensorFlow: a sorted table with protocol buffers --------------------------------------------


def _varint(value):
    low = bytes([value & 0x7F | (0x80 if value > 0x7F else 0)])
    return low + (_varint(value >> 7) if value > 0x7F else b'')


def message(*fields):
    """Encodes (number, value) with a whole number, bytes, or ('fixed32', value)."""
    out = b''
    for field, value in fields:
        if isinstance(value, bytes):
            out += _varint(field << 3 | 2) + _varint(len(value)) + value
        elif isinstance(value, tuple):
            out += _varint(field << 3 | 5) + struct.pack('<I', value[1])
        else:
            out += _varint(field << 3) + _varint(value)
    return out


def masked(data):
    total = google_crc32c.value(data)
    return ((total >> 15) + (total << 17) + 0xA282EAD8) % 2**32


def _block(pairs, compression=0):
    out, last = b'', b''
    for key, value in pairs:
        shared = 0
        while shared < min(len(key), len(last)) and key[shared] == last[shared]:
            shared += 1
        out += _varint(shared) + _varint(len(key) - shared) + _varint(len(value))
        out, last = out + key[shared:] + value, key
    out += struct.pack('<II', 0, 1)  # one restart, at the beginning
    return out, bytes([compression])


def table(blocks, compression=0):
    """Returns a sorted table; blocks: lists of (key, value)."""
    out, index = b'', []

    def add(block, kind):
        nonlocal out
        handle = _varint(len(out)) + _varint(len(block))
        out += block + kind + struct.pack('<I', masked(block + kind))
        return handle

    for pairs in blocks:
        index.append((pairs[-1][0], add(*_block(pairs, compression))))
    footer = add(*_block([])) + add(*_block(index))
    return out + footer.ljust(40, b'\0') + bytes.fromhex('57fb808b247547db')


def bundle(arrays, codes, shard_of=lambda key: 0, order=0, extra=()):
    """Returns index and shards of a checkpoint; codes: numbers of TensorFlow's types."""
    shards = [b'', b'']
    pairs = []
    for key, array in sorted(arrays.items()):
        raw, shard = array.tobytes(), shard_of(key)
        sides = b''.join(message((2, message((1, n)))) for n in array.shape)
        place = (3, shard), (4, len(shards[shard])), (5, len(raw)), (6, ('fixed32', masked(raw)))
        entry = message((1, codes[key]), (2, sides), *place, *extra)
        pairs.append((key.encode(), entry))
        shards[shard] += raw
    header = b'', message((1, 1 if not shards[1] else 2), (2, order), (3, message((1, 1))))
    half = len(pairs) // 2
    return table([[header, *pairs[:half]], pairs[half:]]), shards


# --- LiteRT: tables that point to tables ---------------------------------------------------------


class Flatbuffer:
    """Writes dicts as tables by number of field, lists as vectors of tables, arrays as vectors.

    Numbers are given as NumPy scalars, of the type that the schema asks for.
    """

    def __init__(self, root):
        self.data = bytearray(b'\0\0\0\0TFL3')
        self._point(0, root)

    def _point(self, place, node):
        self.data += bytes(-len(self.data) % 4)
        if isinstance(node, dict):
            children, content, offsets = [], b'', [0] * (max(node, default=-1) + 1)
            for field, value in node.items():
                offsets[field] = 4 + len(content)
                if isinstance(value, np.generic):
                    content += value.tobytes()
                else:
                    children.append((offsets[field], value))
                    content += bytes(4)
            fields = struct.pack('<HH', 4 + 2 * len(offsets), 4 + len(content))
            fields += struct.pack(f'<{len(offsets)}H', *offsets)
            start = len(self.data) + len(fields)
            self.data += fields + struct.pack('<i', len(fields)) + content
        elif isinstance(node, list):
            children, start = [(4 + 4 * i, child) for i, child in enumerate(node)], len(self.data)
            self.data += struct.pack('<I', len(node)) + bytes(4 * len(node))
        else:
            values = np.frombuffer(node, np.uint8) if isinstance(node, bytes) else node
            children, start = [], len(self.data)
            self.data += struct.pack('<I', len(values)) + values.tobytes()
        struct.pack_into('<I', self.data, place, start - place)
        for offset, child in children:
            self._point(start + offset, child)


def tflite(tensors):
    """Returns a model with constants; tensors: (name, type, array, quantisation)."""
    described, buffers = [], [{}]
    for key, kind, array, quantisation in tensors:
        shape = np.asarray(array.shape, np.int32)
        fields = {0: shape, 1: np.int8(kind), 2: np.uint32(len(buffers)), 3: key.encode()}
        described.append(fields | ({4: quantisation} if quantisation else {}))
        buffers.append({0: array.tobytes()})
    graph = {0: described}
    return bytes(Flatbuffer({0: np.uint32(3), 2: [graph], 4: buffers}).data)
