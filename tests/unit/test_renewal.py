"""When files are read again, and what is told of certificates that end."""

import os
from pathlib import Path

from wakizashi.renewal import RETRY_SECONDS, ExpiryTeller, FileWatch
from wakizashi.tls import Certificate

DAY = 86_400.0


def test_an_end_that_comes_near_is_told_once_a_day() -> None:
    now = 80 * DAY
    told: list[str] = []
    first, second = (Certificate("CN=a", "CN=b", 0.0, end * DAY) for end in (100, 101))
    teller = ExpiryTeller([("tls.cert: f", first)], told.append, clock=lambda: now)
    for _ in range(3):
        teller.look([("tls.cert: f", first)])
    assert told == []
    for day in (90, 91):
        now = day * DAY
        for _ in range(3):
            teller.look([("tls.cert: f", first)])
    assert [line.partition(" expires")[0] for line in told] == [
        "tls.cert: f: the certificate CN=a"
    ] * 2
    teller.look([("tls.cert: f", second)])  # another one, on the same day
    assert len(told) == 3


def test_a_change_of_a_file_is_seen_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    watch = FileWatch(path, None)
    assert watch.changed() and not watch.changed()
    path.write_text("a")
    assert watch.changed() and not watch.changed()
    path.chmod(0o600)  # it may be readable only now
    assert watch.changed()
    new = tmp_path / "new"
    new.write_text("b")
    os.replace(new, path)
    assert watch.changed() and not watch.changed()
    path.unlink()
    assert watch.changed() and not watch.changed()


def test_what_can_not_be_used_is_read_again_in_a_while_and_when_it_changes(tmp_path: Path) -> None:
    now = 0.0
    path = tmp_path / "file"
    path.write_text("a")
    watch = FileWatch(path, clock=lambda: now)
    assert watch.changed()
    watch.unusable()
    assert not watch.changed()
    now += RETRY_SECONDS
    assert watch.changed() and not watch.changed()  # say it can be used now
    watch.unusable()
    path.write_text("ab")
    assert watch.changed()
    now += RETRY_SECONDS
    assert not watch.changed()


def test_a_link_to_another_folder_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes renews a mounted secret."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "tls.crt").write_text("same length")
    (tmp_path / "..data").symlink_to("1")
    watch = FileWatch(tmp_path / "..data" / "tls.crt")
    assert watch.changed() and not watch.changed()
    (tmp_path / "next").symlink_to("2")
    os.replace(tmp_path / "next", tmp_path / "..data")
    assert watch.changed()
