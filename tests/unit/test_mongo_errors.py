"""pymongo's errors, as an operator reads them, and whether to try again."""

from typing import Any

import pytest
from pymongo import errors

from wakizashi.center.mongo.errors import Place, not_let_in, translate
from wakizashi.errors import Permanent, Retryable

PLACE = Place("db1:27017,db2", "ada", "wakizashi", 5)
AT = "backendConfig.mongoConfig.mongoURI: db1:27017,db2: "


def bulk(*faults: tuple[int, str], unconfirmed: str = "") -> errors.BulkWriteError:
    details: dict[str, Any] = {
        "writeErrors": [{"index": i, "code": c, "errmsg": m} for i, (c, m) in enumerate(faults)],
        "writeConcernErrors": [{"code": 64, "errmsg": unconfirmed}] if unconfirmed else [],
    }
    return errors.BulkWriteError(details)


def failure(code: int, text: str = "some text") -> errors.OperationFailure:
    return errors.OperationFailure(text, code, {"ok": 0, "code": code, "errmsg": text})


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            errors.ServerSelectionTimeoutError(
                "db1:27017: [Errno 111] Connection refused (configured timeouts: a), Timeout: 5s"
            ),
            AT + "can't connect: db1:27017: [Errno 111] Connection refused; start MongoDB",
        ),
        (errors.AutoReconnect("db1:27017: connection closed"), AT + "the connection broke: db1"),
        (errors.NotPrimaryError("not primary"), AT + "the connection broke: not primary"),
        (errors.NetworkTimeout("timed out"), AT + "no answer within 5 s; is it too busy?"),
        (errors.WaitQueueTimeoutError("no connection"), AT + "no answer within 5 s"),
        (errors.ExecutionTimeout("operation exceeded time limit", 50), AT + "no answer within 5 s"),
        (errors.WriteConcernError("no majority", 100), AT + "a majority has not confirmed"),
        (errors.WTimeoutError("waiting", 64), AT + "a majority has not confirmed the write"),
        (errors.ConfigurationError("reports wire version 6"), AT + "reports wire version 6; is it"),
        (failure(14031, "no space"), AT + "no space; make room on its disk"),
        (failure(1, "[msg.go] context canceled"), AT + "answers 1: [msg.go] context canceled"),
        (bulk((11000, "E11000 duplicate key")), AT + "answers 11000: E11000"),
        (bulk((91, "shutting down")), AT + "answers 91: shutting down; look at its log"),
        (bulk((14031, "no space")), AT + "no space; make room"),
        (bulk(unconfirmed="waiting for replication"), AT + "a majority has not confirmed"),
        # What is to be mended first: else good documents might be taken for bad ones.
        (bulk((121, "validation"), (189, "stepped down")), AT + "answers 189: stepped down"),
        (bulk((121, "validation"), unconfirmed="waiting"), AT + "a majority has not confirmed"),
        (bulk(), AT),
    ],
)
def test_retryable(error: errors.PyMongoError, message: str) -> None:
    made = translate(error, PLACE)
    assert type(made) is Retryable
    assert str(made).startswith(message)
    assert not not_let_in(error)


@pytest.mark.parametrize("code", [11, 13, 18, 8000])
def test_not_let_in(code: int) -> None:
    error = failure(code, "Authentication failed.")
    made = translate(error, PLACE)
    assert type(made) is Retryable
    assert str(made) == (
        f"backendConfig.mongoConfig.user: 'ada': db1:27017,db2 refuses it ({code}: Authentication "
        "failed.); mend user and password, or grant it readWrite on wakizashi"
    )
    assert not_let_in(error)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (121, "Document failed validation"),
        (66, "immutable field"),
        (17280, "key too large to index"),
        (10334, "object too large"),
        (2, "bad value"),
    ],
)
def test_documents_that_are_at_fault_are_permanent(code: int, text: str) -> None:
    made = translate(bulk((code, text), (code, "more")), PLACE)
    assert type(made) is Permanent
    assert str(made) == f"MongoDB at db1:27017,db2 can't store it: {code}: {text}"


def test_a_whole_command_that_is_refused_is_never_permanent() -> None:
    for code in (2, 9, 121):
        assert type(translate(failure(code), PLACE)) is Retryable
