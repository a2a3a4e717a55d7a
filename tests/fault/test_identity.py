"""TLS, tokens and names between a real center and a probe's delivery.

Each refusal has a clear reason at both ends, nothing is stored, the window is
kept; once the cause is mended, without a restart, it is delivered whole.
"""

import json
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.center_process import Center
from tests.center_windows import window
from tests.certificates import Authority, Issued
from wakizashi import wire
from wakizashi.config import load
from wakizashi.errors import Retryable
from wakizashi.probe.addresses import Center as CenterName
from wakizashi.probe.channel import Credentials
from wakizashi.probe.config import ProbeConfig
from wakizashi.probe.courier import Courier
from wakizashi.probe.dump import Dump
from wakizashi.probe.stats import ProbeStats
from wakizashi.probe.transmit import METHOD, Transmitter
from wakizashi.v1 import traffic_pb2 as pb

OLD, NEW, OTHER = (f"{word}-0123456789abcdef" for word in ("old", "new", "other"))


class Probe:
    """A probe's delivery, with one window of 100 bytes."""

    def __init__(self, folder: Path, port: int, host: str = "127.0.0.1", **keys: Any) -> None:
        path = folder / "probe-config.yaml"
        path.write_text(json.dumps({"centerAddr": f"{host}:{port}"} | keys))
        config = load(ProbeConfig, path, environment={})
        self.stats = ProbeStats()
        self.dump = Dump(folder / "dump", limit_bytes=10**7, auto_clear=True, stats=self.stats)
        self.dump.open()
        self.number = 0
        self.transmitter = Transmitter(
            self.dump,
            CenterName(config.centerAddr),
            interval_seconds=1,
            channel_lifetime_seconds=300,
            announce=lambda _: None,
            stats=self.stats,
            credentials=Credentials.of(config),
        )
        self.courier = Courier(
            self.transmitter, self.dump, upload_retry=5, interval_seconds=1, stats=self.stats
        )

    def close_window(self, probe: str = "vm-1") -> None:
        self.dump.save(window(self.number, probe=probe))
        self.number += 1

    @property
    def waiting(self) -> int:
        return len(self.dump.directory.pending())

    def refused(self) -> str:
        """Try to deliver; what the probe says."""
        before = self.waiting
        with pytest.raises(Retryable) as caught:
            self.transmitter.deliver()
        assert self.waiting == before > 0
        assert not list((self.dump.directory.path / "bad").glob("*"))
        return str(caught.value)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def running() -> Iterator[list[Center]]:
    centers: list[Center] = []
    yield centers
    for center in centers:
        center.stop()


def named(issued: Issued) -> dict[str, str]:
    return {"cert": str(issued.cert), "key": str(issued.key)}


def put_tokens(folder: Path, *entries: tuple[str, str]) -> str:
    path, new = folder / "tokens.yaml", folder / "tokens.new"
    new.write_text("".join(f"- {{probe: '{name}', token: '{token}'}}\n" for name, token in entries))
    new.chmod(0o600)
    new.replace(path)
    return str(path)


def put_token(folder: Path, token: str) -> str:
    path, new = folder / "token", folder / "token.new"
    new.write_text(token + "\n")
    new.chmod(0o600)
    new.replace(path)
    return str(path)


def mutual(folder: Path, authority: Authority, running: list[Center]) -> tuple[Center, Issued]:
    """A center with mutual TLS, and where its certificate lies."""
    server = authority.server()
    tls = named(server) | {"clientCA": str(authority.cert)}
    center = Center(folder, tls=tls)
    running.append(center)
    return center, server


def delivered(center: Center, probe: Probe, *names: str) -> None:
    """Everything goes now, each window once, of 100 bytes."""
    probe.transmitter.deliver()
    assert probe.waiting == 0
    assert center.stored() == [(name, 100) for name in sorted(names)]


