"""Random streams: the fast way to make one gives the stream of the definition."""

import threading

import numpy as np

from flowdata.seeding import sample_rng, streams

KEYS = [(0, 0, 0, "crop"), (7, 3, 2**40, "crop"), (2**64 - 1, 2**63, 2**64 - 1, "coin_flip"), (1, 0, 5, "größe")]


def draws(rng):
    """Of several kinds: some keep half a word for the next draw."""
    return [rng.random(dtype=np.float32), rng.integers(0, 10, 3).tolist(), rng.random(), rng.normal(size=3).tolist()]


def test_reused_streams_are_those_of_the_definition():
    with streams() as stream:
        for key in KEYS * 2:
            rng = stream(*key)
            assert draws(rng) == draws(sample_rng(*key))
            rng.random(dtype=np.float32)  # leaves the generator in the middle of a word


def test_a_block_within_a_block_has_its_own():
    with streams() as outer:
        rng = outer(*KEYS[0])
        first = rng.random()
        with streams() as inner:
            inner(*KEYS[1]).random(100)
        assert [first, rng.random()] == sample_rng(*KEYS[0]).random(2).tolist()


def test_threads_do_not_share_one():
    expected = {key: sample_rng(*key).random(20_000).tolist() for key in KEYS}
    found, start = {}, threading.Barrier(len(KEYS))

    def draw(key):
        start.wait(10)
        with streams() as stream:
            rng = stream(*key)
            found[key] = [rng.random() for _ in range(20_000)]

    threads = [threading.Thread(target=draw, args=(key,)) for key in KEYS]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == expected


def test_a_raising_block_gives_its_generator_back():
    for _ in range(2):
        try:
            with streams() as stream:
                stream(*KEYS[0]).random()
                raise KeyError
        except KeyError:
            pass
    with streams() as stream:
        assert stream(*KEYS[0]).random() == sample_rng(*KEYS[0]).random()
