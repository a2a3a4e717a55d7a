"""Log lines on standard error, as text or as JSON: one line each, whoever speaks.

A text line is ``TIME LEVEL PROGRAM: MESSAGE``. A JSON line is an object with the keys
``time``, ``level``, ``program``, ``logger``, ``message``, and ``traceback`` where there is
one, which is with ``logLev: 0`` alone. Times are RFC 3339 in UTC with milliseconds. The
message is the whole of it, as in text: what it names has no keys of its own, for there is
no set of them that fits more than a few messages.

Where a message has a line break or another control character in it, as what a server
answered may have, that is escaped: nobody can write a line that looks like ours. Warnings of
Python, and what ends a thread or fails in a destructor, are log lines too.
"""

import json
import logging
import sys
import threading
import time

LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
"""``logLev`` 0 to 4."""

FORMATS = ("text", "json")
"""``logFormat``."""

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROL |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_CONTROL |= {0x2028: "\\u2028", 0x2029: "\\u2029"}

_log = logging.getLogger(__name__)


class _Formatter(logging.Formatter):
    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, program: str) -> None:
        super().__init__()
        self.program = program

    def traceback(self, record: logging.LogRecord) -> str:
        """No traceback ever reaches a user, unless he asked for debug messages."""
        return self.formatException(record.exc_info) if record.exc_info and _debugging() else ""


class _TextFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time, message = self.formatTime(record), one_line(_message(record))
        line = f"{time} {record.levelname} {self.program}: {message}"
        return f"{line}\n{self.traceback(record)}".rstrip("\n")


class _JsonFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "program": self.program,
            "logger": record.name,
            "message": _message(record),
        }
        if traceback := self.traceback(record):
            entry["traceback"] = traceback
        # Half a surrogate pair stands for a byte that was no UTF-8. JSON could hold it, and many
        # readers would refuse it.
        return json.dumps({key: _valid(text) for key, text in entry.items()})


def _message(record: logging.LogRecord) -> str:
    try:
        message = record.getMessage()
    except (TypeError, ValueError, KeyError):  # arguments that do not fit, in a library
        message = f"{record.msg} {record.args!r}"
    if record.exc_info and record.exc_info[1] is not None and not _debugging():
        message += f": {record.exc_info[1]!r}"
    return message


def _debugging() -> bool:
    return logging.root.level <= logging.DEBUG


def _valid(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def one_line(text: str) -> str:
    """``text`` with its control characters escaped."""
    return text.translate(_CONTROL)


def setup_logging(level: int, program: str, form: str = "text") -> None:
    """Log to standard error from ``level`` (0 debug to 4 fatal) on, in one of ``FORMATS``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter(program) if form == "json" else _TextFormatter(program))
    logging.root.handlers[:] = [handler]
    set_level(level)
    logging.captureWarnings(True)
    threading.excepthook = _thread_ended
    sys.unraisablehook = _not_raised


def set_level(level: int) -> None:
    """Log from ``level`` (0 debug to 4 fatal) on."""
    logging.root.setLevel(LEVELS[level])
    # Other people's libraries speak when it is serious.
    for name in ("grpc", "urllib3", "asyncio", "scapy", "uvicorn"):
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.ERROR))


def take_over(name: str) -> None:
    """Have a library that prints on its own, once it is imported, log as everybody does."""
    logger = logging.getLogger(name)
    logger.handlers.clear()
    logger.propagate = True


def last_words(text: str, message: str) -> str:
    """A line, without its end, for who can't log: at the end of the program, in a signal handler.

    It is ``message`` in JSON if the log is. Before :func:`setup_logging` that is not known:
    then, and where the log is text, it is ``text``.
    """
    for handler in logging.root.handlers:
        if isinstance(handler.formatter, _JsonFormatter):
            record = logging.LogRecord(__name__, logging.ERROR, "", 0, message, None, None)
            return handler.formatter.format(record)
    return text


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "(gone)"
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        info = (ended.exc_type, ended.exc_value, ended.exc_traceback)
        _log.error("thread %s ended unexpectedly", name, exc_info=info)


def _not_raised(failed: "sys.UnraisableHookArgs") -> None:
    if failed.exc_value is not None:
        info = (failed.exc_type, failed.exc_value, failed.exc_traceback)
        what = failed.err_msg or "exception ignored in"
        _log.error("%s %r", what, failed.object, exc_info=info)