def test_wrong_token(tmp_path: Path, running: list[Center]) -> None:
    center = Center(tmp_path, tokensFile=put_tokens(tmp_path, ("vm-1", OLD)))
    running.append(center)
    probe = Probe(tmp_path, center.port, tokenFile=put_token(tmp_path, NEW))
    probe.close_window()
    said = probe.refused()
    assert "the center refuses this probe: the call came with a token that the center does" in said
    center.until_said(r"WARNING center: ipv4:127.0.0.1:\d+: refused: the call came with a token")
    assert center.refused("token") == 1 and center.stored() == []
    assert NEW not in said + center.log() and OLD not in said + center.log()
    put_token(tmp_path, OLD)
    delivered(center, probe, "vm-1")


def test_no_token(tmp_path: Path, running: list[Center]) -> None:
    center = Center(tmp_path, tokensFile=put_tokens(tmp_path, ("vm-1", OLD)))
    running.append(center)
    probe = Probe(tmp_path, center.port)
    probe.close_window()
    assert "came without a token; set tokenFile of the probe" in probe.refused()
    center.until_said("refused: the call came without a token")
    assert center.stored() == []


def test_a_refused_probe_waits_for_its_next_window(tmp_path: Path, running: list[Center]) -> None:
    center = Center(tmp_path, tokensFile=put_tokens(tmp_path, ("vm-1", OLD)))
    running.append(center)
    probe = Probe(tmp_path, center.port, tokenFile=put_token(tmp_path, NEW))
    probe.close_window()
    assert not probe.courier.deliver_with_retries()
    assert center.refused("token") == 1  # not once for each of uploadRetry


def test_name_of_another_probe_by_token(tmp_path: Path, running: list[Center]) -> None:
    tokens = put_tokens(tmp_path, ("vm-1", OLD), ("vm-2", OTHER))
    center = Center(tmp_path, tokensFile=tokens)
    running.append(center)
    probe = Probe(tmp_path, center.port, tokenFile=put_token(tmp_path, OLD))
    probe.close_window("vm-2")
    said = probe.refused()
    assert "the token that came permits no window of 'vm-2', only of 'vm-1'" in said
    center.until_said("refused: the token that came permits no window of 'vm-2'")
    assert center.refused("name") == 1 and center.stored() == []
    probe.close_window("vm-1")
    with pytest.raises(Retryable, match="permits no window of 'vm-2'"):
        probe.transmitter.deliver()
    assert probe.waiting == 1 and center.stored() == [("vm-1", 100)]  # the other one is not held up
    put_tokens(tmp_path, ("vm-[12]", OLD))
    delivered(center, probe, "vm-1", "vm-2")


def test_name_of_another_probe_by_certificate(
    tmp_path: Path, authority: Authority, running: list[Center]
) -> None:
    center, _ = mutual(tmp_path, authority, running)
    own = authority.client("vm-1", san="DNS:*.vm.example,URI:probe://vm-9")
    probe = Probe(tmp_path, center.port, tls=named(own) | {"ca": str(authority.cert)})
    probe.close_window("vm-2")
    said = probe.refused()
    names = "'vm-1', 'probe://vm-9', '*.vm.example'"
    assert f"the certificate that came permits no window of 'vm-2', only of {names}" in said
    center.until_said("refused: the certificate that came permits no window of 'vm-2'")
    assert center.refused("name") == 1 and center.stored() == []
    permitted = ("vm-1", "probe://vm-9", "a.vm.example")
    for name in permitted:
        probe.close_window(name)
    with pytest.raises(Retryable):
        probe.transmitter.deliver()
    assert center.stored() == sorted((name, 100) for name in permitted)
    authority.client("vm-2").put(own)
    delivered(center, probe, "vm-2", *permitted)


