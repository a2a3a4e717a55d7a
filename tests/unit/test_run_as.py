"""Whom a daemon becomes: names and numbers, what is handed over, and what is refused."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wakizashi import permitted, privileges, run_as
from wakizashi.account import Account, account
from wakizashi.center.config import load_center
from wakizashi.config import load
from wakizashi.errors import ConfigError
from wakizashi.privileges import Capability, Held
from wakizashi.probe.config import ProbeConfig
from wakizashi.sections import paths

NOBODY = account("nobody")
ALL = (1 << 41) - 1

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("CI"), reason="changing owners needs root"
)


def test_a_user_has_a_name_or_a_number() -> None:
    assert account("root") == Account("root", 0, 0)
    assert account(str(NOBODY.uid)) == NOBODY
    assert account("54321") == Account("54321", 54321, 54321)


@pytest.mark.parametrize("user", ["nobdy", "-1", "1.5", "no body", "٣"])
def test_a_user_that_is_none_is_a_fault_of_the_configuration(user: str) -> None:
    with pytest.raises(ConfigError, match=r"user: .* is no user of this host; name one"):
        load(ProbeConfig, None, overrides=[f"user='{user}'"], environment={})


@pytest.mark.parametrize(("text", "user"), [("65534", "65534"), ("root", "root"), ("''", "")])
def test_a_user_in_yaml(text: str, user: str) -> None:
    assert load(ProbeConfig, None, overrides=[f"user={text}"], environment={}).user == user


@pytest.mark.parametrize("text", ["true", "[nobody]", "4294967295"])
def test_what_is_no_user_in_yaml(text: str) -> None:
    with pytest.raises(ConfigError, match="user"):
        load(ProbeConfig, None, overrides=[f"user={text}"], environment={})


def test_all_paths_of_a_configuration_have_their_keys() -> None:
    config = ProbeConfig(dumpDir=Path("d"))
    assert paths(config) == {"dumpDir": Path("d")}
    center = load_center(None, ["backendConfig.sqliteConfig.path=/w.db"], {})
    assert "backendConfig.sqliteConfig.path" not in paths(
        center
    )  # it is written, whoever else is used


# -- the step, without taking it ------------------------------------------------------------


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], list[Any]]:
    """Pretends to be a uid with capabilities; what :func:`privileges.drop` was asked for."""
    asked: list[Any] = []

    def pretend(uid: int, capabilities: int) -> list[Any]:
        now = Held(
            "x", 0, capabilities, capabilities, ALL, 0, False, frozenset({uid}), *[frozenset()] * 2
        )
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        monkeypatch.setattr(privileges, "held", lambda: now)

        def drop(keep: Any, ids: Any = None) -> Held:
            asked.append((set(keep), ids))
            return now

        monkeypatch.setattr(privileges, "drop", drop)
        monkeypatch.setattr(permitted, "program", list)
        return asked

    return pretend


def probe_config(folder: Path, **more: Any) -> ProbeConfig:
    return ProbeConfig(dumpDir=folder / "dump", **more)


@needs_root
def test_root_with_a_user_becomes_that_user(
    tmp_path: Path, process: Callable[[int, int], list[Any]]
) -> None:
    asked = process(0, ALL)
    run_as.assume(probe_config(tmp_path, user="nobody"), {Capability.NET_RAW})
    assert asked == [({Capability.NET_RAW}, (NOBODY.uid, NOBODY.gid))]
    assert (tmp_path / "dump").stat().st_uid == NOBODY.uid
    assert (tmp_path / "dump").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("user", ["", "root"])
def test_root_without_a_user_only_drops_and_warns_unless_he_says_so(
    user: str,
    tmp_path: Path,
    process: Callable[[int, int], list[Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = process(0, ALL)
    run_as.assume(probe_config(tmp_path, user=user), ())
    assert asked == [(set(), None)]
    assert ("set user" in caplog.text) is (not user)
    assert not (tmp_path / "dump").exists()


def test_the_user_that_one_is_already_needs_nothing(
    tmp_path: Path, process: Callable[[int, int], list[Any]]
) -> None:
    asked = process(NOBODY.uid, 0)
    run_as.assume(probe_config(tmp_path, user="nobody"), {Capability.NET_RAW})
    assert asked == [({Capability.NET_RAW}, None)]


@pytest.mark.parametrize(
    ("uid", "capabilities", "missing"),
    [
        (1000, 0, "CAP_SETGID and CAP_SETUID"),
        (0, ALL & ~privileges.mask({Capability.SETUID}), "CAP_SETUID"),
    ],
    ids=["another user", "a container's root"],
)
def test_who_may_not_become_another_is_told_what_lacks(
    uid: int,
    capabilities: int,
    missing: str,
    tmp_path: Path,
    process: Callable[[int, int], list[Any]],
) -> None:
    asked = process(uid, capabilities)
    with pytest.raises(ConfigError) as raised:
        run_as.assume(probe_config(tmp_path, user="nobody"), ())
    assert str(raised.value) == (
        f"user: can't become nobody (uid {NOBODY.uid}) from uid {uid}: {missing} are missing; "
        "start it as root or as that user, or leave user out"
    )
    assert asked == []
    assert not (tmp_path / "dump").exists()


# -- handing over ---------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory of root's, to which every way is root's."""
    if os.geteuid() != 0:
        if "CI" in os.environ:
            pytest.fail("changing owners needs root")
        pytest.skip("changing owners needs root")
    return tmp_path


