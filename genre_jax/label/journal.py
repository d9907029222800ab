"""What has been labelled already: a line of JSON a recording, so that a labelling that was killed goes on."""

import base64
import json
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from genre_jax.data.files import readable
from genre_jax.errors import BadAudio, UserError
from genre_jax.label.classifier import Answer

_COLUMNS = ('logits', 'sureness', 'tonic')


class Journal:
    """The journal in a folder, of what was labelled with the same settings."""

    def __init__(self, folder: pathlib.Path, settings: Mapping) -> None:
        """Reads what is there; a UserError where that was made with other settings, or is damaged."""
        self._file = folder / 'journal.jsonl'
        self._lines: dict[str, dict] = {}
        settings = json.loads(json.dumps(settings))
        lines = self._file.read_bytes().splitlines(keepends=True) if self._file.exists() else []
        if lines and not lines[-1].endswith(b'\n'):  # a kill cut it off
            lines.pop()
        made_with = settings
        for number, line in enumerate(lines, 1):
            try:
                content = json.loads(line)
                if number == 1:
                    made_with = dict(content['settings'])
                else:
                    self._lines[content['path']] = content
            except (ValueError, KeyError, TypeError):
                raise UserError(
                    f'{self._file}, line {number} is damaged: restore it, or use another --out'
                ) from None
        if differ := [key for key in settings if made_with.get(key) != settings[key]]:
            raise UserError(
                f'--out={folder} holds labels made with another {", ".join(differ)}: use another --out'
            )
        temporary = self._file.with_suffix('.tmp')
        temporary.write_bytes(b''.join(lines) or (json.dumps({'settings': settings}) + '\n').encode())
        temporary.replace(self._file)

    def find(self, path: str) -> Answer | BadAudio | None:
        """Returns the answer to a file, or why it is bad; None: nothing is known, or it is another by now."""
        line = self._lines.get(readable(path))
        try:
            if line is None or line['state'] != _state(path):
                return None
            if 'bad' in line:
                return BadAudio(line['bad'])
            flat = [np.frombuffer(base64.b64decode(line[key]), '<f4') for key in _COLUMNS]
            logits, sureness, tonic = (
                each.reshape(line['windows'], each.size // line['windows']) for each in flat
            )
            return Answer(int(line['n_samples']), logits, sureness[:, 0], tonic)
        except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError):
            raise UserError(
                f'{self._file}: what it says of {path} is damaged: restore it, or use another --out'
            ) from None

    def add(self, path: str, found: Answer | BadAudio) -> None:
        """Notes what `find` shall return of a file."""
        line = {'path': readable(path), 'state': _state(path)}
        if isinstance(found, BadAudio):
            line['bad'] = str(found)
        else:
            line |= {'n_samples': found.n_samples, 'windows': len(found.logits)}
            for key in _COLUMNS:
                line[key] = base64.b64encode(getattr(found, key).astype('<f4').tobytes()).decode()
        self._lines[line['path']] = line
        with self._file.open('a') as stream:
            stream.write(json.dumps(line) + '\n')


def _state(path: str) -> list[int]:
    """Returns what tells whether a file is the one that it was."""
    try:
        status = os.stat(path)
    except OSError:
        return [-1, 0]
    return [status.st_size, status.st_mtime_ns]
