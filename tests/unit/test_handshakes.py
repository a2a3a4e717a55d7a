"""What the core writes of handshakes, read line by line."""

import logging
import os
import sys

import pytest

from wakizashi.center.handshakes import ENVIRONMENT, HandshakeLog, Records, reason
from wakizashi.center.metrics import Metrics

PREFIX = "I1124 18:35:33.376349   17013 "
PEER = (
    "args={endpoint=0x7f, args={grpc.internal.endpoint_peer_address=ipv4:10.0.0.7:41958, grpc.x=1}"
)
FAILED = "handshaker.cc:155] CallNextHandshakerLocked: error=UNKNOWN: Ssl handshake failed (X): "
SSL = "SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"


class Heard:
    """What came of lines."""

    def __init__(self, *lines: str) -> None:
        self.refused: list[tuple[str, str]] = []
        self.foreign: list[str] = []
        records = Records(lambda *what: self.refused.append(what), self.foreign.append)
        for line in lines:
            records.take(line + "\n")


def test_a_failed_handshake_is_one_refusal_with_its_peer() -> None:
    heard = Heard(
        f"{PREFIX}handshaker.cc:155] CallNextHandshakerLocked: error=OK index=1, {PEER}",
        f"{PREFIX}ssl_transport_security.cc:2563] Handshake failed with error {SSL}X: y",
        f"{PREFIX}{FAILED}{SSL}CERTIFICATE_VERIFY_FAILED: certificate has expired: OK",
        "=== Source Location Trace: ===",
        "src/core/util/status_helper.cc:68",
        f" shutdown=false index=2, {PEER}, read_buffer.Length()=0, exit_early=0}}",
        f"{PREFIX}channel_trace.h:396] handshake manager 0x7f: Failed with error: UNKNOWN: x",
        "=== Source Location Trace: ===",
        "",
    )
    why = "its certificate is refused: certificate has expired"
    assert heard.refused == [("ipv4:10.0.0.7:41958", why)]
    assert heard.foreign == []


def test_a_peer_of_another_record_is_not_taken() -> None:
    heard = Heard(
        f"{PREFIX}{FAILED}{SSL}X: y",
        f"{PREFIX}handshaker.cc:155] CallNextHandshakerLocked: error=OK index=1, {PEER}",
    )
    assert heard.refused == []


def test_an_ipv6_peer_is_readable() -> None:
    peer = PEER.replace("ipv4:10.0.0.7:41958", "ipv6:%5B::1%5D:41958")
    heard = Heard(f"{PREFIX}{FAILED}{SSL}HTTP_REQUEST: x shutdown=false index=2, {peer}")
    assert heard.refused == [("ipv6:[::1]:41958", "it speaks no TLS; set tls of the probe")]


def test_what_is_not_of_the_core_goes_where_it_went() -> None:
    heard = Heard(
        "corrupted double-linked list",
        "W1124 18:35:32.539848   16968 log.cc:102] Log level INFO is not suitable",
        "F1124 18:35:32.539848   16968 log.cc:102] Check failed: x",
        "python: something",
    )
    assert [line[:10] for line in heard.foreign] == ["corrupted ", "F1124 18:3", "python: so"]


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (f"{SSL}PEER_DID_NOT_RETURN_A_CERTIFICATE: x", "it showed no certificate; set tls.cert"),
        (f"{SSL}WRONG_VERSION_NUMBER: x", "it speaks no TLS"),
        (f"{SSL}NO_SHARED_CIPHER: x", "no shared cipher"),
        (f"{SSL}CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate: OK", "its cert"),
        ("UNAVAILABLE: Handshake read failed (Socket closed)", ""),
    ],
)
def test_reasons(failure: str, why: str) -> None:
    found = reason(failure)
    assert found.startswith(why) if why else found == ""


def test_descriptor_2_is_read_and_given_back(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for key, value in ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    before = sys.stderr
    metrics = Metrics()
    caplog.set_level(logging.DEBUG)
    with HandshakeLog(metrics):
        os.write(2, f"{PREFIX}{FAILED}{SSL}NO_SHARED_CIPHER: x shutdown=0, {PEER}\n".encode())
        os.write(2, f"{PREFIX}{FAILED}Socket closed shutdown=0, {PEER}\n".encode())
        os.write(2, b"foreign\n")
        print("own", file=sys.stderr)
        assert not os.get_blocking(2)  # the core never waits
    assert os.get_blocking(2) and sys.stderr is before
    os.write(2, b"later\n")
    assert sorted(capfd.readouterr().err.split()) == ["foreign", "later", "own"]
    name, labels = "wakizashi_center_refused_total", {"reason": "handshake"}
    assert metrics.registry.get_sample_value(name, labels) == 1
    assert "10.0.0.7:41958: TLS handshake refused: no shared cipher" in caplog.text
    assert "10.0.0.7:41958: went away in the TLS handshake" in caplog.text


def test_who_traces_the_core_himself_is_left_alone(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRPC_VERBOSITY", "DEBUG")
    with HandshakeLog(Metrics()):
        os.write(2, f"{PREFIX}x.cc:1] text\n".encode())
    assert "x.cc:1] text" in capfd.readouterr().err
