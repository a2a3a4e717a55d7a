"""Which licence a distribution is under, and whether what is shipped may hold it.

Licences are SPDX expressions. Older metadata states them in words; what has been read so is in
``WORDS``, each entry made after a look at the licence's text. What is in neither form is unknown,
and what is unknown is not shipped.
"""

from __future__ import annotations

from importlib.metadata import Distribution

from cyclonedx.spdx import is_expression
from license_expression import get_spdx_licensing
from packaging.utils import canonicalize_name

# None of these asks more of a program that holds the work unchanged than its text and notices.
ALLOWED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MPL-2.0",
        "PSF-2.0",
        "Zlib",
    }
)
# What only one product may hold. NOTICE says what follows from it.
ALSO = {"probe": frozenset({"GPL-2.0-only"})}
# What only a bundle may hold: what PyInstaller and the host's libraries bring.
IN_BUNDLES = frozenset(
    {
        "GPL-2.0-or-later WITH Bootloader-exception",
        "GPL-3.0-or-later WITH GCC-exception-3.1",
        "LicenseRef-public-domain",
        "X11-distribute-modifications-variant",
        "blessing",
        "bzip2-1.0.6",
    }
)

WORDS = {
    "3-Clause BSD License": "BSD-3-Clause",  # protobuf
    "Apache 2": "Apache-2.0",  # async-timeout
    "MIT License": "MIT",  # influxdb
}
# Whose metadata does not tell.
STATED = {
    "pyinstaller": "GPL-2.0-or-later WITH Bootloader-exception",
    # Its hooks for the build are under GPL-2.0-or-later; those that get into a bundle are not.
    "pyinstaller-hooks-contrib": "Apache-2.0",
}

# By the name before ".so": a bundle holds these of the host's. One that is not here is not shipped
# before somebody has read its licence; readline's (GPL-3.0-or-later) is why.
LIBRARIES = {
    "libbz2": "bzip2-1.0.6",
    "libcrypto": "Apache-2.0",
    "libexpat": "MIT",
    "libffi": "MIT",
    "libgcc_s": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "liblzma": "LicenseRef-public-domain",
    "libmpdec": "BSD-2-Clause",
    "libncursesw": "X11-distribute-modifications-variant",
    "libsqlite3": "blessing",
    "libssl": "Apache-2.0",
    "libstdc++": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libtinfo": "X11-distribute-modifications-variant",
    "libuuid": "BSD-3-Clause",
    "libz": "Zlib",
}


def licence(distribution: Distribution) -> str:
    """The SPDX expression of a distribution's licence, "" where its metadata does not tell."""
    stated = STATED.get(canonicalize_name(distribution.name))
    if stated:
        return stated
    metadata = distribution.metadata
    for field in ("License-Expression", "License"):
        text = str(metadata[field] or "").strip() if field in metadata else ""
        text = WORDS.get(text, text)
        if text and is_expression(text):
            return text
    return ""


def permitted(expression: str, product: str, bundle: bool) -> bool:
    """Whether a product (``probe`` or ``center``) may hold what is under this licence.

    Of alternatives one must be permitted, of parts that hold together all.
    """
    allowed = ALLOWED | ALSO.get(product, frozenset()) | (IN_BUNDLES if bundle else frozenset())
    licensing = get_spdx_licensing()

    def evaluate(node: object) -> bool:
        if isinstance(node, licensing.OR):
            return any(map(evaluate, node.args))
        if isinstance(node, licensing.AND):
            return all(map(evaluate, node.args))
        return str(node) in allowed

    return evaluate(licensing.parse(expression))
