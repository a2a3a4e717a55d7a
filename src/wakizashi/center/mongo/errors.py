"""What pymongo raises, as one of our errors. Pure.

Permanent is only what the documents themselves are to blame for; everything
that an operator can mend is retryable.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import errors

from wakizashi.errors import Permanent, Retryable, WakizashiError

DUPLICATE_KEY = 11000
"""Another center inserted the same document between search and insertion."""

# https://www.mongodb.com/docs/manual/reference/error-codes/
# UserNotFound, Unauthorized, AuthenticationFailed, AtlasError
_NOT_LET_IN = (11, 13, 18, 8000)
_OUT_OF_DISK_SPACE = 14031
# BadValue, FailedToParse, TypeMismatch, DottedFieldName, ImmutableField,
# DocumentValidationFailure, BSONObjectTooLarge, KeyTooLong
_DOCUMENT_AT_FAULT = (2, 9, 14, 57, 66, 121, 10334, 17280)

_KEY = "backendConfig.mongoConfig"


@dataclass(frozen=True, slots=True)
class Place:
    """What the messages name."""

    hosts: str
    user: str
    database: str
    timeout_seconds: float
    role: str = "readWrite"
    """What the user needs there; read for what only reads."""

    @property
    def key(self) -> str:
        """The key that says where it is, with the hosts alone: the URI may hold a password."""
        return f"{_KEY}.mongoURI: {self.hosts}"


def translate(error: errors.PyMongoError, place: Place) -> WakizashiError:
    """The error to raise instead."""
    at, text = place.key, short(error)
    if isinstance(error, errors.BulkWriteError):
        return _refused(error, place)
    if isinstance(error, errors.ServerSelectionTimeoutError):
        return Retryable(f"{at}: can't connect: {text}; start MongoDB there, or mend the URI")
    if isinstance(error, errors.WriteConcernError):
        return _unconfirmed(text, place)
    if error.timeout:
        return Retryable(
            f"{at}: no answer within {place.timeout_seconds:g} s; is it too busy? "
            "mend it, or raise backendConfig.timeout"
        )
    if isinstance(error, errors.OperationFailure):
        return _answered(error.code or 0, text, place)
    if isinstance(error, errors.ConnectionFailure):
        return Retryable(f"{at}: the connection broke: {text}; is MongoDB running there?")
    return Retryable(f"{at}: {text}; is it a MongoDB of version 4.4 or later?")


def not_let_in(error: errors.PyMongoError) -> bool:
    """Whether user or password are wrong."""
    return isinstance(error, errors.OperationFailure) and error.code in _NOT_LET_IN


def codes(error: errors.BulkWriteError) -> set[int]:
    """The codes of the documents that were not written."""
    return {fault["code"] for fault in error.details.get("writeErrors", [])}


def short(error: object) -> str:
    """A message on one line, without pymongo's appendices."""
    text = re.split(r" \(configured timeouts|, Timeout: |, full error: ", str(error))[0]
    return " ".join(text.split())[:200]


def _answered(code: int, text: str, place: Place) -> Retryable:
    if code in _NOT_LET_IN:
        return Retryable(
            f"{_KEY}.user: {place.user!r}: {place.hosts} refuses it ({code}: {text}); "
            f"mend user and password, or grant it {place.role} on {place.database}"
        )
    if code == _OUT_OF_DISK_SPACE:
        return Retryable(f"{place.key}: {text}; make room on its disk")
    return Retryable(f"{place.key}: answers {code}: {text}; look at its log")


def _unconfirmed(text: str, place: Place) -> Retryable:
    return Retryable(
        f"{place.key}: a majority has not confirmed the write: {text}; look at the replica set"
    )


def _refused(error: errors.BulkWriteError, place: Place) -> WakizashiError:
    """Permanent only where the documents are to blame for all that went wrong."""
    faults: list[Mapping[str, Any]] = error.details.get("writeErrors", [])
    for fault in faults:
        if fault["code"] not in _DOCUMENT_AT_FAULT:
            return _answered(fault["code"], short(fault["errmsg"]), place)
    for missing in error.details.get("writeConcernErrors", []):
        return _unconfirmed(short(missing.get("errmsg")), place)
    if not faults:
        return Retryable(f"{place.key}: {short(error)}; look at its log")
    return Permanent(
        f"MongoDB at {place.hosts} can't store it: {faults[0]['code']}: "
        f"{short(faults[0]['errmsg'])}"
    )
