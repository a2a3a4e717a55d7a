"""``wakizashi top`` on screens of any size, as text, and as JSON."""

import json
from dataclasses import replace
from ipaddress import ip_address

import pytest

from wakizashi.model import DeviceLedger, Direction, Flow, Ledger, Tally, Window
from wakizashi.top import columns, printing, screen
from wakizashi.top.order import Order
from wakizashi.top.screen import Header, Scene, Size
from wakizashi.top.text import (
    ASCII,
    UNICODE,
    Glyphs,
    Style,
    numeric,
    plain,
)
from wakizashi.top.traffic import Traffic
from wakizashi.top.view import KEYS, Sort, View

HEADER = Header("vm-1", "ebpf")
HERE, LONG = ip_address("10.0.0.1").packed, ip_address("fd00:1:2222:3333:4444:5555:6666:7777")
PEERS = [ip_address(f"192.168.100.{n}").packed for n in range(200, 230)]


def packets(direction: Direction, a: bytes, b: bytes, size: int, device: int = 0) -> Flow:
    return Flow(device, direction, a, b, size, 1 + size // 1500)


def ledger(flows: list[Flow], device: int, **more: Tally) -> Ledger:
    mine = [flow for flow in flows if flow.device == device]
    counted = Tally(sum(f.packets for f in mine), sum(f.size for f in mine))
    return Ledger(device=sum(more.values(), counted), counted=counted, **more)


def traffic_of(pairs: int = 30, devices: int = 1, **more: Tally) -> Traffic:
    """Pairs of falling size over five intervals of two seconds; the last one is IPv6."""
    traffic = Traffic(2.0)
    for number in range(5):
        flows = []
        for place, peer in enumerate(PEERS[: pairs - 1]):
            size = 10_000_000 // (place + 1)
            flows.append(packets(Direction.OUT, HERE, peer, size * (1 + number % 3)))
            if place % 3:
                flows.append(packets(Direction.IN, peer, HERE, size // 10))
        flows.append(
            packets(Direction.TRANSIT, LONG.packed, PEERS[0] + bytes(12), 500, devices - 1)
        )
        ledgers = [
            DeviceLedger(f"eth{n}", b"", ledger(flows, n, **(more if n == 0 else {})))
            for n in range(devices)
        ]
        start = number * 2000
        traffic.add(
            Window("h", start, start + 2000, number + 1, (), tuple(ledgers), tuple(flows)), 2.0
        )
    return traffic


def scene(traffic: Traffic, view: View | None = None, notice: str = "") -> Scene:
    view, picture = view or View(), traffic.picture()
    rows = Order().arrange(
        picture.rows, view.sort, view.filter, lambda address: (numeric(address),)
    )
    return Scene(HEADER, picture, rows, view, notice)


def shown(made: Scene, width: int, height: int, glyphs: Glyphs = UNICODE) -> list[str]:
    return plain(screen.lines(made, Size(width, height), glyphs, numeric))


def test_eighty_by_twenty_four() -> None:
    assert shown(scene(traffic_of(3)), 80, 24)[:11] == [
        " wakizashi top  vm-1  ebpf  every 2 s                          by 10 s  0:00:10",
        " device                      counters  in pairs    non-IP   dropped  unexplained",
        " eth0                          138 MB    138 MB       0 B       0 B          0 B",
        " sender and receiver            B/s: 2 s     10 s     40 s    total   last 20 s",
        " 10.0.0.1                     →  10.0 MB  9.00 MB  9.00 MB  90.0 MB        ▃▆█▃▆",
        "   192.168.100.200            ←        -        -        -        -",
        " 10.0.0.1                     →  5.00 MB  4.50 MB  4.50 MB  45.0 MB        ▃▆█▃▆",
        "   192.168.100.201            ←   250 kB   250 kB   250 kB  2.50 MB",
        " c0a8:64c8::                  →        -        -        -        -        █████",
        "   fd00:1:2222:…555:6666:7777 ←    250 B    250 B    250 B  2.50 kB",
        "",
    ]
    assert shown(scene(traffic_of(3)), 80, 24)[-2:] == [
        " sum of 3 pairs                  15.3 MB  13.8 MB  13.8 MB   138 MB",
        " q quit   ? help   / filter   p pause   n names   b bits   1 2 3 t a sort",
    ]


def test_forty_by_twelve() -> None:
    assert shown(scene(traffic_of(3, devices=2)), 40, 12) == [
        " wakizashi top  vm-1  ebpf      0:00:10",
        " device            counters  unexplained",
        " (2 devices)         138 MB          0 B",
        " from, to              B/s: 2 s    total",
        " 10.0.0.1            →  10.0 MB  90.0 MB",
        "   192.168.100.200   ←        -        -",
        " 10.0.0.1            →  5.00 MB  45.0 MB",
        "   192.168.100.201   ←   250 kB  2.50 MB",
        " c0a8:64c8::         →        -        -",
        "   fd00:1:…6666:7777 ←    250 B  2.50 kB",
        " sum of 3 pairs         15.3 MB   138 MB",
        " q quit   ? help   / filter   p pause",
    ]


def test_a_hundred_and_twenty_columns_hold_whole_addresses_devices_and_rates_a_second() -> None:
    lines = shown(scene(traffic_of(3, devices=2)), 120, 40)
    assert any(str(LONG) in line for line in lines)
    assert any("10.0 MB/s" in line for line in lines)
    assert any(line.endswith("   eth1") for line in lines)
    assert "last 54 s" in lines[4]


@pytest.mark.parametrize("width", [1, 20, 30, 40, 51, 52, 61, 62, 71, 72, 80, 99, 100, 120, 300])
@pytest.mark.parametrize("height", [1, 7, 8, 12, 24, 60])
def test_no_line_is_wider_than_the_terminal_and_there_are_as_many_as_it_has(
    width: int, height: int
) -> None:
    lots = {"non_ip": Tally(1, 10**17), "dropped": Tally(1, 10**17), "other": Tally(1, 10**17)}
    views = [View(), View(help=True), View(editing=True, filter="0" * 60), View(filter="168")]
    views += [View(paused=True, bits=True, sort=Sort.TOTAL, offset=3), View(filter="nothing")]
    for traffic in (traffic_of(), traffic_of(3, 12, **lots), Traffic(3600.0)):
        for view in views:
            made = scene(traffic, view, notice="device eth0 is gone " * 20)
            for glyphs in (UNICODE, ASCII):
                lines = screen.lines(made, Size(width, height), glyphs, lambda _: "name." * 30)
                assert len(lines) <= height
                assert height < screen.LEAST_HEIGHT or len(lines) == height or width < 30
                assert all(sum(len(text) for text, _ in line) <= width for line in lines)


@pytest.mark.parametrize("width", range(30, 200))
def test_numbers_stand_below_their_headings(width: int) -> None:
    lines = shown(scene(traffic_of(2)), width, 12)
    heading, numbers, total = lines[3], lines[4], lines[-2]
    end = heading.index("total") + len("total")
    assert numbers[:end].endswith("90.0 MB") and numbers[end : end + 3].strip() == ""
    assert total.endswith("90.0 MB") and len(total) == end


def test_as_many_pairs_as_fit_and_the_rest_by_scrolling() -> None:
    made = scene(traffic_of())
    fitting = screen.page(made.picture, Size(80, 24))
    assert fitting == 9
    first = [line for line in shown(made, 80, 24) if "→" in line]
    assert len(first) == 9
    assert first[1] == next(
        line for line in shown(scene(traffic_of(), View(offset=1)), 80, 24) if "→" in line
    )
    last = shown(scene(traffic_of(), View(offset=10**9)), 80, 24)
    assert len([line for line in last if "→" in line]) == 9
    assert screen.bounded(10**9, 30, fitting) == 21
    assert screen.bounded(3, 2, fitting) == 0


def test_the_sum_is_of_what_the_filter_leaves() -> None:
    lines = shown(scene(traffic_of(4), View(filter="100.201")), 80, 24)
    assert len([line for line in lines if "→" in line]) == 1
    assert lines[-2].startswith(" sum of 1 of 4 pairs ") and lines[-2].endswith("  47.5 MB")
    assert lines[-1].startswith(" filter: 100.201  Esc no filter   q quit")
    assert " no pair matches the filter" in shown(scene(traffic_of(), View(filter="x")), 80, 24)
    assert " no traffic yet" in shown(scene(Traffic(2.0)), 80, 24)


def test_what_is_typed_and_what_happened_are_in_the_last_line() -> None:
    editing = View(editing=True, filter="10.")
    assert shown(scene(traffic_of(), editing), 80, 24)[-1] == (
        " filter: 10._  Enter keeps it, Esc drops it"
    )
    assert shown(scene(traffic_of(), notice="device veth1 is gone"), 80, 24)[-1] == (
        " device veth1 is gone"
    )


def test_the_title_tells_of_pause_and_sort_and_leaves_out_what_matters_less() -> None:
    paused = scene(traffic_of(), View(paused=True, sort=Sort.TOTAL))
    assert shown(paused, 80, 24)[0].endswith("PAUSED  by total  0:00:10")
    assert shown(paused, 80, 24)[-1].startswith(" q quit   ? help   / filter   p go on ")
    assert shown(paused, 30, 12)[0] == " wakizashi top         PAUSED"


def test_the_column_that_is_sorted_by_stands_out() -> None:
    for sort, text in ((Sort.SHORT, "B/s: 2 s"), (Sort.LONG, "40 s"), (Sort.TOTAL, "total")):
        made = scene(traffic_of(), View(sort=sort))
        line = columns.heading(made.picture, made.view, columns.columns(80))
        assert [text for text, style in line if style is Style.BOLD] == [text]
    made = scene(traffic_of(), View(sort=Sort.ADDRESS))
    line = columns.heading(made.picture, made.view, columns.columns(80))
    assert line[0] == (" sender and receiver", Style.BOLD)


def test_bits_are_rates_alone() -> None:
    lines = shown(scene(traffic_of(3), View(bits=True)), 80, 24)
    assert "b/s: 2 s" in lines[3]
    assert "80.0 Mb  72.0 Mb  72.0 Mb  90.0 MB" in lines[4]


def test_the_help_has_every_key_and_what_a_device_adds_up_to() -> None:
    lines = shown(scene(traffic_of(), View(help=True)), 80, 24)
    for key, text in KEYS:
        assert f" {key:<9} {text}" in lines
    assert any("counters = in pairs + other + non-IP + dropped" in line for line in lines)


# -- devices -----------------------------------------------------------------------------------


def devices(traffic: Traffic, width: int, most: int) -> list[str]:
    return plain(columns.devices(traffic.picture(), width, most, UNICODE))


def test_a_device_adds_up() -> None:
    traffic = traffic_of(
        2, non_ip=Tally(1, 2000), dropped=Tally(3, 40_000), other=Tally(0, 0), lost=Tally()
    )
    assert devices(traffic, 80, 3)[1] == (
        " eth0                         90.2 MB   90.0 MB   10.0 kB    200 kB          0 B"
    )


def test_dropped_packets_stand_out_and_only_they() -> None:
    for dropped, style in ((Tally(), Style.PLAIN), (Tally(1, 100), Style.ALARM)):
        made = columns.devices(traffic_of(2, dropped=dropped).picture(), 80, 3, UNICODE)
        styles = {style for line in made[1:] for _, style in line}
        assert (Style.ALARM in styles) == (style is Style.ALARM)


def test_other_has_a_column_when_there_is_some() -> None:
    assert "other" not in devices(traffic_of(2), 80, 3)[0]
    traffic, folded = Traffic(2.0), Ledger(Tally(9, 900), Tally(9, 900), other=Tally(1, 70))
    traffic.add(Window("h", 0, 1, 1, (), (DeviceLedger("eth0", b"", folded),), ()), 2.0)
    heads, numbers = devices(traffic, 80, 3)
    assert heads.split() == [
        "device",
        "counters",
        "in",
        "pairs",
        "other",
        "non-IP",
        "dropped",
        "unexplained",
    ]
    assert numbers.split()[1::2] == ["900", "830", "70", "0", "0", "0"]


def test_devices_for_which_there_is_no_line_are_summed() -> None:
    lines = devices(traffic_of(3, devices=12), 80, 3)
    assert [line.split("  ")[0].strip() for line in lines[1:]] == ["eth0", "eth11", "(10 devices)"]


def test_the_drops_are_the_last_column_to_go() -> None:
    assert [
        heads.split() for heads in (devices(traffic_of(2), w, 3)[0] for w in (30, 42, 52, 62))
    ] == [
        ["device", "counters", "unexplained"],
        ["device", "counters", "dropped", "unexplained"],
        ["device", "counters", "in", "pairs", "dropped", "unexplained"],
        ["device", "counters", "in", "pairs", "non-IP", "dropped", "unexplained"],
    ]


def test_other_peoples_words_do_no_harm_to_a_terminal() -> None:
    made = scene(traffic_of())
    evil = replace(made, header=Header("h\x1bx", "ebpf"))
    assert "\x1b" not in "".join(shown(evil, 80, 24))


def test_ascii_is_ascii() -> None:
    for view in (View(), View(help=True), View(editing=True)):
        assert "\n".join(shown(scene(traffic_of(), view), 120, 40, ASCII)).isascii()


# -- for pipes ---------------------------------------------------------------------------------


def test_lines_for_a_log() -> None:
    made = scene(traffic_of())
    said = printing.text(HEADER, made.picture, made.rows, View(), numeric, UNICODE, 2)
    lines = said.splitlines()
    assert lines[0] == "1970-01-01T00:00:10.000Z vm-1 ebpf 0:00:10"
    assert [line.split()[0] for line in lines[1:4]] == ["device", "eth0", "sender"]
    assert len([line for line in lines if "→" in line]) == 2
    assert lines[-2].startswith(" sum of 30 pairs ") and lines[-1] == ""
    assert "\x1b" not in said and said.endswith("\n\n")


def test_an_object_for_programs() -> None:
    traffic = Traffic(2.0)
    flows = (
        packets(Direction.OUT, HERE, PEERS[0], 3000),
        packets(Direction.IN, PEERS[0], HERE, 100),
        packets(Direction.TRANSIT, bytes(4), bytes(4), 70),
    )
    first = ledger(list(flows), 0, other=Tally(), non_ip=Tally(1, 42), dropped=Tally(2, 1000))
    first = replace(first, other=Tally(1, 70))
    for number in (1, 2):
        window = Window(
            "h", 0, 2000 * number, number, (), (DeviceLedger("eth0", HERE, first),), flows
        )
        traffic.add(window, 2.0)
    line = printing.line(printing.document(HEADER, traffic, window, 2.0))
    assert line.endswith("}\n") and line.count("\n") == 1
    tally = lambda packets, size: {"packets": packets, "bytes": size}
    interval = {
        "device": tally(8, 4212),
        "counted": tally(5, 3170),
        "non_ip": tally(1, 42),
        "dropped": tally(2, 1000),
        "other": tally(1, 70),
    }
    assert json.loads(line) == {
        "version": 1,
        "time": 4000,
        "seconds": 2.0,
        "number": 2,
        "host": "vm-1",
        "engine": "ebpf",
        "devices": [
            {
                "device": "eth0",
                "interval": interval,
                "total": {
                    name: tally(2 * each["packets"], 2 * each["bytes"])
                    for name, each in interval.items()
                },
            }
        ],
        "pairs": [
            {
                "device": "eth0",
                "srcIP": "10.0.0.1",
                "dstIP": "192.168.100.200",
                "direction": "out",
                "interval": {"sent": tally(3, 3000), "received": tally(1, 100)},
                "total": {"sent": tally(6, 6000), "received": tally(2, 200)},
                "rates": [
                    {"seconds": span, "sent": 1500.0, "received": 50.0} for span in (2, 10, 40)
                ],
            }
        ],
    }
