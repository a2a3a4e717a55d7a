"""Would points be stored, and kept? Each backend looks itself: :meth:`Backend.diagnose`."""

from collections.abc import Iterator

from wakizashi.center.backend import Series, open_backend
from wakizashi.center.config import BackendConfig
from wakizashi.center.series import WARN_RATIO
from wakizashi.doctor.finding import Finding, fault, note, ok


def look(config: BackendConfig) -> Iterator[Finding]:
    """What the configured backend says of its server; what it can't be used for is raised."""
    backend = open_backend(config, read_only=True)
    try:
        for remark in backend.diagnose():
            if remark.fault:
                yield fault("backend", remark.text, remark.remedy)
            elif remark.remedy:
                yield note("backend", remark.text, remark.remedy)
            else:
                yield ok("backend", remark.text)
        series = backend.series()
    finally:
        backend.close()
    if series is not None:
        yield judge_series(series)


def judge_series(series: Series) -> Finding:
    """How near the limit is that is reached first."""
    limit = series.tightest
    if limit is None:
        return ok("series", f"{series.count} series; no limit, or none that this user may see")
    text = f"{limit.used} {limit.what}; {limit.name} is {limit.limit}"
    if limit.ratio >= 1:
        return fault("series", f"{text}: new ones are refused", limit.remedy)
    if limit.ratio >= WARN_RATIO:
        return note("series", f"{text}: then new ones are refused", limit.remedy)
    return ok("series", text)
