"""Embeddings of networks that learnt elsewhere, tried on another dataset with simple heads.

    python -m genre_jax.transfer --sources=runs/western,musicnn_msd,untrained,mfcc \
        --config=configs/finetune.py --config.data.root=TARGET --workdir=runs/transfer \
        [--heads=logistic,mean_logistic,knn,linear,attention] [--folds=5] [--bag=song|group] [--seeds=5] \
        [--layers=last,6,mean,weighted,best] [--pooling=mean|class|tokens] [--windows=page|own]

A source is the folder of a finished run, a converted checkpoint, a checkpoint's file or a published name
(genre_jax/convert/fetch.py). `untrained` adds to each of them the same network with random weights, the
control: what is not above it has not been transferred. `mfcc` is the handcrafted baseline, means and
deviations of 20 MFCCs in each window. A source's front end is its own; a run keeps the length of its windows,
others take the page's, or with --windows=own each the one that it was published with, musicnn 3 s and MAEST
30 s: of as many windows they then hear more or less of a song. TARGET may have any classes. To go both ways,
run it twice.

--layers reads every network at several of its layers, each a source of its own, all of them in one pass:
`last` is the network's own embedding, 6 the seventh layer (models/layers.py), `mean` the mean of all layers,
`weighted` their sum with weights that the heads linear and attention learn, `best` that which validation
likes best of those named here, or else of last and all numbers. --pooling is what becomes of the places of a
layer.

Heads (genre_jax/transfer/heads.py) are fitted to the target's training part, their strength is chosen on its
validation part (accuracy by song, of equal ones the lower log loss), and the test part is opened once. With
`--folds=5` every song of the target is tested once, by heads that never saw its group; small targets need
that. What a published network heard in its own training is not known: if it was TARGET, no split shows it.

Prints the accuracy by song of each source and head, with 95 % intervals, and the paired differences to the
control and to the first source, and how long the embeddings took; writes transfer.csv and a page, index.html.
Every cell has a run folder, WORKDIR/SOURCE/HEAD[/fold_N]; `attention` also keeps how much each window counted
(attention.npz), which the page shows for some songs. The same command again fits only what is missing.

Two heads, two sources, or a head and a fine-tuned network of the same split are one ensemble by
`python -m genre_jax.blend --level=song --members=runs/transfer/musicnn_msd/attention,...`.
"""

from absl import flags

from genre_jax import program
from genre_jax.errors import say

_SOURCES = flags.DEFINE_list('sources', [], 'networks, untrained, mfcc; default: config.init.checkpoint')
_HEADS = flags.DEFINE_list('heads', [], 'with commas between them; default: all')
_FOLDS = flags.DEFINE_integer('folds', 0, 'folds of a cross-validation; 0: one split')
_BAG = flags.DEFINE_enum('bag', 'song', ['song', 'group'], 'what is pooled to one answer')
_SEEDS = flags.DEFINE_integer('seeds', 5, 'networks of the heads linear and attention', lower_bound=1)
_LAYERS = flags.DEFINE_list(
    'layers', ['last'], 'last, numbers, mean, weighted, best; with commas between them'
)
_WINDOWS = flags.DEFINE_enum('windows', 'page', ['page', 'own'], 'how long they are for what is no run')
_POOLING = flags.DEFINE_enum('pooling', 'mean', ['mean', 'class', 'tokens'], 'of the places of a layer')


def main(argv: list[str]) -> None:
    """Runs what the flags say."""
    config, workdir = program.prepare(argv)

    from genre_jax.run import folder as run_folder
    from genre_jax.study.table import write_csv
    from genre_jax.transfer import fits as transfer_fits
    from genre_jax.transfer import heads as transfer_heads
    from genre_jax.transfer import table as transfer_report

    heads = _HEADS.value or list(transfer_heads.SETTINGS)
    sources = _SOURCES.value or [config.init.checkpoint]
    transfer_fits.check(config, sources, heads, _FOLDS.value, _LAYERS.value)
    with run_folder.own(workdir):
        result = transfer_fits.measure(
            config,
            workdir,
            sources,
            heads,
            _FOLDS.value,
            _BAG.value,
            _SEEDS.value,
            _LAYERS.value,
            _POOLING.value,
            _WINDOWS.value,
        )
        facts = {key: result[key] for key in ('protocol', 'folds', 'bag', 'songs', 'groups')}
        write_csv([figure | facts for figure in result['figures']], workdir / 'transfer.csv')
        transfer_report.write_page(result, workdir)
    say('', *transfer_report.table(result).split('\n'))
    say('', f'figures: {workdir / "transfer.csv"}', f'page:    {workdir / "index.html"}')


if __name__ == '__main__':
    program.run(main)
