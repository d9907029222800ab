"""Writes the embeddings that a network gives for the windows of each part of a split.

    python -m genre_jax.embeddings --config=configs/finetune.py:model=yamnet --config.data.root=DIR \
        --workdir=runs/embeddings [--embeddings_of=RUN] [--csv=embeddings.csv] \
        [--layers=last,6,mean] [--pooling=mean|class|tokens]

The network is config.init.checkpoint (here the published YAMNet), or that of `--embeddings_of`: a
finished run, whose model, front end and length of a window are taken, a conversion, a checkpoint's file or a
published name. DIR may hold other recordings, with other classes, than the network was trained on.

Layers are counted from 0, before the output layer: 6 is the seventh, `last` the network's own embedding,
`mean` that of all layers where they have one width. Several stand side by side, in the order of --layers.
The places of a layer are pooled by their mean; in a transformer with a class token `class` is that alone,
`tokens` all special tokens and the mean of the others (of AST and MAEST 3 x 768 units); docs/transfer.md.

Writes train.npz, val.npz and test.npz with track, start_s, label, embedding and classes, and, for
configs/mlp_features.py and other programs, a CSV with filename, label, song, group, split and a column for
each unit.
"""

from collections.abc import Iterator, Mapping

from absl import flags

from genre_jax import program
from genre_jax.errors import say

_OF = flags.DEFINE_string('embeddings_of', '', 'the network, in the place of config.init.checkpoint')
_LAYERS = flags.DEFINE_list('layers', ['last'], 'last, mean or numbers from 0; with commas between them')
_POOLING = flags.DEFINE_enum('pooling', 'mean', ['mean', 'class', 'tokens'], 'of the places of a layer')
_CSV = flags.DEFINE_string('csv', '', 'table to write')


def rows(parts: Mapping, groups: Mapping[str, str]) -> Iterator[list]:
    """Yields embeddings by part, with the group of every song, as a table that data/feature_table reads."""
    units = parts['train'].embedding.shape[1]
    yield ['filename', 'label', 'song', 'group', 'split', *(f'unit_{i}' for i in range(units))]
    for part, each in parts.items():
        windows = zip(each.track, each.classes[each.label], each.embedding, strict=True)
        for number, (song, label, values) in enumerate(windows):
            facts = [f'{song}@{number}', label, song, groups[str(song)], part]
            yield [*facts, *values.tolist()]


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    config, workdir = program.prepare(argv)

    from genre_jax.embeddings import network as embeddings
    from genre_jax.errors import UserError
    from genre_jax.loading import run_data
    from genre_jax.logbook import write_rows
    from genre_jax.run import folder as run_folder

    checkpoint = _OF.value or config.init.checkpoint
    if not checkpoint:
        raise UserError(
            'no network: expected --embeddings_of=RUN, or a page with config.init.checkpoint, such as '
            'configs/finetune.py'
        )
    if 'weighted' in _LAYERS.value:
        raise UserError(
            '--layers=weighted: the weights are learnt with a task; expected numbers, mean or last, or '
            'python -m genre_jax.transfer'
        )
    table = program.file_to_write('csv', _CSV.value) if _CSV.value else None
    with run_folder.own(workdir):
        parts = embeddings.embed(config, checkpoint, workdir / 'cache', _LAYERS.value, _POOLING.value)
        for part, each in parts.items():
            each.save(workdir / f'{part}.npz')
        if table:
            dataset = run_data.open_dataset(config)
            groups = {track['track']: track['group'] for track in dataset.tracks}
            write_rows(table, rows(parts, groups))
    units = parts['train'].embedding.shape[1]
    counts = ', '.join(f'{part} {len(each.label)}' for part, each in parts.items())
    say(f'{checkpoint}: {units} units for each window; windows: {counts}; folder: {workdir}')


if __name__ == '__main__':
    program.run(main)
