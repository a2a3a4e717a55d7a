"""Who may write under which probe name."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wakizashi import yaml_text
from wakizashi.center.identity import (
    Anyone,
    ByCertificate,
    ByToken,
    CertificateHolder,
    Unauthenticated,
    dns_matches,
)
from wakizashi.center.tokens import Grants, TokensFile, digest, load_tokens
from wakizashi.errors import ConfigError

ONE, TWO, THREE = (letter * 20 for letter in "abc")


def tokens(folder: Path, *entries: tuple[str, str]) -> Path:
    path = folder / "tokens.yaml"
    new = folder / "tokens.new"
    new.write_text(
        "".join(f"- {{probe: '{probe}', token: '{token}'}}\n" for probe, token in entries)
    )
    new.replace(path)
    return path


def call(*values: str, **found: list[bytes]) -> Any:
    """A context with these values of ``authorization``, and this of the client's certificate."""
    return SimpleNamespace(
        invocation_metadata=lambda: [("user-agent", "x"), *(("authorization", v) for v in values)],
        auth_context=lambda: found,
    )


async def permits(identity: Any, context: Any, *names: str) -> list[bool]:
    caller = await identity.caller(context)
    return [await caller.fault(name) is None for name in names]


async def test_without_tokens_and_certificates_anyone_may_write_as_anyone() -> None:
    assert await permits(Anyone(), call(), "vm-1", "x/y") == [True, True]


async def test_a_token_permits_what_its_pattern_means_as_a_whole(tmp_path: Path) -> None:
    path = tokens(tmp_path, ("vm-1", ONE), ("prod/.*", TWO), ("vm-[23]", THREE), ("c++", THREE))
    identity = ByToken(TokensFile(path))
    for token, good, bad in (
        (ONE, ["vm-1"], ["vm-11", "vm-2", "xvm-1", "vm-1/a.pcap", "VM-1", ""]),
        (TWO, ["prod/web-0", "prod/web-0/a.pcap"], ["prod", "dev/prod/x", "vm-1"]),
        (THREE, ["vm-2", "vm-3", "c++"], ["vm-1", "vm-4"]),
    ):
        context = call(f"Bearer {token}")
        assert await permits(identity, context, *good) == [True] * len(good)
        assert await permits(identity, context, *bad) == [False] * len(bad)


async def test_a_refusal_says_what_to_do_and_never_the_token(tmp_path: Path) -> None:
    identity = ByToken(TokensFile(tokens(tmp_path, ("vm-1", ONE), ("vm-2", TWO))))
    for values, reason in (
        ((), "came without a token; set tokenFile of the probe"),
        ((f"Bearer {THREE}",), "a token that the center does not know; put it into"),
        ((f"Bearer {ONE[:-1]}",), "a token that the center does not know"),
        ((f"Bearer  {ONE}",), "a token that the center does not know"),
        (("Bearer",), "a token that the center does not know"),
        ((f"Basic {ONE}",), "is not 'Bearer TOKEN'"),
        ((f"Bearer {ONE}", f"Bearer {TWO}"), "is not 'Bearer TOKEN'"),
    ):
        with pytest.raises(Unauthenticated, match=reason) as caught:
            await identity.caller(call(*values))
        assert not any(secret in str(caught.value) for secret in (ONE[:-1], TWO, THREE))
    fault = await (await identity.caller(call(f"bearer {ONE}"))).fault("vm-2")
    assert fault is not None and ONE not in fault
    assert "permits no window of 'vm-2', only of 'vm-1'" in fault


async def test_tokens_change_without_a_restart_and_a_bad_file_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tokens(tmp_path, ("vm-1", ONE))
    identity = ByToken(TokensFile(path))
    held = await identity.caller(call(f"Bearer {ONE}"))
    tokens(tmp_path, ("vm-1", ONE), ("vm-1", TWO))  # two for one name: the new one is handed out
    assert await permits(identity, call(f"Bearer {TWO}"), "vm-1") == [True]
    assert await permits(identity, call(f"Bearer {ONE}"), "vm-1") == [True]
    path.write_text("- {probe: vm-1")
    assert await permits(identity, call(f"Bearer {ONE}"), "vm-1") == [True]
    assert "line 1: is not YAML" in caplog.text and "the tokens read before hold" in caplog.text
    path.unlink()
    assert await permits(identity, call(f"Bearer {ONE}"), "vm-1") == [True]
    tokens(tmp_path, ("vm-1", TWO))
    with pytest.raises(Unauthenticated):
        await identity.caller(call(f"Bearer {ONE}"))
    fault = await held.fault("vm-1")  # the call had begun before
    assert fault is not None and "only of nobody" in fault


