"""What addresses are called: the names file, and the resolver beside it."""

import logging
import os
import re
import socket
from contextlib import closing
from pathlib import Path

import pytest

from tests.center_servers import until
from wakizashi.dashboard import names as module
from wakizashi.dashboard.names import Labels, named, parse, read
from wakizashi.errors import ConfigError
from wakizashi.names import NAMED_SECONDS, NAMELESS_SECONDS, Names


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


# -- the file --------------------------------------------------------------------------------


def test_a_file_of_names() -> None:
    table = parse(
        "# ours\n"
        "10.0.0.1\tweb-1 www  # the first name counts\n"
        "10.0.0.1 web-2\r\n"
        "\n"
        "2001:0db8::1 six\n"
        "10.0.0.0/8 inside\n"
        "10.1.0.0/16 pods\n"
        "10.1.2.3/32 one\n"
        "2001:db8::/32 ours6\n"
        "0.0.0.0/0 internet\n"
        "192.0.2.1 prüfer\n",
        "names",
    )
    told = {
        "10.0.0.1": "web-1",
        "2001:db8::1": "six",
        "10.0.0.2": "inside",
        "10.1.0.2": "pods",
        "10.1.2.3": "one",
        "2001:db8::2": "ours6",
        "2001:db9::2": "",
        "::1": "",
        "9.9.9.9": "internet",
        "192.0.2.1": "prüfer",
        "no address": "",
    }
    assert {address: table.name(address) for address in told} == told


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("web 10.0.0.1", "web is no address; write ADDRESS NAME or NETWORK/LENGTH NAME, as"),
        ("10.0.0.1", "10.0.0.1 has no name behind it; write one, or take the line out"),
        ("10.0.0.1/8 a", "10.0.0.1/8 has bits set behind the prefix; write 10.0.0.0/8"),
        ("10.0.0.0/99 a", "10.0.0.0/99 is no network; write it as 10.0.0.0/8"),
        ("10.0.0.1 a\x1b[2J", "10.0.0.1 has a name that is not printable"),
        ("\x1b[2J a", "\\x1b[2J is no address"),
    ],
)
def test_a_fault_has_its_line(line: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"# one\n{line}\n10.0.0.2 b\n{line}\n", "names")
    first, second = str(caught.value).split("\n")
    assert first.startswith(f"names:2: {told}")
    assert second.startswith(f"names:4: {told}")


def test_faults_have_an_end() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("x\n" * 30, "names")
    assert str(caught.value).split("\n")[20:] == ["names: and 10 more lines"]


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_bytes(b"\xef\xbb\xbf10.0.0.1 a\n")
    assert read(path).name("10.0.0.1") == "a"


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "names"
    with pytest.raises(ConfigError, match=r"--names: .*: No such file or directory; name a file"):
        read(path)
    path.write_bytes(b"10.0.0.1 a\n10.0.0.2 \xff\n")
    with pytest.raises(ConfigError, match=r"names:2: is not UTF-8"):
        read(path)
    monkeypatch.setattr(module, "MOST_BYTES", 5)
    with pytest.raises(ConfigError, match="is larger than 5 bytes"):
        read(path)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody writes: to open it would take for ever
    (tmp_path / "link").symlink_to("pipe")
    with closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(str(tmp_path / "socket"))
    for name in ("pipe", "link", "socket"):
        said = f"--names: {tmp_path / name}: is no regular file; name a file of names"
        with pytest.raises(ConfigError, match=re.escape(said)):
            read(tmp_path / name)
    with pytest.raises(ConfigError, match="--names: /dev/null: is no regular file"):
        read(Path("/dev/null"))
    with pytest.raises(ConfigError, match="--names: .*: is a directory; name a file of names"):
        read(tmp_path)


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("10.0.0.1 a\n")
    (tmp_path / "link").symlink_to("names")
    assert read(tmp_path / "link").name("10.0.0.1") == "a"


def test_a_pipe_that_comes_between_look_and_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "names"
    path.write_text("10.0.0.1 a\n")
    real = os.open

    def replaced(name: str, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return real(name, flags)

    monkeypatch.setattr(os, "open", replaced)
    with pytest.raises(ConfigError, match="is no regular file"):
        read(path)


def test_a_pipe_instead_of_the_file_is_told_and_the_names_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "names", Clock()
    path.write_text("10.0.0.1 a\n")
    labels = Labels(path, None, clock)
    path.unlink()
    os.mkfifo(path)
    clock.now += 1
    with caplog.at_level(logging.WARNING):
        labels.refresh()
    assert labels.label("10.0.0.1") == "a"
    (message,) = caplog.messages
    assert message.endswith("is no regular file; name a file of names; the names stay as they were")


def test_an_empty_name_is_told_as_such() -> None:
    with pytest.raises(ConfigError, match="--names: is empty; name a file of names, or leave it"):
        named("")
    assert (named(None), named("a")) == (None, Path("a"))


def test_a_file_is_read_again_when_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "names", Clock()
    path.write_text("10.0.0.1 a\n")
    labels = Labels(path, None, clock)
    path.write_text("10.0.0.1 changed\n")
    labels.refresh()
    assert labels.label("10.0.0.1") == "a"  # it is not looked at more than once a second
    clock.now += 1
    labels.refresh()
    assert labels.label("10.0.0.1") == "changed"
    replaced = tmp_path / "new"
    replaced.write_text("wrong\n")
    os.replace(replaced, path)
    clock.now += 1
    with caplog.at_level(logging.WARNING):
        labels.refresh()
    assert labels.label("10.0.0.1") == "changed"
    (record,) = caplog.records
    assert "names:1: wrong is no address" in record.getMessage()
    assert record.getMessage().endswith("; the names stay as they were")
    path.write_text("10.0.0.1 mended\n")
    clock.now += 1
    labels.refresh()
    assert labels.label("10.0.0.1") == "mended"


def test_the_file_is_before_the_resolver_and_that_before_nothing(tmp_path: Path) -> None:
    path = tmp_path / "names"
    path.write_text("10.0.0.1 filed\n")
    asked: list[str] = []

    def resolve(address: str) -> str:
        asked.append(address)
        return "resolved" if address == "10.0.0.2" else ""

    labels = Labels(path, Names(resolve, threads=1))
    assert labels.known("10.0.0.2") == "" and asked == []
    addresses = [f"10.0.0.{n}" for n in (1, 2, 3)]
    assert [labels.label(address) for address in addresses] == ["filed", "10.0.0.2", "10.0.0.3"]
    until(lambda: asked == ["10.0.0.2", "10.0.0.3"], "both asked")
    until(lambda: labels.known("10.0.0.2") != "", "the name")
    assert [labels.label(address) for address in addresses] == ["filed", "resolved", "10.0.0.3"]
    assert labels.sources == {"dns": True, "file": True}


# -- the resolver's cache --------------------------------------------------------------------


@pytest.mark.parametrize(("name", "seconds"), [("n", NAMED_SECONDS), ("", NAMELESS_SECONDS)])
def test_a_name_is_asked_for_again_in_a_while_and_stays_meanwhile(
    name: str, seconds: float
) -> None:
    clock, answers = Clock(), [name, "new"]
    names = Names(lambda _: answers.pop(0), threads=1, clock=clock)
    names.get("10.0.0.1")
    until(lambda: names._known["10.0.0.1"].due == seconds, "the answer")
    clock.now = seconds - 0.1
    assert names.get("10.0.0.1") == name
    assert answers == ["new"]
    clock.now = seconds
    assert names.get("10.0.0.1") in (name, "new")
    until(lambda: names.peek("10.0.0.1") == "new", "the new name")
