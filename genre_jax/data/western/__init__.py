"""Bluegrass, country or folk: your recordings of the three genres of Kirby and Bhateja (docs/datasets)."""

import dataclasses
from collections.abc import Collection

from genre_jax.data import digests, files, folder
from genre_jax.errors import UserError

LABELS = ('bluegrass', 'country', 'folk')
# Percent of the songs of a class for each part: Kirby and Bhateja, section 3.2.
_PAPER_PERCENT = {'train': 75, 'val': 10, 'test': 15}


class Source(folder.SourceWithPaperList):
    """A folder, as data/folder reads it, with the classes bluegrass, country and folk."""

    name = 'western'
    subject = (
        'recordings of bluegrass, country and folk, as in Kirby and Bhateja, Music Subgenre '
        'Classification with Deep Neural Networks'
    )

    def list_files(self) -> files.Listing:
        """Lists what the CSV or the folders name, of exactly the three classes; labels become lower case."""
        listed, recordings = super().list_files(), []
        for recording in listed.recordings:
            label = recording.label.casefold()
            if label not in LABELS:
                raise UserError(
                    f'{self.root}: {recording.path} is labelled {recording.label!r}, none of '
                    f'{", ".join(LABELS)}; take that class out, or use the dataset folder, which takes '
                    'any classes'
                )
            recordings.append(dataclasses.replace(recording, label=label))
        if missing := sorted(set(LABELS) - {recording.label for recording in recordings}):
            raise UserError(
                f'{self.root} holds no recording of {" and ".join(missing)}; expected all of '
                f'{", ".join(LABELS)}'
            )
        return dataclasses.replace(listed, recordings=recordings)

    def draw(self, label: str, paths: Collection[str]) -> dict[str, str]:
        """Assigns 75, 10 and 15 % of a class's songs at random, by nothing but the paths and the seed."""
        order = sorted(paths, key=lambda path: digests.of_text(f'{self._paper_seed}/{path}'))
        counts = paper_counts(len(order))
        names = [part for part, count in counts.items() for _ in range(count)]
        return dict(zip(order, names, strict=True))


def paper_counts(n_songs: int) -> dict[str, int]:
    """Divides a class's songs 75:10:15 by largest remainders; of three or more, each part gets one."""
    counts, rests = {}, {}
    for part, percent in _PAPER_PERCENT.items():
        counts[part], rests[part] = divmod(n_songs * percent, 100)
    for part in sorted(rests, key=rests.get, reverse=True)[: n_songs - sum(counts.values())]:
        counts[part] += 1
    for part in counts:
        if not counts[part] and n_songs >= len(counts):
            counts[max(counts, key=counts.get)] -= 1
            counts[part] = 1
    return counts
