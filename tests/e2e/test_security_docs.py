"""What docs/security.md has an operator type makes certificates that work."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.certificates import openssl
from wakizashi.center.metrics import REFUSALS
from wakizashi.center.tokens import load_tokens
from wakizashi.tls import Role, load_authorities, load_pair

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/security.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("typed")
    (script,) = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    openssl("version")  # it is there
    done = subprocess.run(
        ["sh", "-e"],
        input=script,
        cwd=made,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return made


def test_the_certificates_are_of_the_authority_and_for_their_sides(folder: Path) -> None:
    assert [c.subject for c in load_authorities(folder / "ca.crt", "ca").certificates] == [
        "CN=wakizashi CA"
    ]
    for name, role, subject in (
        ("center", Role.SERVER, "CN=center"),
        ("vm-1", Role.CLIENT, "CN=vm-1"),
    ):
        pair = load_pair(folder / f"{name}.crt", folder / f"{name}.key", role)
        assert (pair.certificate.subject, pair.certificate.issuer) == (subject, "CN=wakizashi CA")
        openssl("verify", "-CAfile", folder / "ca.crt", folder / f"{name}.crt")
        assert (folder / f"{name}.key").stat().st_mode & 0o077 == 0


def test_the_tokens_file_is_one_but_for_its_tokens(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n# tokens.yaml.*?\n(.*?)^```", TEXT, re.M | re.DOTALL)
    path = tmp_path / "tokens.yaml"
    path.write_text(re.sub(r'token: "(\w+)…"', r'token: "\g<1>0123456789abcdef"', example))
    found = {pattern.text for patterns in load_tokens(path).values() for pattern in patterns}
    assert found == {"vm-1", "vm-1/.*", "shop/.*"}


def test_every_reason_of_a_refusal_is_in_the_table() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ")]
    reasons = {row.split("|")[-2].strip(" `") for row in rows if row.count("|") == 5}
    assert set(REFUSALS) <= reasons