def test_certificate_of_the_probe_that_the_center_refuses(
    tmp_path: Path, authority: Authority, running: list[Center]
) -> None:
    center, _ = mutual(tmp_path, authority, running)
    own = authority.client("vm-1", days=-1)
    probe = Probe(tmp_path, center.port, tls=named(own) | {"ca": str(authority.cert)})
    probe.close_window()
    said = probe.refused()
    assert "closed in the TLS handshake; it seems that the center refuses this probe's" in said
    assert "CN=vm-1, issued by CN=lab CA" in said and ": it expired on 20" in said
    center.until_said(
        r"WARNING center: ipv4:127.0.0.1:\d+: TLS handshake refused: "
        "its certificate is refused: certificate has expired"
    )
    Authority(tmp_path / "other", "other").client("vm-1").put(own)
    said = probe.refused()
    assert "CN=vm-1, issued by CN=other CA" in said and "tls.clientCA must have issued it" in said
    center.until_said("its certificate is refused: unable to get local issuer certificate")
    assert center.refused("handshake") >= 2 and center.stored() == []
    authority.client("vm-1").put(own)
    delivered(center, probe, "vm-1")


def test_no_certificate_where_the_center_wants_one(
    tmp_path: Path, authority: Authority, running: list[Center]
) -> None:
    center, _ = mutual(tmp_path, authority, running)
    probe = Probe(tmp_path, center.port, tls={"ca": str(authority.cert)})
    probe.close_window()
    assert "if the center wants a certificate, set tls.cert and tls.key" in probe.refused()
    center.until_said("TLS handshake refused: it showed no certificate; set tls.cert and tls.key")
    assert center.stored() == []


def test_certificate_of_the_center_that_the_probe_refuses(
    tmp_path: Path, authority: Authority, running: list[Center]
) -> None:
    server = authority.server(days=-1)
    center = Center(tmp_path, tls=named(server))
    running.append(center)
    assert f"WARNING center: tls.cert: {server.cert}: the certificate CN=center" in center.log()
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.cert.read_bytes())
    probe = Probe(tmp_path, center.port, tls={"ca": str(ca)})
    probe.close_window()
    said = probe.refused()
    assert "the center's certificate is refused: certificate has expired; renew it at the" in said
    Authority(tmp_path / "other", "other").server().put(server)
    said = probe.refused()
    assert "refused: unable to get local issuer certificate; set tls.ca to the authority" in said
    authority.server(san="DNS:elsewhere.example").put(server)
    assert "the center's certificate does not name 127.0.0.1; set tls.serverName" in probe.refused()
    assert center.stored() == []
    authority.server().put(server)
    delivered(center, probe, "vm-1")


@pytest.mark.parametrize("side", ["center", "probe"])
def test_tls_on_one_side_alone(
    side: str, tmp_path: Path, authority: Authority, running: list[Center]
) -> None:
    center = Center(tmp_path, **({"tls": named(authority.server())} if side == "center" else {}))
    running.append(center)
    keys: dict[str, Any] = {"tls": {"ca": str(authority.cert)}} if side == "probe" else {}
    probe = Probe(tmp_path, center.port, **keys)
    probe.close_window()
    said = probe.refused()
    if side == "center":
        assert "the connection was closed at once; if the center speaks TLS, set tls" in said
        center.until_said("TLS handshake refused: it speaks no TLS; set tls of the probe")
    else:
        assert "no TLS is spoken there; set tls at the center, or remove it here" in said
    assert center.stored() == []


