"""InfluxDB's line protocol: from windows to text. Pure.

https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/
"""

from collections.abc import Sequence

from wakizashi.model import TALLIES, StoredWindow, Tags, Tally

_ESCAPES = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})


def escape(text: str) -> str:
    """A tag's key or value in the line protocol; line breaks and backslashes never come here."""
    return text.translate(_ESCAPES)


def _template(measurement: str, tags: Tags, free: Sequence[str]) -> str:
    """``measurement,tag=value,…`` with a ``%s`` for each of ``free``, tags sorted by key.

    Sorted tags spare InfluxDB the sorting (line protocol reference, "Performance tips").
    """
    fixed = {key: escape(value).replace("%", "%%") for key, value in tags}
    pairs = sorted([*fixed.items(), *((key, "%s") for key in free)])
    return ",".join([measurement, *(f"{escape(key)}={value}" for key, value in pairs)])


def encode_lines(windows: Sequence[StoredWindow], table: str) -> str:
    """The line protocol of windows, times in milliseconds."""
    lines: list[str] = []
    fields = "number=%di,duration=%di,windows=%di," + ",".join(
        f"{name}_{unit}=%di" for name in TALLIES for unit in ("packets", "bytes")
    )
    for window in windows:
        tags = tuple(sorted([*window.tags, ("probe", window.probe)]))
        traffic = (
            _template(table, tags, ("dstIP", "probeIP", "srcIP"))
            + f" size=%di,packets=%di {window.start_ms}"
        )
        lines += [
            traffic % (r.dstIP, r.probeIP, r.srcIP, r.size, r.packets) for r in window.records
        ]
        ledger = _template(f"{table}_ledger", tags, ("device",)) + f" {fields} {window.start_ms}"
        for record in window.ledgers:
            numbers: list[int] = [record.number, record.duration, record.windows]
            for name in TALLIES:
                tally: Tally = getattr(record.ledger, name)
                numbers += (tally.packets, tally.bytes)
            lines.append(ledger % (escape(record.device), *numbers))
    return "\n".join(lines)
