"""What a user meets whose split leaks: refusal, removal, or figures that are marked everywhere."""

import numpy as np
import pytest
import soundfile

from tests import program


@pytest.fixture(scope='module')
def planted(tmp_path_factory):
    """Nine songs a class in the user's own split; a test song stands in train as well, softer and cut."""
    home = tmp_path_factory.mktemp('leaky')
    root = program.write_tones(home / 'tones', songs=9)
    rows = ['path,label,album,split']
    for label in ('low', 'mid', 'high'):
        for song in range(9):
            part = ('train', 'val', 'test')[song // 3]
            rows.append(f'{label}/{song:02d}.wav,{label},,{part}')
    # The tones are too short to be told from a sample that two songs share.
    audio, rate_hz = 0.1 * np.random.default_rng(0).standard_normal(10 * 22050), 22050
    soundfile.write(root / 'mid' / '08.wav', audio, rate_hz)
    soundfile.write(root / 'mid' / 'again.flac', 0.4 * audio[int(0.3 * rate_hz) :], rate_hz)
    rows.append('mid/again.flac,mid,,train')
    (root / 'tracks.csv').write_text('\n'.join(rows))
    return home


def run(planted, name, *flags):
    flags = ('--config.split.protocol=official', '--config.train.length=1 epochs', *flags)
    words = program.command(planted / name, planted / 'tones', planted / 'prepared', *flags)
    return program.run(words)


def test_a_copy_in_another_part_is_refused(planted):
    done = run(planted, 'refused')
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith('error: the official split leaks: 1 of 27 groups stand in several parts')
    for word in ('mid/again.flac', 'mid/08.wav', 'remove_crossing=True', 'allow_leak=True'):
        assert word in line
    assert 'Traceback' not in done.stderr


@pytest.mark.slow
def test_it_is_removed_where_that_is_asked_for(planted):
    done = run(planted, 'removed', '--config.split.remove_crossing=True')
    assert done.returncode == 0, done.stderr
    result = program.result(planted / 'removed')
    assert not result['leaky'] and result['audit'] == []
    assert '1 of 10 songs of train and 0 of 9 songs of val removed' in result['protocol_detail']
    assert result['n_songs'] == {'train': 9, 'val': 9, 'test': 9}
    assert 'LEAKY' not in done.stdout + (planted / 'removed' / 'report.html').read_text()


@pytest.mark.slow(but='allowed')
@pytest.mark.parametrize(('name', 'protocol'), [('allowed', 'official'), ('segments', 'segment_leaky')])
def test_every_figure_is_marked_where_a_leak_is_allowed(planted, name, protocol):
    flags = ('--config.split.allow_leak=True', f'--config.split.protocol={protocol}')
    done = run(planted, name, '--config.split.folds=3', *flags)
    assert done.returncode == 0, done.stderr
    result = program.result(planted / name)
    assert result['leaky'] and result['protocol'] == protocol and result['audit']
    assert f'protocol {protocol}' in done.stdout
    assert np.all(['LEAKY' in line for line in done.stdout.splitlines() if line.startswith('protocol ')][-1:])
    page = (planted / name / 'report.html').read_text()
    assert page.count('LEAKY') > 3 and '<title>LEAKY' in page