def hand_over(path: Path, *, only_look: bool = False) -> bool:
    return run_as._hand_over("dumpDir", path, NOBODY, only_look=only_look)


def owners(path: Path) -> set[int]:
    return {p.lstat().st_uid for p in (path, *path.rglob("*"))}


def test_a_directory_is_handed_over_with_all_in_it(place: Path) -> None:
    dump = place / "dump"
    (dump / "sent").mkdir(parents=True, mode=0o755)
    for name in ("a.window", "sent/b.window", ".c.tmp"):
        (dump / name).touch()
    hand_over(dump)
    assert owners(dump) == {NOBODY.uid}
    assert {p.lstat().st_gid for p in dump.rglob("*")} == {NOBODY.gid}


def test_a_directory_that_is_missing_is_made_with_its_parents(place: Path) -> None:
    hand_over(place / "a/b/dump")
    assert (place / "a/b/dump").stat().st_uid == NOBODY.uid
    assert owners(place / "a") == {0, NOBODY.uid}
    assert (place / "a/b").stat().st_uid == 0


def test_what_is_a_users_already_is_left_alone(place: Path) -> None:
    dump = place / "dump"
    dump.mkdir()
    os.chown(dump, NOBODY.uid, NOBODY.gid)
    (dump / "of-root").touch()
    hand_over(dump)
    assert (dump / "of-root").stat().st_uid == 0


def test_handing_over_that_was_cut_off_goes_on(place: Path) -> None:
    dump = place / "dump"
    (dump / "sent").mkdir(parents=True)
    (dump / "a.window").touch()
    os.chown(dump / "sent", NOBODY.uid, NOBODY.gid)
    assert hand_over(dump)
    assert owners(dump) == {NOBODY.uid}


def test_looking_hands_nothing_over(place: Path) -> None:
    (place / "dump/sent").mkdir(parents=True)
    (place / "dump/a.window").touch()
    for path in (place / "dump", place / "none/dump"):
        assert hand_over(path, only_look=True)
    assert owners(place) == {0}
    assert not (place / "none").exists()
    os.chown(place / "dump", NOBODY.uid, NOBODY.gid)
    assert not hand_over(place / "dump", only_look=True)
    os.chown(place / "dump", 1000, 1000)
    with pytest.raises(ConfigError, match="belongs to"):
        hand_over(place / "dump", only_look=True)


