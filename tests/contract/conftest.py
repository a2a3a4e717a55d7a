"""Each backend in turn: for suites that every one of them must pass.

They are found by listing their folder. A new one needs an entry of its own in
``SETTINGS``, else the suites fail.
"""

from collections.abc import Iterator

import pytest

from tests.center_backends import SETTINGS, Settings, opened
from wakizashi.center.backend import Backend, backend_names


@pytest.fixture(params=sorted({*backend_names(), *SETTINGS}))
def place(request: pytest.FixtureRequest) -> tuple[str, Settings]:
    return request.param.partition("+")[0], SETTINGS[request.param](request)


@pytest.fixture
def backend(place: tuple[str, Settings]) -> Iterator[Backend]:
    with opened(*place) as made:
        yield made
