"""The pure parts of the Redis backend: URLs, keys, and what a window becomes."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from tests.center_windows import START, window
from wakizashi.center.aggregate import aggregate
from wakizashi.center.backend import open_backend
from wakizashi.center.config import load_center
from wakizashi.center.redis.hashes import (
    PERIOD_MS,
    Command,
    Keys,
    decode_ledgers,
    decode_traffic,
    encode_window,
    period,
)
from wakizashi.center.redis.url import Place
from wakizashi.errors import ConfigError
from wakizashi.model import StoredWindow, Tally, TrafficRecord

KEYS = Keys("wakizashi", "traffic")


def settings(*pairs: str) -> list[str]:
    return ["backendConfig.type=redis", *(f"backendConfig.redisConfig.{pair}" for pair in pairs)]


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("redis://", None),
        ("redis://r", (("r", 6379),)),
        ("redis://r:7000/3", (("r", 7000),)),
        ("redis://user:p%40ss@r/", (("r", 6379),)),
        ("rediss://[::1]:7000?ssl_ca_certs=/ca.pem", (("::1", 7000),)),
        ("redis+cluster://a,b:7000", (("a", 6379), ("b", 7000))),
        ("rediss+cluster://:secret@a/0", (("a", 6379),)),
        ("unix:///run/r.sock?db=2", (("", 0),)),
    ],
)
def test_urls(url: str, addresses: tuple[tuple[str, int], ...] | None) -> None:
    if addresses is None:
        with pytest.raises(ValueError, match="has no host"):
            Place.parse(url)
        return
    place = Place.parse(url)
    assert place.addresses == addresses
    assert (place.cluster, place.tls) == ("cluster" in url, "rediss" in url)
    assert "@" not in place.shown and "secret" not in repr(place)


def test_what_a_url_holds() -> None:
    place = Place.parse("redis://user:p%40ss@r/3")
    assert (place.user, place.password, place.db) == ("user", "p@ss", 3)
    place = Place.parse("unix:///run/r.sock?db=2")
    assert (place.socket, place.db) == ("/run/r.sock", 2)
    place = Place.parse("rediss://r?ssl_ca_certs=%2Fca.pem")
    assert place.options == (("ssl_ca_certs", "/ca.pem"),)


@pytest.mark.parametrize(
    ("pair", "part"),
    [
        ("url=redis.example", "url: 'redis.example' has no scheme; try redis://HOST:6379"),
        ("url=http://:hidden@r", "url: 'http://…r' has another scheme than redis, rediss"),
        ("url=redis://:hidden@r:x", "url: 'redis://…r:x' has no host, or no port"),
        (
            "url=redis://:hid/den@r",
            "url: 'redis://…r' has '/', '?' or '#' before its '@'; write %2F",
        ),
        ("url=redis://:hid?den@r", "url: 'redis://…r' has '/', '?' or '#' before its '@'"),
        ("url=redis://[::1", "is no URL; try redis://"),
        ("url=redis://a,b", "if they are a cluster write redis+cluster://"),
        ("url=redis://r/x", "not the number of a database; try /0"),
        ("url=redis+cluster://r/1", "a cluster has none but 0"),
        ("url=redis://r?password=hidden", "leave the rest out"),
        ("url=redis://r?hidden", "leave the rest out"),
        ("url=unix://r/x", "try unix:///run/redis"),
        ("ttl=59", "ttl: 59 is less than 60"),
        ("urll=x", "unknown key; did you mean url?"),
    ],
)
def test_faults_of_the_configuration(pair: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_center(None, settings(pair), {})
    message = str(caught.value)
    assert "backendConfig.redisConfig" in message and part in message
    assert "hidden" not in message or pair.endswith("?hidden")
    assert "den@" not in message


@pytest.mark.parametrize("key", ["user=u", "password=hidden", "passwordFile=FILE"])
def test_a_user_in_the_url_and_in_a_key(key: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hidden")
    key = key.replace("FILE", str(tmp_path / "password"))
    with pytest.raises(ConfigError, match="keep one of them") as caught:
        load_center(None, settings("url=redis://:hidden@r", key), {})
    assert "hidden" not in str(caught.value)


def test_no_secret_in_what_is_shown() -> None:
    config = load_center(None, settings("url=rediss://u:hidden@r:7000/2"), {})
    backend = open_backend(config.backendConfig)
    assert backend.describe == "Redis at rediss://r:7000/2"
    backend.close()


def test_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError) as caught:
        open_backend(load_center(None, settings(), {}).backendConfig)
    assert str(caught.value) == (
        "backendConfig.type: redis needs the package redis; pip install 'wakizashi[redis]'"
    )


NAMES = ("vm-1", "ns/pod", "a{b}c", "}x", "{}", "{", "%7D", "}", "ü b")


@pytest.mark.parametrize("probe", NAMES)
def test_the_keys_of_a_window_share_a_slot(probe: str) -> None:
    stored = aggregate(window(probe=probe, tags=(("env", "prod"),)))
    keys = {str(command[1]) for command in encode_window(KEYS, stored, 60_000)}
    assert len(keys) == 3
    assert len({key_slot(key.encode()) for key in keys}) == 1


def test_no_two_probes_share_a_key_but_they_share_the_slots() -> None:
    assert len({KEYS.window(probe, START) for probe in NAMES}) == len(NAMES)
    slots = {key_slot(KEYS.window(f"vm-{n}", START).encode()) for n in range(100)}
    assert len(slots) > 90


def test_every_expiry_is_a_moment_of_the_window() -> None:
    commands = encode_window(KEYS, aggregate(window()), 60_000)
    hour_end = START - START % PERIOD_MS + PERIOD_MS
    assert [c[2] for c in commands if c[0] == "PEXPIREAT"] == [
        START + 60_000,
        START + 60_000,
        hour_end + 60_000,
    ]
    assert {c[0] for c in commands} == {"HSET", "PEXPIREAT", "ZADD"}
    assert period(hour_end) == hour_end and period(hour_end - 1) == hour_end - PERIOD_MS


_addresses = st.sampled_from(["10.0.0.1", "10.0.0.2", "0.0.0.0", "2001:db8::1", "::"])
_numbers = st.integers(0, 2**63 - 1)
_records = st.dictionaries(
    st.tuples(_addresses, _addresses, _addresses), st.tuples(_numbers, _numbers), max_size=20
)


def _fields(command: Command) -> dict[bytes, bytes]:
    texts = [str(word).encode() for word in command[2:]]
    return dict(zip(texts[::2], texts[1::2], strict=True))


@given(_records)
def test_what_is_encoded_is_decoded(
    records: dict[tuple[str, str, str], tuple[int, int]],
) -> None:
    made = tuple(TrafficRecord(START, "p", *key, *value) for key, value in records.items())
    ledgers = aggregate(window(probe="p")).ledgers
    tags = (("env", "prod"),)
    stored = StoredWindow("p", START, tags, made, ledgers)
    hashes = {
        str(command[1]): _fields(command)
        for command in encode_window(KEYS, stored, 1)
        if command[0] == "HSET"
    }
    assert hashes[KEYS.ledger("p", START)][b" tags"] == b'{"env": "prod"}'
    assert tuple(decode_ledgers("p", START, hashes[KEYS.ledger("p", START)].items())) == ledgers
    found = tuple(decode_traffic("p", START, hashes.get(KEYS.window("p", START), {}).items()))
    assert found == made


@pytest.mark.parametrize(
    ("field", "value"), [(b"x", b"1 2"), (b"a b", b"1 2"), (b"@a b", b"1"), (b"@a b c d", b"1 2")]
)
def test_a_field_that_is_none_of_ours(field: bytes, value: bytes) -> None:
    with pytest.raises(ValueError):
        list(decode_traffic("p", START, [(field, value)]))
    with pytest.raises(ValueError):
        list(decode_ledgers("p", START, [(field, value)]))


def test_a_ledger_from_before_losses_and_merged_windows_comes_back() -> None:
    old = {b"eth0": b"7 30000 9 900 8 800 1 100 0 0 0 0 2 20"}
    (record,) = decode_ledgers("vm-1", START, old.items())
    assert (record.number, record.duration, record.windows) == (7, 30_000, 1)
    assert (record.ledger.other, record.ledger.lost) == (Tally(2, 20), Tally())


@pytest.mark.parametrize("numbers", [13, 15, 16, 18])
def test_a_ledger_of_another_length_is_none(numbers: int) -> None:
    with pytest.raises(ValueError):
        list(decode_ledgers("vm-1", START, [(b"eth0", b" ".join([b"1"] * numbers))]))
