"""Networks of the packages that hold the code of encoders' authors, with random weights.

`make parity_code` installs the packages into a folder of their own (requirements-parity-code.txt), of which
`packages` lets single modules be read; what those load and never call here is left empty.
"""

from __future__ import annotations

import contextlib
import importlib.util
import pathlib
import sys
import types
from collections.abc import Callable, Iterator

import torch

_FOLDER = pathlib.Path(sys.prefix, 'parity_code')
# torchaudio's library in C++, which needs a PyTorch for GPUs, and how timm downloads weights.
_EMPTY = {
    'torchaudio._extension': {'_IS_TORCHAUDIO_EXT_AVAILABLE': False, 'fail_if_no_align': lambda call: call},
    'timm': {'__path__': []},
    'timm.models': {'__path__': []},
    'timm.models._hub': {'download_cached_file': None},
}


@contextlib.contextmanager
def packages() -> Iterator[None]:
    """Lets the packages be found, which nothing else in this process is to find (transformers)."""
    if not _FOLDER.is_dir():
        raise SystemExit(f'{_FOLDER} is missing: make parity_code installs it')
    known = {path.name for path in _FOLDER.iterdir()} | set(_EMPTY)
    sys.path.append(str(_FOLDER))
    try:
        for name, contents in _EMPTY.items():
            sys.modules[name] = types.ModuleType(name)
            vars(sys.modules[name]).update(contents)
        for module in ('transforms', 'compliance.kaldi'):
            without_init('torchaudio', module)
        yield
    finally:
        sys.path.remove(str(_FOLDER))
        for name in [name for name in sys.modules if name.partition('.')[0] in known]:
            del sys.modules[name]


def without_init(package: str, module: str) -> types.ModuleType:
    """Imports a module of an installed package without running the package's __init__."""
    if package not in sys.modules:
        stub = types.ModuleType(package)
        stub.__path__ = list(importlib.util.find_spec(package).submodule_search_locations)
        sys.modules[package] = stub
    return importlib.import_module(f'{package}.{module}')


class Called(torch.nn.Module):
    """A network of the packages that is called in its own way."""

    def __init__(self, make: Callable, call: Callable) -> None:
        """`make` makes the network; `call` takes it and pictures, and returns logits."""
        super().__init__()
        with packages():
            self.network = make()
        self.call = call

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Returns logits."""
        return self.call(self.network, pictures)


def efficientat_logits(num_classes: int) -> Called:
    """Returns `efficientat` of one picture an example, without its embedding."""
    return Called(lambda: efficientat(num_classes), lambda network, pictures: network(pictures)[0][:, 0])


def efficientat(num_classes: int, width: float = 1.0) -> torch.nn.Module:
    """Returns ssondo's, whose head is that of the authors without two layers that have no parameters."""
    without_init('torchvision', 'utils')
    without_init('torchvision.ops', 'misc')
    module = without_init('ssondo', 'models.MobileNetV3.model')
    return module.get_model(num_classes, width_mult=width, classification_head=True)


def passt(num_classes: int, **sizes: object) -> torch.nn.Module:
    """Returns hear21passt's."""
    module = without_init('hear21passt', 'models.passt')
    module.first_RUN = False  # else it prints
    return module.PaSST(num_classes=num_classes, distilled=True, **sizes)


def maest(num_classes: int, **sizes: object) -> torch.nn.Module:
    """Returns maest-infer's."""
    from maest_infer import MAEST

    return MAEST(num_classes=num_classes, distilled=True, **sizes)


def beats(**config: object) -> torch.nn.Module:
    """Returns deepaudio-x's copy of the authors', which has left out the call of the predictor."""
    without_init('deepaudiox', 'modules')
    module = without_init('deepaudiox.modules.backbones', 'beats.beats_modules.BEATs')
    return module.BEATs(module.BEATsConfig(config))


def dasheng(**config: object) -> torch.nn.Module:
    """Returns the authors', without an output layer."""
    return without_init('dasheng', 'pretrained.pretrained').Dasheng(**config)
