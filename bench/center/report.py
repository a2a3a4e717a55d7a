"""The Markdown page."""

from bench.capture.summary import Figure
from bench.center.results import BACKENDS, LINES, NOTHING, Fleet, Results
from bench.center.servers import SETTINGS
from bench.center.summary import DirectRow, Row, direct_rows, find, rows

NAMES = {
    NOTHING: "nothing",
    LINES: "lines, thrown away",
    "influxdb": "InfluxDB 1.x",
    "victoria": "VictoriaMetrics",
    "sqlite": "SQLite",
    "redis": "Redis",
}
_HEAD = (
    "| backend | records/s | a CPU second | center µs | database µs | ack p50 ms | ack p99 ms | "
    "RSS MiB, peak | generator CPU |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
)


def markdown(results: Results) -> str:
    """The whole page."""
    table = rows(results)
    parts = [_intro(results)]
    shapes = sorted({(row.case.probes, row.case.records) for row in table})
    for probes, records in shapes:
        chosen = [row for row in table if (row.case.probes, row.case.records) == (probes, records)]
        plural = "s" if probes > 1 else ""
        parts.append(
            f"## {probes:,} probe{plural}, {records:,} records a window\n\n"
            + _HEAD
            + "".join(map(_line, chosen))
        )
    parts += [_direct(results, table), _bytes(table), _fleets(results)]
    return "\n".join(part for part in parts if part)


def _intro(results: Results) -> str:
    machine, settings = results.machine, results.settings
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    versions = "; ".join(f"{NAMES.get(k, k)} {v}" for k, v in results.versions.items())
    used = {run.case.backend for run in results.runs}
    servers = "".join(
        f"- {NAMES[name]}: {SETTINGS[name]}.\n"
        for name in BACKENDS
        if name in SETTINGS and name in used
    )
    return (
        "# What it costs to store a record\n\n"
        "Made by `make bench-center`; do not edit. Probes, center and database are processes on one "
        "machine and speak over loopback; the center has one CPU "
        f"({settings.get('center_cpus')}), a database process the others "
        f"({settings.get('other_cpus')}); the probes share the center's where there is one, and "
        f"are on the others where not. About {settings.get('records'):,} records a run, a fifth for "
        f"one probe with small windows, a window a probe at least; {settings.get('repetitions')} repetitions, interleaved; "
        "medians, and where there are several the lowest and highest value in brackets. Each run "
        f"has a database of its own, empty at first. {settings.get('remark', '')}".rstrip()
        + "\n\n"
        "- **records/s**: by the clock, from the first window sent to the last ack.\n"
        "- **a CPU second**: records by CPU seconds of the center's process: what one core does. "
        "**center µs** is the same for one record.\n"
        "- **database µs**: CPU of the database for a record; SQLite is in the center.\n"
        "- **ack**: from a window sent to the word that it is durable, at full load: as much is on "
        "the way as the probes may send. One probe delivers a backlog, up to 256 windows a call and "
        "32 not acknowledged; many probes have one window each on the way, 1,000 of them at once "
        "at most. What life is like is under *Fleets*.\n"
        "- Each probe has a connection, two addresses (IPv4, IPv6) and its own peers of a pool of "
        "4,096, 80 % IPv4 and 20 % IPv6, which it keeps from window to window; half of the records "
        "go out, half come in. What a window sends is serialized beforehand.\n"
        f"{servers}\n"
        f"Machine: {facts}. Versions: {versions}.\n"
    )


def _line(row: Row) -> str:
    name = NAMES[row.case.backend]
    if row.rate is None or row.a_cpu_second is None:
        return f"| {name} | {_cell('; '.join(row.faults))} | | | | | | | |\n"
    cost = Figure(*(1e6 / value for value in (
        row.a_cpu_second.median, row.a_cpu_second.high, row.a_cpu_second.low)))  # fmt: skip
    peak = row.rss_peak.median / 2**20 if row.rss_peak else 0.0
    cells = [
        _whole(row.rate),
        _whole(row.a_cpu_second),
        _number(cost),
        "–" if row.case.backend in (NOTHING, LINES, "sqlite") else _number(row.database_micros),
        _millis(row.p50),
        _millis(row.p99),
        f"{peak:,.0f}",
        _share(row.generator_share),
    ]
    troubles = [f"{row.retries} asked to come again"] if row.retries else []
    troubles += [f"{row.failures} calls failed"] if row.failures else []
    troubles += list(row.faults)
    if troubles:
        cells[-1] += f" ({_cell('; '.join(troubles))})"
    return f"| {name} | {' | '.join(cells)} |\n"


