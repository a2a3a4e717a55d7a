"""The key ``user``: what that user could not do later is told at the start, and by the doctor."""

import json
import os
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.center_servers import free_port
from tests.live.test_privileges import USER, Daemon, place, started
from tests.programs import interpreter, mounts

__all__ = ["place"]  # a fixture

WINDOW = "1700000000000-0000000001-0123456789ab.window"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"user": str(USER), "dumpDir": "PLACE/alice/dump"},
            f"dumpDir: PLACE/alice/dump is not of user {USER}, and is not handed over, for "
            f"PLACE/alice belongs to uid 4242; chown -R {USER} PLACE/alice/dump, or name another "
            "directory",
        ),
        (
            {"dumpDir": "PLACE/alice/dump"},
            "dumpDir: PLACE/alice/dump: uid 0 can't write PLACE/alice/dump, which belongs to uid "
            "4242 (mode 0755); give it to that user, or set user to its owner",
        ),
        (
            {"user": str(USER), "dumpDir": "PLACE/work/dump", "tokenFile": "PLACE/token"},
            f"tokenFile: PLACE/token: user {USER} can't read it, and it is read again later; give "
            "it to that user (chown, or chgrp and chmod g+r)",
        ),
        (
            {"user": str(USER), "dumpDir": "PLACE/closed/dump"},
            f"dumpDir: PLACE/closed/dump: user {USER} can't write PLACE/closed, which belongs to "
            "root (mode 0700); give it to that user, or set user to its owner",
        ),
        (
            {"user": str(USER), "dumpDir": "PLACE/mine"},
            f"dumpDir: PLACE/mine: user {USER} can't use PLACE/mine/sent, which belongs to root "
            f"(mode 0700); chown -R {USER} PLACE/mine",
        ),
        (
            {"user": str(USER), "dumpDir": "PLACE/mine", "name": "window"},
            f"dumpDir: PLACE/mine: user {USER} can't use PLACE/mine/{WINDOW}, which belongs to root "
            f"(mode 0600); chown -R {USER} PLACE/mine",
        ),
        (
            {"dumpDir": "PLACE/nowhere"},
            "dumpDir: PLACE/nowhere: PLACE/token is no directory; name another, or move that away",
        ),
        (
            {"dumpDir": "PLACE/loop"},
            "dumpDir: PLACE/loop: PLACE/loop is no directory; name another, or move that away",
        ),
    ],
    ids=[
        "handed over to nobody", "of another user", "a secret", "no way to it",
        "a directory of another time", "a window of another time", "below a file", "a loop",
    ],
)  # fmt: skip
def test_what_would_not_work_later_is_told_at_the_start(
    keys: dict[str, str], message: str, place: Path
) -> None:
    (place / "alice/dump").mkdir(parents=True)
    for path in (place / "alice", place / "alice/dump"):
        os.chown(path, 4242, 4242)
    (place / "closed").mkdir(mode=0o700)
    (place / "token").write_text("x" * 64)
    (place / "token").chmod(0o600)
    left = place / "mine" / (WINDOW if keys.get("name") else "sent")
    left.parent.mkdir()
    left.touch(mode=0o600) if keys.get("name") else left.mkdir(mode=0o700)
    os.chown(left.parent, USER, USER)
    (place / "nowhere").symlink_to("token/dump")
    (place / "loop").symlink_to("loop")
    given = {key: value.replace("PLACE", str(place)) for key, value in keys.items()}
    if "user" in keys:
        before = {path: path.lstat() for path in place.rglob("*") if "opt" not in path.parts}
        assert message.replace("PLACE", str(place)) in foreseen(place, **given)["fault"]
        assert {path: path.lstat().st_uid for path in before} == {
            path: state.st_uid for path, state in before.items()
        }
    probe = Daemon(place, "probe", [], capture="ring", networkDevs=["lo"], **given)
    assert probe.ends() == 78, probe.said
    assert f"probe: error: {message.replace('PLACE', str(place))}" in probe.said.splitlines()


