"""Certificates and keys as files: what is found wrong with them."""

import ssl
import time
from concurrent import futures
from pathlib import Path

import grpc
import pytest

from tests.certificates import SERVER, Authority, Issued, openssl
from wakizashi import tls
from wakizashi.probe.channel import connected
from wakizashi.tls import Certificate, Role, load_authorities, load_pair

DAY = 86_400.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Issued:
    return authority.server()


@pytest.fixture(scope="module")
def client(authority: Authority) -> Issued:
    return authority.client("vm-1")


def test_a_pair_tells_whose_it_is_and_until_when(server: Issued) -> None:
    pair = load_pair(server.cert, server.key, Role.SERVER)
    assert pair.certificate.subject == "CN=center"
    assert pair.certificate.issuer == "CN=lab CA"
    assert 29 * DAY < pair.certificate.not_after - time.time() < 31 * DAY
    assert pair.chain == server.cert.read_bytes() and pair.key == server.key.read_bytes()
    assert "PRIVATE" not in repr(pair)


def test_an_expired_pair_loads_and_says_when_it_expired(authority: Authority) -> None:
    for issued, role in (
        (authority.server(days=-1), Role.SERVER),
        (authority.client("vm-1", days=-1), Role.CLIENT),
    ):
        trouble = load_pair(issued.cert, issued.key, role).certificate.trouble(time.time())
        assert trouble is not None and trouble.startswith("expired on 20")


def test_a_certificate_is_for_its_side_alone(server: Issued, client: Issued) -> None:
    with pytest.raises(ValueError, match="no certificate that centers take: .*purpose.*clients"):
        load_pair(server.cert, server.key, Role.CLIENT)
    with pytest.raises(ValueError, match="no certificate that probes take: .*purpose.*servers"):
        load_pair(client.cert, client.key, Role.SERVER)


def test_what_is_wrong_with_a_pair(
    tmp_path: Path, authority: Authority, server: Issued, client: Issued
) -> None:
    empty, garbage, locked = (tmp_path / name for name in ("empty", "garbage", "locked"))
    empty.touch()
    garbage.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    openssl("pkey", "-in", server.key, "-aes256", "-passout", "pass:secret", "-out", locked)
    none = tmp_path / "none"
    for cert, key, fault in (
        (none, server.key, f"cert: {none} can't be read: No such file or directory; name a file"),
        (server.cert, none, f"key: {none} can't be read: No such file"),
        (server.cert, client.key, f"key: {client.key} is not the key of the certificate in "),
        (server.key, server.cert, f"cert: {server.key} holds no certificate in PEM"),
        (server.cert, server.cert, f"key: {server.cert} holds no private key in PEM"),
        (empty, server.key, f"cert: {empty} holds no certificate in PEM"),
        (garbage, server.key, f"{garbage} and {server.key} can't be used"),
        (server.cert, locked, f"key: {locked} is encrypted; keep it without a password"),
    ):
        with pytest.raises(ValueError) as caught:
            load_pair(cert, key, Role.SERVER)
        assert fault in str(caught.value)
        assert "PRIVATE KEY-----\nM" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "taken"),
    [
        (("RSA", "rsa_keygen_bits:2048"), True),
        (("EC", "ec_paramgen_curve:P-256"), True),
        (("EC", "ec_paramgen_curve:P-384"), True),
        (("EC", "ec_paramgen_curve:P-521"), False),
        (("RSA-PSS", "rsa_keygen_bits:2048"), False),
        (("ED25519",), False),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else None,
)
def test_keys_that_grpc_takes_are_taken_and_no_others(
    tmp_path: Path, authority: Authority, key: tuple[str, ...], taken: bool
) -> None:
    issued = authority.issue("center", SERVER, san="DNS:center.example", name="key", key=key)
    server = grpc.server(futures.ThreadPoolExecutor(1))
    pair = issued.key.read_bytes(), issued.cert.read_bytes()
    options = (("grpc.ssl_target_name_override", "center.example"),)
    try:
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
        server.start()
        trusted = grpc.ssl_channel_credentials(authority.cert.read_bytes())
        with grpc.secure_channel(f"127.0.0.1:{port}", trusted, options=options) as channel:
            assert connected(channel, 10.0) is taken
    except RuntimeError:  # it does not even listen
        assert not taken
    finally:
        server.stop(None)
    if taken:
        load_pair(issued.cert, issued.key, Role.SERVER)
    else:
        with pytest.raises(ValueError, match="of a kind that gRPC does not take; issue one with"):
            load_pair(issued.cert, issued.key, Role.SERVER)


def test_comments_in_a_file_of_authorities_are_no_matter(
    tmp_path: Path, authority: Authority
) -> None:
    path = tmp_path / "ca"
    path.write_bytes("# Aussteller für Köln\n".encode() + authority.cert.read_bytes())
    found = load_authorities(path, "ca")
    assert [each.subject for each in found.certificates] == ["CN=lab CA"]
    assert found.text.isascii()


def test_authorities(tmp_path: Path, authority: Authority, server: Issued) -> None:
    other = Authority(tmp_path / "other", "other")
    both = tmp_path / "both"
    both.write_bytes(authority.cert.read_bytes() + other.cert.read_bytes())
    found = load_authorities(both, "ca")
    assert {each.subject for each in found.certificates} == {"CN=lab CA", "CN=other CA"}
    for path in (server.key, tmp_path / "none"):
        with pytest.raises(ValueError, match=f"^clientCA: {path} (holds no cert|can't be read)"):
            load_authorities(path, "clientCA")
    with pytest.raises(ValueError, match="^ca: .* has more than 1048576 bytes"):
        both.write_bytes(bytes(2**20 + 1))
        load_authorities(both, "ca")


def test_the_system_has_its_authorities_somewhere(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))
    assert tls.system_roots() == authority.cert
    monkeypatch.delenv("SSL_CERT_FILE")
    nowhere = ssl.DefaultVerifyPaths(*[None] * 6)  # type: ignore[arg-type] # as where it has none
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
    assert tls.system_roots((str(tmp_path / "none"), str(authority.cert))) == authority.cert
    with pytest.raises(ValueError, match="set tls.ca, or install the package ca-certificates"):
        tls.system_roots(())


@pytest.mark.parametrize(
    ("now", "trouble"),
    [
        (0.0, "is not valid before 1970-01-11 00:00 UTC; is this host's clock right?"),
        (10 * DAY, None),
        (85 * DAY, None),
        (87 * DAY, "expires in 13 days, on 1970-04-11 00:00 UTC; renew it"),
        (100 * DAY, "expired on 1970-04-11 00:00 UTC; put a new one in its place"),
    ],
)
def test_the_time_of_a_certificate(now: float, trouble: str | None) -> None:
    assert Certificate("CN=a", "CN=b", 10 * DAY, 100 * DAY).trouble(now) == trouble
