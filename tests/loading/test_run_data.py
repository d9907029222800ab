"""What is said of data before anything is learned from them."""

import types

import numpy as np

from genre_jax.loading import run_data


def said(*songs):
    """songs: (label, artist, group)"""
    tracks = [{'label': label, 'artist': artist, 'group': group} for label, artist, group in songs]
    dataset = types.SimpleNamespace(
        tracks=tracks,
        labels=sorted({track['label'] for track in tracks}),
        column=lambda name: np.array([track[name] for track in tracks]),
    )
    return run_data._odd_groups(dataset)


def test_artists_that_are_none():
    songs = [('jig', 'Various Artists', 'v'), ('reel', 'Various Artists', 'v'), ('reel', 'A', 'a')]
    (line,) = said(*songs, ('jig', 'B', 'b'), ('reel', 'C', 'c'))
    assert line.startswith("2 songs have the artist 'Various Artists'")
    assert said(('jig', '', 'x'), ('reel', 'Unknown Mortal Orchestra', 'y')) == []


def test_a_group_that_holds_most_of_a_class():
    songs = [('jig', 'A', 'a')] * 3 + [('jig', 'B', 'b')] * 2 + [('reel', 'C', 'c')] * 2
    (line,) = said(*songs, ('reel', 'D', 'd'), ('reel', 'E', 'e'))
    assert line == "3 of 5 songs of class 'jig' are of one group (a)"
