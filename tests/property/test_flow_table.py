"""The vectorised hash table against a dict, however the keys fall."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakizashi.model import Tally
from wakizashi.probe.ring.table import FlowTable

MULTIPLIER = 0x9E3779B97F4A7C15
INVERSE = pow(MULTIPLIER, -1, 2**64)


def one_row(number: int) -> int:
    """Keys that all begin their search in row 0, for their products' high bits are zero."""
    return number * INVERSE % 2**64


def last_row(number: int) -> int:
    """Keys that all begin their search in the last row, so that it goes on in the first."""
    return -(number + 1) * INVERSE % 2**64


def keys(words: int) -> st.SearchStrategy[tuple[int, ...]]:
    few = st.integers(0, 5)
    any_word = st.integers(0, 2**64 - 1)
    crowded = st.integers(0, 2_000).map(one_row)
    wrapped = st.integers(0, 2_000).map(last_row)
    return st.tuples(*[st.one_of(few, any_word, crowded, wrapped)] * words)


def batches(words: int) -> st.SearchStrategy[list[list[tuple[tuple[int, ...], int]]]]:
    packets = st.tuples(keys(words), st.integers(1, 2**40))
    return st.lists(st.lists(packets, max_size=60), max_size=8)


def feed(table: FlowTable, batch: Sequence[tuple[tuple[int, ...], int]], words: int) -> None:
    columns = [np.array([key[w] for key, _ in batch], np.uint64) for w in range(words)]
    table.add(columns, np.array([size for _, size in batch], np.int64))


def packed(key: tuple[int, ...]) -> bytes:
    return b"".join(word.to_bytes(8, "little") for word in key)


@given(data=st.data(), words=st.sampled_from([1, 4]), limit=st.sampled_from([0, 1, 7, 10**6]))
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
            # One that was let in had no packet before, for the table never gets room again.
            assert all(model[key] == tally for key, tally in taken.items())


@settings(max_examples=30)
@given(
    words=st.sampled_from([1, 4]),
    flows=st.integers(1, 3_000),
    seed=st.integers(0, 2**32 - 1),
    limit=st.sampled_from([255, 256, 257, 1_000, 10**6]),
    spread=st.sampled_from(["any", "few bits", "one row"]),
)
def test_large_batches_agree_with_a_dict_while_it_grows(
    words: int, flows: int, seed: int, limit: int, spread: str
) -> None:
    """Any multiplier will do, so here it is the random one."""
    random = np.random.default_rng(seed)
    pool = random.integers(0, 2**64, (flows, words), np.uint64, endpoint=False)
    if spread == "few bits":
        pool &= np.uint64(0xFF)
    if spread == "one row":
        pool[:, 0] = [one_row(n % 97) for n in range(flows)]
        pool[:, 1:] = pool[:, 1:] >> np.uint64(60)
    table = FlowTable(words, limit, MULTIPLIER if spread == "one row" else None)
    for _ in range(2):
        model, total = dict[bytes, Tally](), Tally()
        for _ in range(3):
            picked = random.integers(0, flows, 2 * flows)
            sizes = random.integers(1, 65_536, picked.size)
            table.add([np.ascontiguousarray(pool[picked, w]) for w in range(words)], sizes)
            for key, size in zip(pool[picked], sizes.tolist(), strict=True):
                name = key.astype("<u8").tobytes()
                model[name] = model.get(name, Tally()) + Tally(1, size)
                total += Tally(1, size)
        other = table.other
        taken = dict(table.take())
        assert sum(taken.values(), other) == total
        assert len(taken) == min(len(model), limit)
        assert all(model[key] == tally for key, tally in taken.items())


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


def test_a_search_goes_on_from_the_last_row_to_the_first() -> None:
    table = FlowTable(1, 10**6, MULTIPLIER)
    wanted = np.array([last_row(n) for n in range(200)], np.uint64)
    assert set(table._home([wanted]).tolist()) == {1_023}, "the keys are made wrong"
    for _ in range(2):
        table.add([wanted], np.full(200, 10))
    assert dict(table.take()) == {packed((int(key),)): Tally(2, 20) for key in wanted}


def test_flows_that_were_counted_keep_their_counts_when_it_grows() -> None:
    """In both kinds, one flow more at a time over several growths."""
    for words in (1, 4):
        table, model = FlowTable(words, 10**6), dict[bytes, Tally]()
        for first in range(0, 1_500, 100):
            batch = [((n, *range(n, n + words - 1)), n + 1) for n in range(first, first + 150)]
            feed(table, batch, words)
            for key, size in batch:
                model[packed(key)] = model.get(packed(key), Tally()) + Tally(1, size)
        assert dict(table.take()) == model


@pytest.mark.parametrize("word", range(4))
def test_each_word_of_a_key_is_compared(word: int) -> None:
    """Keys that differ in one word alone, and begin their search in the same row."""
    table = FlowTable(4, 10**6, MULTIPLIER)
    columns = [np.full(100_000, 7, np.uint64) for _ in range(4)]
    columns[word] = np.arange(100_000, dtype=np.uint64)
    near = table._home(columns) == 3
    columns = [column[near] for column in columns]
    count = int(near.sum())
    assert count > 30, "the keys are made wrong"
    for _ in range(2):
        table.add(columns, np.full(count, 10))
    taken = dict(table.take())
    assert len(taken) == count
    assert set(taken.values()) == {Tally(2, 20)}


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
