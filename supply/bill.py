"""The bill of materials: CycloneDX 1.6, as JSON.

In: parts. Out: text that depends on nothing but them and the time that is given, if one is: the
serial number too is one of the contents, so two builds of the same have the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import astuple
from datetime import datetime

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseAcknowledgement
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from supply.contents import Part


def component(part: Part, kind: ComponentType = ComponentType.LIBRARY) -> Component:
    """A part as CycloneDX has it."""
    stated = LicenseFactory().make_from_string(
        part.licence, license_acknowledgement=LicenseAcknowledgement.DECLARED
    )
    return Component(
        name=part.name,
        type=kind,
        version=part.version or None,
        bom_ref=part.purl or part.name,
        purl=PackageURL.from_string(part.purl) if part.purl else None,
        licenses=[stated],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=part.sha256)] if part.sha256 else [],
    )


def bill(product: str, own: Part, parts: Sequence[Part], built: datetime | None) -> str:
    """The text for a product, of which ``own`` is our part and ``parts`` are all others.

    What no part asks for, Python and the libraries of the host, is asked for by the product.
    """
    root = component(own, ComponentType.APPLICATION)
    root.name = f"wakizashi-{product}"
    known = {part.name: component(part) for part in parts}
    identity = repr([product, astuple(own), [astuple(part) for part in parts]])
    bom = Bom(components=known.values(), serial_number=uuid.uuid5(uuid.NAMESPACE_OID, identity))
    bom.metadata.component = root
    bom.metadata.timestamp = built  # type: ignore[assignment]  # None leaves it out
    asked: set[str] = set()
    for part in parts:
        asked |= part.needs
        bom.register_dependency(known[part.name], [known[name] for name in sorted(part.needs)])
    direct = own.needs | (known.keys() - asked)
    bom.register_dependency(root, [known[name] for name in sorted(direct)])
    return str(JsonV1Dot6(bom).output_as_string(indent=2)) + "\n"