def foreseen(place: Path, **keys: Any) -> dict[str, list[str]]:
    """What the doctor says of the user, by verdict, with remedies."""
    config = place / "foreseen.yaml"
    config.write_text(yaml.safe_dump(keys))
    code = "from wakizashi.cli import main; main()"
    look = [*interpreter(place / "opt"), "-c", code, "doctor", "--format", "json", "-c"]
    steps = f"mount --make-rprivate /\n{mounts(place / 'opt')}\ncd {place}/work\n"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", f"{steps}exec {shlex.join([*look, str(config)])}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    found: dict[str, list[str]] = {}
    for finding in json.loads(done.stdout)["daemons"][0]["findings"]:
        if finding["check"] == "user":
            said = [part for part in (finding["text"], finding["remedy"]) if part]
            found.setdefault(finding["verdict"], []).append("; ".join(said))
    return found


@pytest.mark.parametrize(
    ("owners", "mode", "unusable"),
    [
        ({}, 0o755, "PLACE/database, which belongs to root (mode 0755)"),
        ({"w.db": USER}, 0o755, "PLACE/database, which belongs to root (mode 0755)"),
        ({"w.db": USER, "": USER, "w.db-wal": 0}, 0o755, "PLACE/database/w.db-wal, which"),
        ({"w.db": USER, "": USER, "w.db-lock": 0}, 0o755, "PLACE/database/w.db-lock, which"),
        ({"w.db": 0, "": USER}, 0o755, "PLACE/database/w.db, which belongs to root (mode 0600)"),
    ],
    ids=["no file yet", "the file alone is the user's", "a log", "a lock", "the file is not"],
)
def test_a_database_that_could_not_be_written_is_told_at_the_start(
    owners: dict[str, int], mode: int, unusable: str, place: Path
) -> None:
    """SQLite makes files beside its own, so the directory has to be the user's as well."""
    folder = place / "database"
    folder.mkdir(mode=mode)
    for name, owner in owners.items():
        if name:
            (folder / name).touch(mode=0o600)
        os.chown(folder / name, owner, owner)
    keys = {
        "user": str(USER),
        "backendConfig": {"sqliteConfig": {"path": f"{folder}/w.db"}},
    }
    told = f"backendConfig.sqliteConfig.path: {folder}/w.db: user {USER} can't"
    (said,) = foreseen(place, port=1, **keys)["fault"]
    center = Daemon(place, "center", [], **keys)
    assert center.ends() == 78, center.said
    (line,) = (line for line in center.said.splitlines() if "error: " in line)
    assert line == f"center: error: {said}"
    assert said.startswith(told)
    assert unusable.replace("PLACE", str(place)) in said
    assert said.endswith("; give it to that user, or set user to its owner")


def test_what_is_handed_over_is_foreseen_as_such_and_left_as_it_is(place: Path) -> None:
    dump = place / "work/dump"
    dump.mkdir(mode=0o700)
    (dump / WINDOW).touch(mode=0o600)
    for keys in ({"dumpDir": str(dump)}, {"dumpDir": str(place / "work/new/dump")}):
        assert foreseen(place, user=str(USER), **keys) == {"ok": [str(USER)]}
    assert {path.stat().st_uid for path in (dump, dump / WINDOW)} == {0}
    assert not (place / "work/new").exists()


def test_a_configuration_that_a_reload_could_not_read_is_told(place: Path) -> None:
    """Root's alone, as one with a password may be: it starts, and says what will not work."""
    os.chown(place / "work", USER, USER)
    before = ["sh", "-c", f'chmod 600 {place}/*.yaml; exec "$@"', "-"]
    with started(
        place, "center", before, port=free_port(), healthPort=free_port(), host="127.0.0.1",
        user=str(USER), recoverDir="", backendConfig={"sqliteConfig": {"path": "unused.db"}},
    ) as center:  # fmt: skip
        center.says("listening on")
        told = (
            f"-c: {place}/center.yaml: user {USER} can't read it, so a reload (SIGHUP) is refused"
        )
        assert told in center.said
        center.process.send_signal(signal.SIGHUP)
        center.says("not reloaded")
