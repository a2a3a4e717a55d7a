"""Of a span: who sent to whom, which probe saw whom, who talked most. Pure.

All three come from the same tallies by (probe, probeIP, srcIP, dstIP), so they have the same total.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from wakizashi.dashboard.parameters import Talkers
from wakizashi.dashboard.river import Courses, Key, Tallies, largest

Label = Callable[[str], str]
"""From an address to what it is called."""


def total(tallies: Tallies) -> dict[str, int]:
    """The sums of all."""
    return {
        "bytes": sum(tally[0] for tally in tallies.values()),
        "packets": sum(tally[1] for tally in tallies.values()),
    }


def regrouped(tallies: Tallies, key: Callable[[Key], Key]) -> Tallies:
    """Sums by a coarser key."""
    found: Tallies = {}
    for fine, (size, packets) in tallies.items():
        tally = found.setdefault(key(fine), [0, 0])
        tally[0] += size
        tally[1] += packets
    return found


def pairs(tallies: Tallies) -> Tallies:
    """By (srcIP, dstIP)."""
    return regrouped(tallies, lambda key: key[2:])


def peer(key: Key) -> str:
    """The end that is not the probe's own address; of two that are not, the destination."""
    _, own, source, destination = key
    return source if destination == own and source != own else destination


# -- flows -----------------------------------------------------------------------------------


def flows(by_pair: Tallies, links: int, label: Label) -> dict[str, Any]:
    """The largest pairs as links of their own, the rest to and from ``other``.

    What is left of a source that is shown goes from there to ``other``, so that it is as wide as
    all that it sent; what is left of a destination comes from ``other``, unless its source is shown.
    """
    shown = largest(by_pair)[:links]
    sources = {source for source, _ in shown}
    destinations = {destination for _, destination in shown}
    drawn = {pair: by_pair[pair] for pair in shown}
    rest = {pair: tally for pair, tally in by_pair.items() if pair not in drawn}

    def folded(pair: Key) -> Key:
        source, destination = pair
        if source in sources:
            return source, ""
        return "", destination if destination in destinations else ""

    drawn |= regrouped(rest, folded)
    order = largest(drawn)
    nodes = dict.fromkeys(
        node for source, destination in order for node in (("s", source), ("d", destination))
    )
    return {
        "nodes": [
            {
                "id": f"{side}:{address}",
                "side": "source" if side == "s" else "destination",
                "address": address or None,
                "label": label(address) if address else "other",
            }
            for side, address in nodes
        ],
        "links": [
            {
                "source": f"s:{pair[0]}",
                "target": f"d:{pair[1]}",
                "bytes": drawn[pair][0],
                "packets": drawn[pair][1],
            }
            for pair in order
        ],
    }


# -- matrix ----------------------------------------------------------------------------------


def matrix(tallies: Tallies, peers: int, label: Label) -> dict[str, Any]:
    """Which probe saw how much from and to whom; the smallest peers as one."""
    fine = regrouped(tallies, lambda key: (key[0], peer(key)))
    by_probe = regrouped(fine, lambda key: key[:1])
    by_peer = regrouped(fine, lambda key: key[1:])
    order = largest(by_peer)
    columns = {address: index for index, (address,) in enumerate(order[:peers])}
    left = order[peers:]
    cells = regrouped(fine, lambda key: (key[0], key[1] if key[1] in columns else ""))
    heads: list[dict[str, Any]] = [
        {"address": address, "label": label(address), **_tally(by_peer[address,])}
        for address in columns
    ]
    if left:
        columns[""] = len(columns)
        rest = [sum(by_peer[key][unit] for key in left) for unit in (0, 1)]
        heads.append({"address": None, "label": f"other ({len(left)})", **_tally(rest)})
    rows = {probe: index for index, (probe,) in enumerate(largest(by_probe))}
    return {
        "probes": [{"name": probe, **_tally(by_probe[probe,])} for probe in rows],
        "peers": heads,
        "cells": sorted(
            ([rows[probe], columns[address], *tally] for (probe, address), tally in cells.items()),
            key=lambda cell: (-cell[2], cell),
        ),
    }


def _tally(tally: Sequence[int]) -> dict[str, int]:
    return {"bytes": tally[0], "packets": tally[1]}


# -- talkers ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    """The rows that are shown, and what is left of those that match."""

    shown: tuple[Key, ...]
    matching: int
    other: dict[str, int]


def chosen(by_pair: Tallies, asked: Talkers, called: Label) -> Table:
    """The pairs to show: those that ``find`` finds in a name or an address, sorted and cut off.

    Args:
        by_pair: all pairs.
        asked: which of them.
        called: the name of an address, or nothing.
    """
    text = asked.find.casefold()
    by_name = asked.sort in ("src", "dst")
    ends = {address for pair in by_pair for address in pair} if text or by_name else ()
    names = {address: called(address) for address in ends}

    def found(pair: Key) -> bool:
        return any(text in end or text in names[end].casefold() for end in pair)

    matching = {pair: tally for pair, tally in by_pair.items() if not text or found(pair)}
    order = largest(matching)
    if by_name:
        end = ("src", "dst").index(asked.sort)
        order.sort(key=lambda pair: _by_name(pair[end], names[pair[end]]))
    else:
        unit = ("bytes", "packets").index(asked.sort)
        order.sort(key=lambda pair: -matching[pair][unit])
    if (asked.order == "desc") == by_name:
        order.reverse()
    shown = tuple(order[: asked.rows])
    left = [matching[pair] for pair in order[asked.rows :]]
    sums = {"bytes": sum(tally[0] for tally in left), "packets": sum(tally[1] for tally in left)}
    return Table(shown, len(matching), {"count": len(left), **sums})


def _by_name(address: str, name: str) -> tuple[Any, ...]:
    """Names first, then addresses as numbers: 10.0.0.9 is before 10.0.0.10."""
    if name:
        return 0, name.casefold(), address
    try:
        number = ip_address(address)
    except ValueError:  # another program writes into this table
        return 2, address
    return 1, number.version, int(number)


def seen_by(tallies: Tallies) -> Mapping[Key, list[str]]:
    """The probes that saw each pair."""
    found: defaultdict[Key, set[str]] = defaultdict(set)
    for key in tallies:
        found[key[2:]].add(key[0])
    return {pair: sorted(probes) for pair, probes in found.items()}


def talkers(
    tallies: Tallies,
    by_pair: Tallies,
    table: Table,
    sparks: Courses,
    seconds: float,
    label: Label,
) -> dict[str, Any]:
    """The table.

    Args:
        tallies: all of the span.
        by_pair: the same by pair.
        table: the pairs to show.
        sparks: the course of each of them.
        seconds: the length of the span, for the rate.
        label: what an address is called.
    """
    probes, whole = seen_by(tallies), total(by_pair)["bytes"]
    rows = []
    for pair in table.shown:
        size, packets = by_pair[pair]
        rows.append(
            {
                "srcIP": pair[0],
                "dstIP": pair[1],
                "src": label(pair[0]),
                "dst": label(pair[1]),
                "probes": probes[pair],
                "bytes": size,
                "packets": packets,
                "rate": size / seconds,
                "share": size / whole if whole else 0.0,
                "spark": sparks.get(pair),
            }
        )
    return {
        "rows": rows,
        "matching": table.matching,
        "other": table.other,
        "times": list(sparks.times),
    }
