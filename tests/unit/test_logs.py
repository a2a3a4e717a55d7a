"""Every line of a log is one line, and in JSON an object, whatever is said and whoever says it."""

import json
import logging
import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakizashi.logs import FORMATS, _JsonFormatter, _TextFormatter

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
KEYS = {"time", "level", "program", "logger", "message"}
# Text of all kinds: half surrogate pairs, control characters, separators of lines.
ANY = st.text() | st.text(st.sampled_from("ab\n\r\x00\x1b\x85\u2028\ud800\udfff"))


def record(message: object, *arguments: object, **more: Any) -> logging.LogRecord:
    return logging.LogRecord("a.b", logging.WARNING, "", 0, message, arguments, None, **more)


def parsed(line: str) -> dict[str, str]:
    line.encode()  # nothing in it that is no character
    assert len(line.splitlines()) == 1
    entry: dict[str, str] = json.loads(line)
    return entry


@given(ANY)
def test_any_message_is_one_object(text: str) -> None:
    entry = parsed(_JsonFormatter("probe").format(record("%s", text)))
    assert set(entry) == KEYS
    assert TIME.fullmatch(entry["time"])
    assert (entry["level"], entry["program"], entry["logger"]) == ("WARNING", "probe", "a.b")
    assert entry["message"] == text.encode(errors="backslashreplace").decode()


@given(ANY)
def test_any_message_is_one_line_of_text(text: str) -> None:
    line = _TextFormatter("probe").format(record("%s", text))
    assert len(line.splitlines()) == 1
    assert " WARNING probe: " in line
    assert "\x1b" not in line


def test_the_time_is_that_of_the_record_in_utc() -> None:
    said = record("x")
    said.created, said.msecs = 1_700_000_000.25, 250.0
    entry = parsed(_JsonFormatter("probe").format(said))
    assert datetime.fromisoformat(entry["time"]) == datetime.fromtimestamp(1_700_000_000.25, UTC)


@pytest.mark.parametrize("formatter", [_TextFormatter("p"), _JsonFormatter("p")])
def test_arguments_that_do_not_fit_lose_nothing(formatter: logging.Formatter) -> None:
    assert "7 of %d ('x',)" in formatter.format(record("7 of %d", "x"))


def failure() -> Any:
    try:
        raise ValueError("line one\nline two")
    except ValueError:
        return sys.exc_info()


@pytest.mark.parametrize("form", [_TextFormatter("p"), _JsonFormatter("p")])
@pytest.mark.parametrize("debugging", [True, False])
def test_an_exception_is_named_and_its_traceback_is_for_debugging(
    form: logging.Formatter, debugging: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "level", logging.DEBUG if debugging else logging.INFO)
    said = record("it failed")
    said.exc_info = failure()
    text = form.format(said)
    assert ("Traceback" in text) == debugging
    if isinstance(form, _JsonFormatter):
        entry = parsed(text)
        assert set(entry) == KEYS | ({"traceback"} if debugging else set())
        assert entry["message"].startswith("it failed")
    if not debugging:
        assert len(text.splitlines()) == 1
        assert "it failed: ValueError(" in text and "line two" in text


UNRULY = """
import logging, sys, threading, warnings
from wakizashi.lifecycle import guard
from wakizashi.logs import setup_logging, take_over

class Bad:
    def __del__(self):
        raise OSError("in a destructor")

def main():
    setup_logging(1, "center", sys.argv[1])
    warnings.warn("of a library", UserWarning)
    thread = threading.Thread(target=lambda: 1 / 0, name="worker")
    thread.start()
    thread.join()
    Bad()
    library = logging.getLogger("scapy")
    library.propagate = False
    library.addHandler(logging.StreamHandler())
    take_over("scapy")
    library.error("a library\\nspeaks")
    raise RuntimeError("at the\\nend")

guard("center", main)
"""


@pytest.mark.parametrize("form", FORMATS)
def test_whoever_speaks_speaks_in_lines_of_the_log(form: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNRULY, form], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 5, done.stderr
    if form == "json":
        entries = [parsed(line) for line in lines]
        assert all(set(entry) == KEYS and entry["program"] == "center" for entry in entries)
        lines = [entry["message"] for entry in entries]
    for line, told in zip(
        lines,
        (
            "UserWarning: of a library",
            "thread worker ended unexpectedly: ZeroDivisionError",
            "in a destructor",
            "speaks",
            "unexpected RuntimeError: at the",
        ),
        strict=True,
    ):
        assert told in line


@pytest.mark.parametrize("form", FORMATS)
def test_an_error_that_ends_the_program_is_told_as_the_log_is(form: str) -> None:
    code = (
        "import sys\n"
        "from wakizashi.errors import ConfigError\n"
        "from wakizashi.lifecycle import guard\n"
        "from wakizashi.logs import setup_logging\n"
        "def main():\n"
        "    setup_logging(4, 'probe', sys.argv[1])\n"
        "    raise ConfigError('one\\ntwo')\n"
        "guard('probe', main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, form], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 78
    lines = done.stderr.splitlines()
    if form == "text":
        assert lines == ["probe: error: one", "probe: error: two"]
    else:
        entries = [parsed(line) for line in lines]
        assert [(e["level"], e["message"]) for e in entries] == [("ERROR", "one"), ("ERROR", "two")]


def test_before_the_configuration_is_read_errors_are_text() -> None:
    command = [sys.executable, "-m", "wakizashi.center", "--set", "logFormat=json", "--set", "x=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78
    assert done.stderr.startswith("center: error: ")
