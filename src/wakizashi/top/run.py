"""``wakizashi top`` at work: devices captured, and shown on a terminal, as text or as JSON."""

import logging
import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import TextIO

from wakizashi import privileges
from wakizashi.errors import ConfigError
from wakizashi.lifecycle import StopSignal, leave_at_once
from wakizashi.logs import one_line
from wakizashi.model import Window
from wakizashi.names import Names
from wakizashi.probe.capture import choose
from wakizashi.probe.devices import Netlink
from wakizashi.run_as import assume
from wakizashi.sections import DaemonSection
from wakizashi.terminals import capable, colours
from wakizashi.top import capturing, printing, screen
from wakizashi.top.capturing import Capture
from wakizashi.top.order import Order
from wakizashi.top.screen import Header, Scene
from wakizashi.top.terminal import Terminal
from wakizashi.top.text import glyphs, numeric
from wakizashi.top.traffic import Picture, Traffic
from wakizashi.top.view import View, keys, press

NOTICE_SECONDS = 10.0
"""For so long what was logged stands in the last line of the screen."""


class Form(Enum):
    """How it is shown."""

    SCREEN = "screen"
    PLAIN = "plain"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    devices: tuple[str, ...]
    capture: str
    interval_seconds: float
    count: int | None
    form: Form
    names: bool
    bits: bool
    pairs: int
    """In text."""
    user: str


def form(
    *, plain: bool, json: bool, terminals: bool, environment: Mapping[str, str] = os.environ
) -> Form:
    """What is meant: without a terminal at both ends, text."""
    if json:
        return Form.JSON
    return Form.PLAIN if plain or not (terminals and capable(environment)) else Form.SCREEN


def run(options: Options) -> None:
    """Until its end.

    Raises:
        WakizashiError: it can't begin: no privilege, no such device, user or engine.
    """
    capturing.check(options.devices)
    user = _user(options.user)
    name, engine, _ = choose(options.capture)
    # As the probe: sockets of devices that come later need no more than those of devices that are
    # here, so all are opened with what is kept, and nothing was read before.
    if user is not None:
        assume(user, engine.capabilities)
    else:
        privileges.drop(engine.capabilities)
    header = Header(socket.gethostname(), name)
    taken = _terminal() if options.form is Form.SCREEN else None
    force = leave_at_once if taken is None else taken.leave
    with (
        StopSignal(force=force) as stop,
        Netlink() as netlink,
        Capture(header.host, options.devices, engine, netlink) as capture,
    ):
        capture.open()
        if taken is not None:
            Screen(options, header, capture, taken).run(stop)
        else:
            _print(options, header, capture, stop)


def _user(name: str) -> DaemonSection | None:
    try:
        return DaemonSection(user=name) if name else None
    except ValueError:  # it says more than a person needs
        raise ConfigError(
            f"--user: {name!r} is no user of this host; name one, as nobody, or write a uid"
        ) from None


def _terminal() -> Terminal:
    keys, shown = sys.stdin.fileno(), sys.stdout.fileno()
    return Terminal(keys, shown, colour=colours(os.environ))


def _print(
    options: Options, header: Header, capture: Capture, stop: StopSignal, out: TextIO | None = None
) -> None:
    out = out or sys.stdout
    traffic = Traffic(options.interval_seconds)
    names, order = Names(), Order()
    view = View(bits=options.bits, names=options.names)
    shown = glyphs(os.environ)

    def take(window: Window, seconds: float) -> None:
        traffic.add(window, seconds)
        if options.form is Form.JSON:
            document = printing.document(header, traffic, window, seconds)
            out.write(printing.line(document))
        else:
            names.collect()
            picture = traffic.picture()
            rows = order.arrange(picture.rows, view.sort, "", partial(_texts, names))
            label = partial(_label, names, view)
            out.write(printing.text(header, picture, rows, view, label, shown, options.pairs))
        out.flush()

    capture.windows(stop, options.interval_seconds, options.count, take)


def _label(names: Names, view: View, address: bytes) -> str:
    return (names.get(numeric(address)) if view.names else "") or numeric(address)


def _texts(names: Names, address: bytes) -> tuple[str, str]:
    text = numeric(address)
    return text, names.peek(text)


class _Notices(logging.Handler):
    """Keeps the last message: on standard error it would be in the middle of the screen."""

    def __init__(self) -> None:
        super().__init__()
        self._text, self._at = "", float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        self._text, self._at = one_line(record.getMessage()), time.monotonic()

    @property
    def text(self) -> str:
        """What is to be shown now."""
        return self._text if time.monotonic() - self._at < NOTICE_SECONDS else ""


class Screen:
    """The live view: what comes in changes the picture or the view, and either is drawn."""

    def __init__(self, options: Options, header: Header, capture: Capture, taken: Terminal) -> None:
        self._options, self._header, self._capture = options, header, capture
        self._traffic = Traffic(options.interval_seconds)
        self._picture: Picture = self._traffic.picture()
        self._view = View(names=options.names, bits=options.bits)
        self._names, self._order = Names(), Order()
        self._notices = _Notices()
        self._glyphs = glyphs(os.environ)
        self._terminal = taken

    def run(self, stop: StopSignal) -> None:
        """Until q, a signal, or the last interval."""
        before, level = logging.root.handlers[:], logging.root.level
        watch = self._capture.watch
        with self._terminal:
            logging.root.handlers[:] = [self._notices]
            logging.root.setLevel(logging.INFO)  # that a device came or is gone is worth a line
            try:
                watch.listen(sys.stdin.fileno(), self._key)
                watch.listen(self._terminal, self._attend)
                watch.listen(self._names, self._named)
                self._draw()
                self._capture.windows(
                    stop,
                    self._options.interval_seconds,
                    self._options.count,
                    self._take,
                    lambda: not self._view.quit,
                )
            finally:
                logging.root.handlers[:] = before
                logging.root.setLevel(level)

    def _take(self, window: Window, seconds: float) -> None:
        self._traffic.add(window, seconds)
        if not self._view.paused:
            self._picture = self._traffic.picture()
        self._draw()  # what was logged is shown though the rest is paused

    def _key(self) -> None:
        data = self._terminal.read()
        if not data:  # the terminal is gone
            self._view = press(self._view, "q", 0)
        before = self._view
        for key in keys(data):
            size = self._terminal.size
            self._view = press(self._view, key, max(1, screen.page(self._picture, size)))
        if before.paused and not self._view.paused:
            self._picture = self._traffic.picture()
        self._draw()

    def _attend(self) -> None:
        self._terminal.attend()
        self._draw()

    def _named(self) -> None:
        self._names.collect()
        self._draw()

    def _draw(self) -> None:
        view, picture, size = self._view, self._picture, self._terminal.size
        rows = self._order.arrange(
            picture.rows, view.sort, view.filter, partial(_texts, self._names)
        )
        offset = screen.bounded(view.offset, len(rows), screen.page(picture, size))
        self._view = view = replace(view, offset=offset)
        scene = Scene(self._header, picture, rows, view, self._notices.text)
        label = partial(_label, self._names, view)
        self._terminal.draw(screen.lines(scene, size, self._glyphs, label))
