"""The center's addresses: how many are known, which are forgotten, how they are written."""

import socket
from typing import Any

import pytest

from wakizashi.probe import addresses
from wakizashi.probe.addresses import Address, Center


def answers(monkeypatch: pytest.MonkeyPatch, family: int, *texts: str) -> None:
    found = [(family, socket.SOCK_STREAM, 6, "", (text, 80)) for text in texts]

    def getaddrinfo(*_: Any, **__: Any) -> Any:
        return found

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_of_many_addresses_so_many_are_used_and_the_newest_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(addresses, "MAX_ADDRESSES", 2)
    answers(monkeypatch, socket.AF_INET, *(f"192.0.2.{n}" for n in range(9)))
    center = Center("center.example:80")
    first, second = center.resolve()
    assert center.endpoints() == {(first.packed, 80), (second.packed, 80)}
    center.saw(first)  # so it is the newer one
    third = Address(bytes(4), 80, "ipv4:0.0.0.0:80")
    center.saw(third)
    assert center.endpoints() == {(first.packed, 80), (third.packed, 80)}


def test_an_address_of_one_link_keeps_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, socket.AF_INET6, "fe80::1%eth0")
    (address,) = Center("center.example:80").resolve()
    assert address.packed == socket.inet_pton(socket.AF_INET6, "fe80::1")
    assert address.target == "ipv6:[fe80::1%25eth0]:80"
