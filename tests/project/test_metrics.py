"""The metrics are those of ``docs/metrics.md``, and nothing that clients choose is in their labels.

Here without a daemon; ``tests/live/test_metrics.py`` looks at running ones.
"""

import re

import pytest

from tests.metric_tables import DOCUMENT, documented, exposed
from tests.prometheus import promtool
from wakizashi.center.metrics import Metrics
from wakizashi.probe.metrics import Now, render
from wakizashi.probe.stats import ProbeStats

NOW = Now(
    engine="ebpf",
    time=1.0,
    interval_seconds=30,
    silence_seconds=0.0,
    open_seconds=0.0,
    captured=1,
    refused=0,
    flows_limit=1,
    pending=[],
    pending_bytes=0,
    pending_limit_bytes=1,
    certificate_end=1.0,
)
LABELS = {"reason", "outcome", "status", "limit", "state", "engine", "version", "commit", "built"}
"""All there are; whoever adds one says here that its values are few and nobody else's choice."""


def texts() -> list[str]:
    return [render(ProbeStats(), NOW).decode(), Metrics().render().decode()]


def test_every_metric_is_documented_as_it_is_and_no_other() -> None:
    found = {name: what for text in texts() for name, what in exposed(text).items()}
    found["wakizashi_probe_engine_info"] = documented()["wakizashi_probe_engine_info"]
    assert len(found) > 60
    assert found == documented()


def test_labels_are_few_and_known() -> None:
    for name, metric in documented().items():
        assert {label for label, _ in metric.labels} <= LABELS, name
        assert all(len(values) <= 5 for _, values in metric.labels), name


@pytest.mark.parametrize("text", texts(), ids=["probe", "center"])
def test_series_are_fewer_than_a_hundred(text: str) -> None:
    assert len([line for line in text.splitlines() if not line.startswith("#")]) < 100


@pytest.mark.parametrize("text", texts(), ids=["probe", "center"])
def test_the_names_are_as_prometheus_wants_them(text: str) -> None:
    """promtool's lint says nothing."""
    assert promtool("check", "metrics", given=text) == ""


def test_the_lint_would_speak() -> None:
    with pytest.raises(AssertionError, match='should have "_total" suffix'):
        promtool("check", "metrics", given="# HELP a_b x\n# TYPE a_b counter\na_b 1\n")


@pytest.mark.parametrize(("change", "what"), [("vanished", 1), ("undocumented", -1)])
def test_the_comparison_sees(change: str, what: int) -> None:
    lines = DOCUMENT.read_text().splitlines()
    (row,) = (line for line in lines if line.startswith("| `wakizashi_probe_flows` "))
    if change == "vanished":
        lines.append(row.replace("probe_flows", "probe_flaws"))
    else:
        lines.remove(row)
    assert len(documented("\n".join(lines))) == len(documented()) + what


def test_each_label_value_is_there_from_the_start() -> None:
    """A rate over a series that begins with 1 is none."""
    for text in texts():
        for line in text.splitlines():
            if match := re.match(r"(wakizashi_\w+_total\S*) (\S+)$", line):
                assert match[2] == "0.0", line