def test_a_way_through_a_file_is_refused(place: Path) -> None:
    (place / "file").touch()
    with pytest.raises(ConfigError, match=r"file is a symbolic link or no directory; chown -R"):
        hand_over(place / "file/dump")


def test_a_link_in_a_directory_is_handed_over_and_not_what_it_names(place: Path) -> None:
    secret = place / "secret"
    secret.touch()
    dump = place / "dump"
    dump.mkdir()
    (dump / "link").symlink_to(secret)
    (dump / "folder").symlink_to(place)
    hand_over(dump)
    assert (dump / "link").lstat().st_uid == NOBODY.uid
    assert secret.stat().st_uid == 0 and place.stat().st_uid == 0


@pytest.mark.parametrize("where", ["last", "parent"])
def test_a_link_on_the_way_is_refused(where: str, place: Path) -> None:
    real = place / "etc"
    (real / "dump").mkdir(parents=True)
    (place / "link").symlink_to(real / "dump" if where == "last" else real)
    path = place / "link" if where == "last" else place / "link/dump"
    with pytest.raises(ConfigError, match=r"link is a symbolic link or no directory; chown -R"):
        hand_over(path)
    assert owners(real) == {0}


def test_a_way_through_the_directory_of_another_is_refused(place: Path) -> None:
    home = place / "home"
    (home / "dump").mkdir(parents=True)
    os.chown(home, 1000, 1000)
    with pytest.raises(ConfigError, match=r"home belongs to .*; chown -R nobody"):
        hand_over(home / "dump")
    assert (home / "dump").stat().st_uid == 0


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_way_that_others_may_change_is_refused_but_through_a_sticky_one(
    mode: int, place: Path
) -> None:
    shared = place / "shared"
    (shared / "dump").mkdir(parents=True)
    shared.chmod(mode)
    with pytest.raises(ConfigError, match="others than root may write in .*shared"):
        hand_over(shared / "dump")
    shared.chmod(mode | 0o1000)
    hand_over(shared / "dump")
    assert (shared / "dump").stat().st_uid == NOBODY.uid


@pytest.mark.parametrize("what", ["dump", "dump/sent"])
@pytest.mark.parametrize(
    "spoil", [lambda p: os.chown(p, 1000, 0), lambda p: p.chmod(0o1777)], ids=["owner", "mode"]
)
def test_content_that_others_may_have_put_there_is_refused(
    what: str, spoil: Callable[[Path], None], place: Path
) -> None:
    (place / "dump/sent").mkdir(parents=True)
    spoil(place / what)
    with pytest.raises(
        ConfigError, match=r"dumpDir: .* is not handed over, for .*; chown -R nobody"
    ):
        hand_over(place / "dump")
    assert (place / "dump").stat().st_uid != NOBODY.uid


READ_ONLY = "; mount a volume there that can be written, or name another dumpDir"


def test_a_read_only_file_system_takes_no_new_owner(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(ConfigError) as told:
        hand_over(place / "dump")
    assert str(told.value) == (
        f"dumpDir: {place}/dump can't be handed over to user nobody: Read-only file system{READ_ONLY}"
    )


@pytest.mark.parametrize("below", ["", "new/dump"])
def test_of_a_read_only_file_system_no_rights_are_told(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / below
    needed = permitted.Needs((), {"dumpDir": path}, {}, {})
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    told, *_ = permitted.faults(needed, "uid 7")
    assert "uid 7 can't write" in told and "give it to that user" in told
    state = SimpleNamespace(f_flag=os.ST_RDONLY | os.ST_NOSUID)
    monkeypatch.setattr(os, "statvfs", {tmp_path: state}.__getitem__)
    told, *_ = permitted.faults(needed, "uid 7")
    assert told == f"dumpDir: {path} is on a read-only file system{READ_ONLY}"


def test_a_file_in_the_place_of_the_directory_is_refused(place: Path) -> None:
    (place / "dump").touch()
    with pytest.raises(ConfigError, match="dump is a symbolic link or no directory"):
        hand_over(place / "dump")
