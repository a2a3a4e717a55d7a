"""Authorities and certificates for tests, made with openssl."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SERVER, CLIENT = "serverAuth", "clientAuth"
_KEY = ("EC", "ec_paramgen_curve:P-256")


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    cert: Path
    key: Path

    def put(self, place: "Issued") -> None:
        """Put the two in the place of others, each at once, as whoever rotates them does."""
        for new, old in ((self.cert, place.cert), (self.key, place.key)):
            made = old.with_suffix(".new")
            made.write_bytes(new.read_bytes())
            made.chmod(0o600)
            made.replace(old)


def openssl(*arguments: object) -> None:
    """Run openssl; skip where there is none, fail in CI."""
    program = shutil.which("openssl")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is missing; apt-get install openssl")
        pytest.skip("openssl is missing; apt-get install openssl")
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


class Authority:
    """Issues certificates in a folder of its own."""

    def __init__(self, folder: Path, name: str = "lab") -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.cert, self._key = folder / "ca.crt", folder / "ca.key"
        subject = ("-subj", f"/CN={name} CA")
        openssl("req", "-x509", *_new_key(self._key), "-out", self.cert, "-days", 30, *subject)

    def issue(
        self,
        cn: str,
        usage: str,
        *,
        san: str = "",
        days: int = 30,
        name: str = "",
        key: tuple[str, ...] = _KEY,
    ) -> Issued:
        """A certificate for ``days`` from now on; one that has expired with less than none.

        Args:
            key: what ``openssl genpkey`` is asked for: an algorithm, and options of it.
        """
        made = self._folder / (name or f"{cn}-{usage}-{days}".replace("/", "_"))
        request, extensions = made.with_suffix(".csr"), made.with_suffix(".ext")
        issued = Issued(made.with_suffix(".crt"), made.with_suffix(".key"))
        subject = cn.replace("/", "\\/")
        openssl(
            "req", "-new", *_new_key(issued.key, key), "-out", request, "-subj", f"/CN={subject}"
        )
        lines = [f"extendedKeyUsage={usage}", *([f"subjectAltName={san}"] if san else [])]
        extensions.write_text("\n".join(lines) + "\n")
        openssl(
            *("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self._key),
            *("-out", issued.cert, "-days", days, "-extfile", extensions),
        )
        issued.key.chmod(0o600)
        return issued

    def server(self, *, days: int = 30, san: str = "IP:127.0.0.1,DNS:center.example") -> Issued:
        """A center's."""
        return self.issue("center", SERVER, san=san, days=days)

    def client(self, cn: str, *, san: str = "", days: int = 30) -> Issued:
        """A probe's."""
        return self.issue(cn, CLIENT, san=san, days=days)


def _new_key(path: Path, key: tuple[str, ...] = _KEY) -> tuple[object, ...]:
    algorithm, *options = key
    flags = [flag for option in options for flag in ("-pkeyopt", option)]
    return ("-newkey", algorithm, *flags, "-nodes", "-keyout", path)