async def test_a_bad_file_is_not_read_for_each_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever calls, without a token even, makes the center parse it."""
    path = tokens(tmp_path, ("vm-1", ONE))
    file = TokensFile(path)
    path.write_text("- {probe: vm-1")
    reads = []

    def load(path: Path) -> Grants:
        reads.append(path)
        return load_tokens(path)

    monkeypatch.setattr("wakizashi.center.tokens.load_tokens", load)
    for _ in range(10):
        assert await file.permitted(digest(ONE))
    assert len(reads) == 1


def test_only_digests_of_tokens_are_kept(tmp_path: Path) -> None:
    grants = load_tokens(tokens(tmp_path, ("vm-1", ONE), ("vm-2", ONE)))
    assert list(grants) == [digest(ONE)]
    assert [pattern.text for pattern in grants[digest(ONE)]] == ["vm-1", "vm-2"]
    assert ONE not in repr(grants)


SECRET = "hunter2hunter2hunter2"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is not a list"),
        ("[]", "is not a list"),
        ("a: b", "is not a list"),
        (f"- {SECRET}", "line 1: has other keys than probe and token"),
        (f"- {{probe: a, token: {SECRET}, x: y}}", "line 1: has other keys"),
        (f"- {{probe: 1, token: {SECRET}}}", "line 1: probe is not text; put it in quotes"),
        (f"- {{probe: '', token: {SECRET}}}", "line 1: probe is not text"),
        (f"- {{probe: 'a(', token: {SECRET}}}", r"line 1: probe: 'a\(' is no name and no regular"),
        (
            "- {probe: a, token: 12345678901234567890}",
            "line 1: token is not text; put it in quotes",
        ),
        (f"- {{probe: a, probe: .*, token: {SECRET}}}", "line 1: has a key twice"),
        ("- {probe: a, token: short}", "line 1: token has 5 characters, and 16 to 512 are wanted"),
        (f"- {{probe: a, token: '{SECRET * 30}'}}", "line 1: token has 630 characters"),
        (f"- {{probe: a, token: '{SECRET} x'}}", "line 1: token has white space"),
        (f"- {{probe: a, token: '{SECRET}é'}}", "line 1: token has .*not ASCII"),
        (f"- {{probe: a, token: *{SECRET}}}", "line 1: is not YAML.*put tokens .* in quotes"),
        (f"- {{probe: a, token: !{SECRET} x}}", "line 1: is not YAML"),
        (f"- {{probe: a, token: !!int {SECRET}}}", "is not YAML"),
        ("- {probe: a, token: x}\n- {}\n", "line 1: token .*; line 2: has other keys"),
    ],
)
def test_faults_of_a_tokens_file_without_its_tokens(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=fault) as caught:
        load_tokens(path)
    cause: BaseException | None = caught.value
    while cause is not None:
        assert "hunter2" not in str(cause)
        cause = cause.__cause__
    with pytest.raises(ConfigError, match=f"^tokensFile: {path} "):
        TokensFile(path)


def test_a_tokens_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        load_tokens(path)


def test_a_tokens_file_has_two_thousand_entries(tmp_path: Path) -> None:
    most = yaml_text.MOST_VALUES // 5 - 1
    path = tokens(tmp_path, *((f"vm-{n}", f"{n:032d}") for n in range(most)))
    assert len(load_tokens(path)) == most
    with pytest.raises(ValueError, match="more than 10000 values"):
        load_tokens(tokens(tmp_path, *((f"vm-{n}", f"{n:032d}") for n in range(most + 1))))


async def test_a_certificate_permits_the_names_in_it() -> None:
    context = call(
        x509_common_name=[b"vm-1"],
        peer_dns=[b"web.example", b"*.db.example"],
        peer_uri=[b"spiffe://x/vm-2"],
        peer_ip=[b"10.0.0.1"],
    )
    good = ["vm-1", "web.example", "a.db.example", "spiffe://x/vm-2"]
    assert await permits(ByCertificate(), context, *good) == [True] * 4
    bad = ["vm-2", "vm-1/a.pcap", "VM-1", "db.example", "a.b.db.example", "10.0.0.1", "*"]
    assert await permits(ByCertificate(), context, *bad) == [False] * 7
    fault = await (await ByCertificate().caller(context)).fault("vm-2")
    assert fault is not None
    assert "permits no window of 'vm-2', only of 'vm-1', 'spiffe://x/vm-2', 'web.example'" in fault


async def test_a_certificate_that_names_nobody_or_many() -> None:
    fault = await CertificateHolder(exact=(), dns=()).fault("vm-1")
    assert fault is not None and "only of nobody" in fault
    many = CertificateHolder(exact=[f"vm-{n}" for n in range(100)], dns=())
    fault = await many.fault("vm-x")
    assert fault is not None and fault.count("'vm-") == 9 and "and 92 more" in fault


@pytest.mark.parametrize(
    ("pattern", "name", "means"),
    [
        ("vm-1.example", "vm-1.example", True),
        ("*.example", "vm-1.example", True),
        ("*.example", "example", False),
        ("*.example", ".example", False),
        ("*.example", "a.b.example", False),
        ("*.example", "*.example", True),
        ("vm-*.example", "vm-1.example", False),
        ("*", "vm-1", False),
        ("*", "*", True),
        ("a.*.example", "a.b.example", False),
    ],
)
def test_a_star_is_the_whole_first_label(pattern: str, name: str, means: bool) -> None:
    assert dns_matches(pattern, name) is means


async def test_a_common_name_with_a_star_is_no_pattern() -> None:
    context = call(x509_common_name=[b"*.example"])
    assert await permits(ByCertificate(), context, "vm-1.example") == [False]
