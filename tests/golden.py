"""Weights that any language can make, for networks whose outputs were computed elsewhere with them."""

import zlib

import numpy as np


def u(name, shape):
    """Values in [-1, 1): a hash of the position and the name."""
    wrap = np.uint64(0xFFFFFFFF)
    h = (np.arange(np.prod(shape), dtype=np.uint64) + np.uint64(zlib.crc32(name.encode()))) & wrap
    for factor, shift in ((2654435761, 16), (2246822519, 13), (3266489917, 16)):
        h = (h * np.uint64(factor)) & wrap
        h ^= h >> np.uint64(shift)
    return (h / 2**31 - 1).reshape(shape)


def torch_tensor(key, *shape, kernel_scale=None):
    """The tensor of a PyTorch state_dict key, filled by rule."""
    if len(shape) > 1:
        values = (kernel_scale or np.sqrt(6 / np.prod(shape[1:]))) * u(key, shape)
    elif key.endswith(('.weight', '.running_var')):
        values = 1 + 0.1 * u(key, shape)
    else:
        values = 0.1 * u(key, shape)
    return values.astype(np.float32)


def noisy(rate_hz):
    """One second of two sines and noise."""
    time_s = np.arange(rate_hz) / rate_hz
    tone = 0.5 * np.sin(2 * np.pi * 440 * time_s) + 0.25 * np.sin(2 * np.pi * 1760 * time_s)
    return (tone + 0.1 * u('noise', (rate_hz,))).astype(np.float32)


def norm_shapes(name, channels):
    """Keys and shapes of a PyTorch batch normalisation."""
    leaves = ('weight', 'bias', 'running_mean', 'running_var')
    return {f'{name}.{leaf}': (channels,) for leaf in leaves}


def linear_shapes(name, inputs, outputs):
    """Keys and shapes of a PyTorch linear layer."""
    return {f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)}


def cnn_shapes(channels, kernel=3, n_convs=2, num_classes=527):
    """Keys and shapes of CNN14, CNN10 or CNN6, without the front end."""
    shapes = norm_shapes('bn0', 64)
    inputs = 1
    for block, width in enumerate(channels, 1):
        for conv in range(1, n_convs + 1):
            shapes[f'conv_block{block}.conv{conv}.weight'] = (width, inputs, kernel, kernel)
            shapes |= norm_shapes(f'conv_block{block}.bn{conv}', width)
            inputs = width
    shapes |= linear_shapes('fc1', inputs, inputs)
    return shapes | linear_shapes('fc_audioset', inputs, num_classes)


def mobilenet_shapes():
    """Keys and shapes of MobileNetV1 of PANNs, without the front end."""
    widths = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    shapes = norm_shapes('bn0', 64) | {'features.0.0.weight': (32, 1, 3, 3)}
    shapes |= norm_shapes('features.0.2', 32)
    for i, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:], strict=True), 1):
        shapes[f'features.{i}.0.weight'] = (inputs, 1, 3, 3)
        shapes |= norm_shapes(f'features.{i}.2', inputs)
        shapes[f'features.{i}.4.weight'] = (outputs, inputs, 1, 1)
        shapes |= norm_shapes(f'features.{i}.5', outputs)
    shapes |= linear_shapes('fc1', 1024, 1024)
    return shapes | linear_shapes('fc_audioset', 1024, 527)


def yamnet_shapes():
    """Keys and shapes of the port of YAMNet to PyTorch."""
    widths = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    shapes = {'layer1.fused.conv.weight': (32, 1, 3, 3)} | norm_shapes('layer1.fused.bn', 32)
    for i, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:], strict=True), 2):
        shapes[f'layer{i}.depthwise_conv.conv.weight'] = (inputs, 1, 3, 3)
        shapes |= norm_shapes(f'layer{i}.depthwise_conv.bn', inputs)
        shapes[f'layer{i}.pointwise_conv.conv.weight'] = (outputs, inputs, 1, 1)
        shapes |= norm_shapes(f'layer{i}.pointwise_conv.bn', outputs)
    return shapes | linear_shapes('classifier', 1024, 521)


def ast_shapes(n_tokens, num_classes, width=768, depth=12):
    """Keys and shapes of AST by its authors, without the heads for ImageNet."""
    shapes = {f'v.{name}_token': (1, 1, width) for name in ('cls', 'dist')}
    shapes |= {'v.pos_embed': (1, n_tokens, width)}
    shapes |= {'v.patch_embed.proj.weight': (width, 1, 16, 16), 'v.patch_embed.proj.bias': (width,)}
    for i in range(depth):
        block = f'v.blocks.{i}'
        for norm in ('norm1', 'norm2'):
            shapes |= {f'{block}.{norm}.{leaf}': (width,) for leaf in ('weight', 'bias')}
        shapes |= linear_shapes(f'{block}.attn.qkv', width, 3 * width)
        shapes |= linear_shapes(f'{block}.attn.proj', width, width)
        shapes |= linear_shapes(f'{block}.mlp.fc1', width, 4 * width)
        shapes |= linear_shapes(f'{block}.mlp.fc2', 4 * width, width)
    for norm in ('v.norm', 'mlp_head.0'):
        shapes |= {f'{norm}.{leaf}': (width,) for leaf in ('weight', 'bias')}
    return shapes | linear_shapes('mlp_head.1', width, num_classes)


def passt_shapes(rows, columns, num_classes, width=768, depth=12):
    """Keys and shapes of PaSST by its authors, the second head too."""
    shapes = {}
    for key, shape in ast_shapes(0, num_classes, width, depth).items():
        if key != 'v.pos_embed':
            shapes[key.removeprefix('v.').replace('mlp_head', 'head')] = shape
    shapes |= {'new_pos_embed': (1, 2, width), 'freq_new_pos_embed': (1, width, rows, 1)}
    shapes |= {'time_new_pos_embed': (1, width, 1, columns)}
    return shapes | linear_shapes('head_dist', width, num_classes)


def state_dict(shapes, **options):
    """Fills all keys by rule."""
    return {key: torch_tensor(key, *shape, **options) for key, shape in shapes.items()}
