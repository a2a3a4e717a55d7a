"""``make screenshots``: the pictures of the dashboard that the README shows.

Of a fleet that was made up and at a time that stands still, so that they change only when the page
does, or the fonts: another host may have others.
"""

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser import MINUTE, eyes, launched, look, names_file, served, store
from tests.fleet_data import Fleet

if TYPE_CHECKING:
    from playwright.sync_api import Browser

IMAGES = Path(__file__).parents[1] / "docs" / "images"
END = 1_764_241_200_000
"""27 November 2025, 11:00 UTC."""
NOW = END + 6_000
SINCE = END - 90 * MINUTE
BRUSHED = END - 41 * MINUTE, END - 26 * MINUTE
VIEW = f"/?since={SINCE}&until={END}&from={BRUSHED[0]}&to={BRUSHED[1]}"
MOST_BYTES = 400_000


def picture(browser: "Browser", address: str, name: str, *, width: int, dark: bool = False) -> None:
    """One file, down to where the talkers' table has shown what it is."""
    context = eyes(
        browser,
        viewport={"width": width, "height": 1000},
        color_scheme="dark" if dark else "light",
    )
    page = context.new_page()
    page.clock.set_fixed_time(NOW / 1000)
    # Where the store is says nothing to who looks at a picture.
    page.route(
        re.compile(r"/api/v1/about"),
        lambda route: route.fulfill(
            json={**route.fetch().json(), "backend": "SQLite at /var/lib/wakizashi/traffic.db"}
        ),
    )
    look(page, address + VIEW)
    page.evaluate("document.fonts.ready")
    rows = page.locator("#talkers-table tbody tr")
    row = rows.nth(10 if width > 600 else 5).bounding_box()
    assert row is not None
    clip = {"x": 0, "y": 0, "width": width, "height": int(row["y"] + row["height"])}
    path = IMAGES / f"dashboard-{name}.png"
    page.screenshot(path=path, full_page=True, clip=clip)  # type: ignore[arg-type]  # a dict will do
    context.close()
    size = path.stat().st_size
    assert size < MOST_BYTES, f"{path}: {size} bytes; show less of the page"
    print(f"{path}: {clip['width']} x {clip['height']}, {size:,} bytes")


def main() -> None:
    """Write them all."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    fleet = Fleet(silent="queue", silent_ms=4 * MINUTE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = store(folder, fleet.windows(SINCE, END))
        with served(made, names_file(folder), lambda: NOW) as address, launched() as browser:
            picture(browser, address, "light", width=1440)
            picture(browser, address, "dark", width=1440, dark=True)
            picture(browser, address, "narrow", width=390)


if __name__ == "__main__":
    main()
