"""A changed configuration in words, and the signal that asks for it."""

import logging
import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from wakizashi.center.config import CenterConfig
from wakizashi.errors import ConfigError
from wakizashi.lifecycle import HangUp
from wakizashi.notify import Supervisor
from wakizashi.probe.config import ProbeConfig
from wakizashi.reload import Change, Reload, Source, Takes, changes, effective, told


def line(old: ProbeConfig | CenterConfig, new: ProbeConfig | CenterConfig) -> str:
    return told("FILE", list(changes(old, new)))


def test_one_line_tells_what_holds_now_and_what_cannot() -> None:
    new = ProbeConfig(
        capInterval=10,
        networkDevs=("eth0", "tunl0"),
        tags={"env": "b"},
        dumpDir=Path("x"),
        name="n",
    )
    assert line(ProbeConfig(), new) == (
        "reloaded FILE: networkDevs [] → [eth0, tunl0], capInterval 30 → 10, "
        "tags {} → {env: b} (with the next window); "
        "dumpDir, name can't change while running; restart to change them"
    )
    assert line(ProbeConfig(), ProbeConfig()) == "reloaded FILE: nothing changed"
    assert line(ProbeConfig(), ProbeConfig(dumpDir=Path("x"))) == (
        "reloaded FILE: nothing changed; dumpDir can't change while running; restart to change it"
    )


def test_no_secret_and_no_address_of_a_database_is_told() -> None:
    backend = {
        "influxConfig": {"password": "hush"},
        "redisConfig": {"url": "redis://me:hush@r/0"},
        "mongoConfig": {"passwordFile": None, "mongoURI": "mongodb://me:hush@m/"},
    }
    text = line(CenterConfig(), CenterConfig.model_validate({"backendConfig": backend}))
    assert "backendConfig.influxConfig.password" in text
    assert "hush" not in text
    for before, after in ((SecretStr("hush"), SecretStr("hush hush")), ("hush", "hush hush")):
        assert str(Change("token", before, after, Takes.AT_ONCE)) == "token changed"
    assert str(Change("way", SecretStr("hush"), None, Takes.AT_ONCE)) == "way changed"


def test_a_value_is_told_in_one_line_and_not_too_long_a_one() -> None:
    text = line(ProbeConfig(), ProbeConfig(networkDevs=("a\nb", *(f"eth{n}" for n in range(99)))))
    assert "\n" not in text and len(text) < 200


def test_what_only_a_restart_changes_stays_in_sections_too() -> None:
    old = CenterConfig()
    new = CenterConfig.model_validate(
        {
            "port": 7,
            "recoverInterval": 7,
            "limits": {"calls": 7},
            "backendConfig": {"timeout": 7, "sqliteConfig": {"ttl": 7}},
        }
    )
    assert effective(old, new) == CenterConfig.model_validate(
        {"recoverInterval": 7, "limits": {"calls": 7}}
    )


# -- the signal ------------------------------------------------------------------------------


@pytest.fixture
def hangup() -> Iterator[HangUp]:
    before = signal.getsignal(signal.SIGHUP)
    with HangUp() as hangup:
        yield hangup
    signal.signal(signal.SIGHUP, before)


def readable(hangup: HangUp) -> bool:
    return bool(select.select([hangup], [], [], 0)[0])


def test_any_number_of_signals_before_the_answer_are_one(hangup: HangUp) -> None:
    assert not readable(hangup) and not hangup.take()
    for _ in range(70_000):  # more than a pipe holds
        signal.raise_signal(signal.SIGHUP)
    assert readable(hangup) and hangup.take()
    assert not readable(hangup) and not hangup.take()
    signal.raise_signal(signal.SIGHUP)
    assert readable(hangup) and hangup.take()


def test_a_signal_after_the_end_ends_nothing() -> None:
    before = signal.getsignal(signal.SIGHUP)
    try:
        with HangUp():
            pass
        signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


# -- the answer ------------------------------------------------------------------------------


class Told(Supervisor):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__({})
        self.said: list[str] = []

    def _send(self, message: str, seconds: float = 0.0) -> bool:
        self.said.append(message.partition("=")[0])
        return True


@pytest.fixture
def reload(hangup: HangUp) -> Callable[..., tuple[Reload[ProbeConfig], list[ProbeConfig], Told]]:
    def make(
        load: Callable[[], ProbeConfig], fault: ConfigError | None = None
    ) -> tuple[Reload[ProbeConfig], list[ProbeConfig], Told]:
        applied: list[ProbeConfig] = []

        def apply(config: ProbeConfig) -> None:
            if fault is not None:
                raise fault
            applied.append(config)

        told = Told()
        made = Reload(ProbeConfig(), Source("FILE", load, hangup), told, apply)
        return made, applied, told

    return make


Made = Callable[..., tuple[Reload[ProbeConfig], list[ProbeConfig], Told]]


def test_without_a_signal_nothing_is_read(reload: Made) -> None:
    def load() -> ProbeConfig:
        raise AssertionError("read")

    answering, applied, told = reload(load)
    answering.answer()
    assert applied == [] and told.said == []


def test_a_reload_is_told_to_the_manager_and_holds(
    reload: Made, caplog: pytest.LogCaptureFixture
) -> None:
    new = ProbeConfig(capInterval=7, dumpDir=Path("elsewhere"))
    answering, applied, told = reload(lambda: new)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            signal.raise_signal(signal.SIGHUP)
            answering.answer()
    assert applied == [ProbeConfig(capInterval=7)] * 2
    assert answering.config == ProbeConfig(capInterval=7)
    assert told.said == ["RELOADING", "READY"] * 2
    fixed = "; dumpDir can't change while running; restart to change it"
    assert [record.message for record in caplog.records] == [
        f"reloaded FILE: capInterval 30 → 7{fixed}",
        f"reloaded FILE: nothing changed{fixed}",  # as long as it stands there
    ]


@pytest.mark.parametrize("when", ["load", "apply"])
def test_of_a_faulty_one_every_fault_is_told_and_nothing_else_happens(
    when: str, reload: Made, caplog: pytest.LogCaptureFixture
) -> None:
    fault = ConfigError("FILE:1: a: unknown key\nFILE:2: b: unknown key")

    def load() -> ProbeConfig:
        if when == "load":
            raise fault
        return ProbeConfig(capInterval=7)

    answering, applied, told = reload(load, fault)
    signal.raise_signal(signal.SIGHUP)
    with caplog.at_level(logging.INFO):
        answering.answer()
    assert applied == [] and answering.config == ProbeConfig()
    assert told.said == ["RELOADING", "READY"]
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("ERROR", f"not reloaded, what held before goes on: FILE:{n}: {key}: unknown key")
        for n, key in ((1, "a"), (2, "b"))
    ]


def test_a_signal_while_the_files_are_read_reads_them_again(reload: Made, hangup: HangUp) -> None:
    reads = 0

    def load() -> ProbeConfig:
        nonlocal reads
        reads += 1
        if reads == 1:
            os.kill(os.getpid(), signal.SIGHUP)
        return ProbeConfig(capInterval=reads)

    answering, applied, _ = reload(load)
    signal.raise_signal(signal.SIGHUP)
    while readable(hangup):
        answering.answer()
    assert [config.capInterval for config in applied] == [1, 2]
