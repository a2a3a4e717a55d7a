"""The vectorised hash table against a dict, however the keys fall."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wakizashi.model import Tally
from wakizashi.probe.ring.table import FlowTable

MULTIPLIER = 0x9E3779B97F4A7C15
INVERSE = pow(MULTIPLIER, -1, 2**64)


def one_row(number: int) -> int:
    """Keys that all begin their search in row 0, for their products' high bits are zero."""
    return number * INVERSE % 2**64


def keys(words: int) -> st.SearchStrategy[tuple[int, ...]]:
    few = st.integers(0, 5)
    any_word = st.integers(0, 2**64 - 1)
    crowded = st.integers(0, 2_000).map(one_row)
    return st.tuples(*[st.one_of(few, any_word, crowded)] * words)


def batches(words: int) -> st.SearchStrategy[list[list[tuple[tuple[int, ...], int]]]]:
    packets = st.tuples(keys(words), st.integers(1, 2**40))
    return st.lists(st.lists(packets, max_size=60), max_size=8)


def feed(table: FlowTable, batch: Sequence[tuple[tuple[int, ...], int]], words: int) -> None:
    columns = [np.array([key[w] for key, _ in batch], np.uint64) for w in range(words)]
    table.add(columns, np.array([size for _, size in batch], np.int64))


def packed(key: tuple[int, ...]) -> bytes:
    return b"".join(word.to_bytes(8, "little") for word in key)


@settings(deadline=None)
@given(data=st.data(), words=st.sampled_from([1, 4]), limit=st.sampled_from([1, 7, 10**6]))
def test_agrees_with_a_dict(data: st.DataObject, words: int, limit: int) -> None:
    table = FlowTable(words, limit, MULTIPLIER)
    for _ in range(2):  # it is used again after take()
        total, model = Tally(), dict[bytes, Tally]()
        for batch in data.draw(batches(words)):
            feed(table, batch, words)
            for key, size in batch:
                total += Tally(1, size)
                model[packed(key)] = model.get(packed(key), Tally()) + Tally(1, size)
        assert table.flows == min(len(model), limit)
        other = table.other
        taken = dict(table.take())
        assert sum(taken.values(), other) == total
        if len(model) <= limit:
            assert taken == model
            assert other == Tally()
        else:
            assert len(taken) == limit
            assert all(model[key] == tally for key, tally in taken.items() if limit > 60)
            assert all(tally.packets <= model[key].packets for key, tally in taken.items())


def test_grows_and_counts_each_of_many_flows_that_want_one_row() -> None:
    count = 5_000
    table = FlowTable(1, 10**6, MULTIPLIER)
    wanted = np.array([one_row(n) for n in range(count)], np.uint64)
    for _ in range(3):
        table.add([wanted], np.arange(1, count + 1))
    taken = dict(table.take())
    assert taken == {
        int(key).to_bytes(8, "little"): Tally(3, 3 * (n + 1)) for n, key in enumerate(wanted)
    }
    assert dict(table.take()) == {}


def test_keys_of_four_words_that_mix_alike_are_kept_apart() -> None:
    """The last word makes up for any other: mixed + word is one number for all of these."""
    table = FlowTable(4, 10**6, MULTIPLIER)
    alike = []
    for first in range(40):
        mixed = 0
        for word in (first, 7, 9):
            mixed ^= mixed >> 32
            mixed = (mixed + word) * MULTIPLIER % 2**64
        mixed ^= mixed >> 32
        alike.append((first, 7, 9, -mixed % 2**64))
    columns = [np.array([key[w] for key in alike], np.uint64) for w in range(4)]
    assert len(set(table._mix(columns).tolist())) == 1, "the keys are made wrong"
    feed(table, [(key, 10) for key in alike] * 2, 4)
    assert dict(table.take()) == {packed(key): Tally(2, 20) for key in alike}


def test_the_multiplier_is_random() -> None:
    assert FlowTable(1, 1)._multiplier != FlowTable(1, 1)._multiplier
    assert FlowTable(1, 1)._multiplier & np.uint64(1) == 1
