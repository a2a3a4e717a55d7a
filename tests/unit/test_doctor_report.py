"""What the doctor found, as lines and as JSON; and a look that breaks or hangs."""

import threading
from collections.abc import Iterator

import pytest

from wakizashi.doctor.examination import Check, examine
from wakizashi.doctor.finding import CHECKS, Finding, Verdict, fault, note, ok
from wakizashi.doctor.report import Section, document, lines, verdict, works
from wakizashi.errors import Retryable

FINE = ok("clock", "synchronised")
HALF = note("room", "1 MiB free", "make room")
BAD = fault("name", "no such name", "mend it")


def section(*findings: Finding) -> Section:
    return Section("probe", "p.yaml", findings)


def test_lines_are_aligned_and_end_with_the_remedy() -> None:
    assert list(lines([section(FINE, HALF, BAD)], "vm-1")) == [
        "probe on vm-1, configuration: p.yaml",
        "ok    clock  synchronised",
        "note  room   1 MiB free; make room",
        "FAULT name   no such name; mend it",
        "",
    ]


def test_a_terminal_gets_lines_of_its_width_broken_below_the_text() -> None:
    long = note("clock", "word " * 30 + "end", "mend it")
    shown = list(lines([section(FINE, long)], "h", columns=80))[2:-1]
    assert len(shown) > 1
    assert all(len(line) <= 80 for line in shown)
    assert all(line.startswith(" " * 13) for line in shown[1:])
    assert shown[-1].endswith("mend it")


def test_a_pipe_gets_one_line_for_each_finding_without_colours() -> None:
    text = "\n".join(lines([section(note("clock", "word " * 300, "mend"))], "h"))
    assert len(text.splitlines()) == 2
    assert "\x1b" not in text
    assert "\x1b[33mnote " in "\n".join(lines([section(HALF)], "h", colour=True))


def test_other_peoples_words_do_no_harm_to_a_terminal() -> None:
    evil = fault("name", "a\x1b[2J\nb", "c\rd")
    for line in lines([section(evil)], "h\x07"):
        assert line.isprintable()
    found = document([section(evil)], "h")["daemons"][0]["findings"][0]
    assert (found["text"], found["remedy"]) == ("a\\x1b[2J\\nb", "c\\rd")


def test_the_verdict() -> None:
    assert (verdict([section(FINE)]), works([section(FINE)])) == ("would work", True)
    assert verdict([section(HALF, HALF)]) == "would work (2 notes)"
    assert verdict([section(BAD), section(BAD, HALF)]) == "would not work: 2 faults (1 note)"
    assert works([section(HALF)])
    assert not works([section(FINE), section(BAD)])


def test_the_document() -> None:
    assert document([section(HALF, FINE)], "vm-1") == {
        "version": 1,
        "host": "vm-1",
        "works": True,
        "faults": 0,
        "notes": 1,
        "daemons": [
            {
                "daemon": "probe",
                "configuration": "p.yaml",
                "findings": [
                    {
                        "check": "room",
                        "verdict": "note",
                        "text": "1 MiB free",
                        "remedy": "make room",
                    },
                    {"check": "clock", "verdict": "ok", "text": "synchronised", "remedy": None},
                ],
            }
        ],
    }


# -- the looks -------------------------------------------------------------------------------


def test_findings_come_in_one_order_whoever_is_first() -> None:
    second = threading.Event()

    def slow() -> Iterator[Finding]:
        assert second.wait(10)
        yield ok("environment", "fine")

    def quick() -> Iterator[Finding]:
        yield BAD
        yield FINE
        second.set()

    found = examine([Check("name", quick), Check("environment", slow)])
    assert [finding.check for finding in found] == ["environment", "clock", "name"]
    order = list(CHECKS)
    assert [f.check for f in found] == sorted((f.check for f in found), key=order.index)


def test_a_look_that_hangs_is_told_and_holds_up_nothing() -> None:
    never = threading.Event()

    def hangs() -> Iterator[Finding]:
        yield HALF
        never.wait()
        yield FINE

    def works_well() -> Iterator[Finding]:
        yield FINE

    late, half, fine = sorted(
        examine([Check("dumpDir", hangs), Check("clock", works_well)], seconds=0.3),
        key=lambda finding: finding.check != "dumpDir",
    )
    never.set()
    assert (late.check, late.verdict) == ("dumpDir", Verdict.FAULT)
    assert late.text == "no answer within 0.3 s"
    assert {half, fine} == {HALF, FINE}


def test_a_look_that_breaks_is_told_in_a_line_with_what_it_found_before() -> None:
    def breaks() -> Iterator[Finding]:
        yield HALF
        raise ZeroDivisionError("by zero")

    half, broken = sorted(examine([Check("waiting", breaks)]), key=lambda f: f.check)
    assert half is HALF
    assert (broken.check, broken.verdict) == ("waiting", Verdict.FAULT)
    assert "unexpected ZeroDivisionError: by zero" in broken.text


def test_an_error_of_ours_is_what_was_found() -> None:
    def refuses() -> Iterator[Finding]:
        raise Retryable("the name has no address; mend centerAddr; or the name service")
        yield

    (found,) = examine([Check("name", refuses)])
    assert found == fault("name", "the name has no address", "mend centerAddr; or the name service")


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_says_what_it_looks_at(name: str) -> None:
    assert CHECKS[name]