def _direct(results: Results, table: list[Row]) -> str:
    lines = [_direct_line(row, table) for row in direct_rows(results)]
    if not lines:
        return ""
    return (
        "## The same points from a bare HTTP client\n\n"
        "Ready-made lines, 10,000 a request, connections kept; the client has the center's CPU. "
        "*Center* is the part of it that the center's records above come to: with 1 probe and 5,000 "
        "records a window, and with 100 probes and 200, where a call for each window costs the "
        "center most of its CPU, which the probes share.\n\n"
        "| database | in flight | points/s | center, 5,000 | center, 200 | database µs | p50 ms | p99 ms |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|\n" + "".join(lines)
    )


def _direct_line(row: DirectRow, table: list[Row]) -> str:
    start = f"| {NAMES[row.backend]} | {row.in_flight} |"
    if row.rate is None:
        return f"{start} {_cell('; '.join(row.faults))} | | | | | |\n"
    cells = [
        _whole(row.rate),
        _part(row, find(table, row.backend, 1, 5_000)),
        _part(row, find(table, row.backend, 100, 200)),
        _number(row.database_micros),
        _millis(row.p50),
        _millis(row.p99),
    ]
    return f"{start} {' | '.join(cells)} |\n"


def _part(row: DirectRow, ours: Row | None) -> str:
    """Of a bare client's rate."""
    if ours is None or ours.rate is None or row.rate is None:
        return "–"
    return f"{100 * ours.rate.median / row.rate.median:.0f} %"


def _bytes(table: list[Row]) -> str:
    lines = []
    for row in table:
        if row.rate is None or row.disk is None or row.case.backend in (NOTHING, LINES):
            continue
        memory = f"{row.memory.median:.0f}" if row.memory and row.memory.median else "–"
        lines.append(
            f"| {NAMES[row.case.backend]} | {row.case.probes:,} | {row.case.records:,} | "
            f"{row.points_a_series:,.0f} | {row.disk.median:.1f} | {memory} |\n"
        )
    wire = sorted({(row.case.records, round(row.wire.median, 1)) for row in table if row.wire})
    sent = ", ".join(f"{size} with {records:,} records a window" for records, size in wire)
    if not wire:
        return ""
    return (
        f"## Bytes per record\n\nOn the wire, as payload of gRPC: {sent}.\n\n"
        "On the disk, once all is written out and merged: InfluxDB after a restart that snapshots "
        "its cache and compacts; VictoriaMetrics after a forced merge, without its caches; SQLite "
        "once the center has ended; Redis with its file written anew. *Points a series*: how many "
        "windows of the same addresses there are; what is per series weighs the less the more "
        "there are.\n\n"
        "| database | probes | records a window | points a series | disk | memory |\n"
        "|---|---:|---:|---:|---:|---:|\n" + "".join(lines)
    )


def _fleets(results: Results) -> str:
    if not results.fleets:
        return ""
    return (
        "## Fleets\n\n"
        "Probes that each deliver a window every interval, at moments of their own spread over a "
        "part of it: half of it is what probes do. *Restart*: the center is told to stop, and is "
        "started again at once.\n\n"
        "| backend | probes | interval, spread s | windows | lost | ack p50 ms | p99 | longest | "
        "retries, failed calls | center CPU | RSS MiB | restart |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n"
        + "".join(map(_fleet, results.fleets))
    )


def _fleet(one: Fleet) -> str:
    start = (
        f"| {NAMES[one.case.backend]} | {one.case.probes:,} | "
        f"{one.interval_seconds}, {one.spread_seconds:g} |"
    )
    if one.fault:
        return f"{start} {_cell(one.fault)} | | | | | | | | |\n"
    restart = "–"
    if one.restarted_at:
        restart = (
            f"down {one.down_seconds:.1f} s, all back {one.back_seconds:.1f} s later, up to "
            f"{one.peak_connections:,} connections tried a second"
        )
    cells = [
        f"{one.stored:,}",
        str(one.lost),
        f"{1000 * one.acks.p50:,.0f}",
        f"{1000 * one.acks.p99:,.0f}",
        f"{1000 * one.acks.longest:,.0f}",
        f"{one.retries:,}, {one.failures:,}",
        f"{100 * one.center_cpu_seconds / one.wall_seconds:.0f} %",
        f"{max((size for _, size in one.rss), default=0) / 2**20:,.0f}",
        restart,
    ]
    return f"{start} {' | '.join(cells)} |\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _spread(value: Figure, form: str) -> str:
    middle, low, high = (format(v, form) for v in (value.median, value.low, value.high))
    return middle if low == high else f"{middle} ({low}–{high})"


def _whole(value: Figure | None) -> str:
    if value is None:
        return "–"
    return _spread(Figure(*(round(v, -2) for v in (value.median, value.low, value.high))), ",.0f")


def _number(value: Figure | None) -> str:
    return "–" if value is None else _spread(value, ".2f")


def _millis(value: Figure | None) -> str:
    if value is None:
        return "–"
    return _spread(Figure(1000 * value.median, 1000 * value.low, 1000 * value.high), ",.0f")


def _share(value: Figure | None) -> str:
    return "–" if value is None else f"{100 * value.median:.0f} %"