@pytest.mark.parametrize(
    ("host", "san", "server_name"),
    [
        ("127.0.0.1", "IP:127.0.0.1", ""),
        ("localhost", "DNS:localhost", ""),
        ("127.0.0.1", "DNS:center.example", "center.example"),
        ("127.0.0.1", "DNS:*.x.example", "center.x.example"),
        ("localhost", "IP:127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "IP:::1", "::1"),
        ("[::1]", "IP:::1", ""),
    ],
)
def test_the_name_in_a_centers_certificate(
    host: str,
    san: str,
    server_name: str,
    tmp_path: Path,
    authority: Authority,
    running: list[Center],
) -> None:
    listen = "::1" if host == "[::1]" else "127.0.0.1"
    center = Center(tmp_path, host=listen, tls=named(authority.server(san=san)))
    running.append(center)
    tls = {"ca": str(authority.cert), "serverName": server_name}
    probe = Probe(tmp_path, center.port, host, tls=tls)
    probe.close_window()
    delivered(center, probe, "vm-1")


def test_rotation_under_traffic(
    tmp_path: Path, authority: Authority, running: list[Center]
) -> None:
    """Certificates, authorities and tokens go while windows come; no delivery fails."""
    server, own = authority.server(), authority.client("vm-1")
    ca, client_ca = tmp_path / "ca.pem", tmp_path / "client-ca.pem"
    for path in (ca, client_ca):
        path.write_bytes(authority.cert.read_bytes())
    tokens = put_tokens(tmp_path, ("vm-1", OLD))
    center = Center(tmp_path, tls=named(server) | {"clientCA": str(client_ca)}, tokensFile=tokens)
    running.append(center)
    token = put_token(tmp_path, OLD)
    probe = Probe(tmp_path, center.port, tls=named(own) | {"ca": str(ca)}, tokenFile=token)

    def windows(number: int = 5) -> None:
        for _ in range(number):
            probe.close_window()
            probe.transmitter.deliver()  # raises if it fails
            assert probe.waiting == 0

    windows()
    successor = Authority(tmp_path / "successor", "successor")
    both = authority.cert.read_bytes() + successor.cert.read_bytes()
    for step in (
        lambda: ca.write_bytes(both),  # first both sides trust the new authority
        lambda: client_ca.write_bytes(both),
        lambda: successor.server().put(server),  # then each shows what it issued
        lambda: successor.client("vm-1").put(own),
        lambda: put_tokens(tmp_path, ("vm-1", OLD), ("vm-1", NEW)),
        lambda: put_token(tmp_path, NEW),
        lambda: put_tokens(tmp_path, ("vm-1", NEW)),
        lambda: ca.write_bytes(successor.cert.read_bytes()),  # and the old one goes
        lambda: client_ca.write_bytes(successor.cert.read_bytes()),
    ):
        step()
        probe.transmitter._channels.close()  # as at the end of channelLifetime
        windows()
    assert center.stored() == [("vm-1", 100)] * 50
    assert probe.stats.windows_acked == 50 and probe.stats.delivery_failures == 0
    assert [center.refused(reason) for reason in ("handshake", "token", "name")] == [0, 0, 0]
    assert "issued by CN=successor CA" in center.log()


def test_a_bad_pair_changes_nothing_at_either_end(
    tmp_path: Path, authority: Authority, running: list[Center], caplog: pytest.LogCaptureFixture
) -> None:
    center, server = mutual(tmp_path, authority, running)
    own = authority.client("vm-1")
    probe = Probe(tmp_path, center.port, tls=named(own) | {"ca": str(authority.cert)})
    for issued in (server, own):
        issued.key.write_bytes(authority.client("vm-2").key.read_bytes())
    probe.close_window()
    probe.transmitter.deliver()
    assert center.stored() == [("vm-1", 100)]
    center.until_said(f"tls.key: {server.key} is not the key of .*; until then what was read")
    assert f"tls.key: {own.key} is not the key of" in caplog.text


def test_a_call_that_goes_on_is_refused_once_its_token_is_withdrawn(
    tmp_path: Path, running: list[Center]
) -> None:
    """Held open for long, a call would otherwise outlive the token it began with."""
    center = Center(tmp_path, tokensFile=put_tokens(tmp_path, ("vm-1", OLD)))
    running.append(center)
    requests: queue.Queue[bytes | None] = queue.Queue()
    with grpc.insecure_channel(f"127.0.0.1:{center.port}") as channel:
        transmit: Any = channel.stream_stream(METHOD)
        metadata = [("authorization", f"Bearer {OLD}")]
        acks = transmit(iter(requests.get, None), timeout=30, metadata=metadata)
        statuses = []
        for number in range(2):
            for chunk in wire.encode(window(number)):
                requests.put(chunk)
            statuses.append(pb.WindowAck.FromString(next(acks)).status)
            put_tokens(tmp_path, ("vm-1", NEW))
        requests.put(None)
    assert statuses == [pb.WINDOW_STATUS_STORED, pb.WINDOW_STATUS_RETRY]
    assert center.stored() == [("vm-1", 100)]
