"""Time the review pages on a log of millions of calls: every route, with the filter that is worst for it.

    python -m tests.bench.review_pages --calls 1000000 --database sqlite

The log is that of `tests.bench.log_at_scale`, made where it is missing. Each page is asked for through the application, on new
connections: `first` is its first load, then come median, 95th percentile and maximum of --rounds, and the median CPU time, which
other work on the machine moves less.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import httpx2
from starlette.applications import Starlette

from cds_service.review.routes import review_routes
from cds_service.review.site import Site
from cds_service.rollups.days import as_date, plus
from cds_service.settings import Settings
from tests.bench.log_at_scale import Place, add_options, made_log
from tests.core import knowledge
from tests.rollups.synthetic import Shape, last_day


def paths(last: int) -> Mapping[str, str]:
    """Return the pages by what is hard about them; `last`: the newest day, YYYYMMDD."""
    odd = f"from={as_date(plus(last, -350)).isoformat()}&to={as_date(plus(last, -7)).isoformat()}"
    rare = "card=card-17&client=client-4&response=accepted&mode=live&indicator=critical"
    return {
        "overview, 28 days": "",
        "overview, a year": "?days=365",
        "overview, days at both ends": f"?{odd}",
        "overview, one client and hook, a year": "?days=365&client=client-4&hook=order-select",
        "cards, a year": "/cards?days=365",
        "card, a year": "/cards/card-3?days=365",
        "card, a year, one client": "/cards/card-3?days=365&client=client-4",
        "reasons, a year": "/reasons?days=365",
        "data, a year": "/data?days=365",
        "clients, a year": "/clients?days=365",
        "clients, one that seldom calls": "/clients?days=365&client=client-4",
        "log, newest": "/log",
        "log, a year": "/log?days=365",
        "log, rare": f"/log?days=365&{rare}",
        "log, impossible": "/log?days=365&card=card-3&state=withdrawn&response=accepted",
        "queue": "/queue",
        "results": "/results",
        "definitions": "/definitions",
    }


async def _time(place: Place, shape: Shape, rounds: int) -> None:
    last = last_day(shape)
    day = as_date(last)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(hours=11)
    settings = Settings(log_path=place.log, review_path=place.review)
    if place.url:
        settings = settings.model_copy(update={"log_database_url": place.url})
    columns = ("first", "median", "p95", "max", "CPU")
    print(f"| {'page':40} | status | {' | '.join(f'{one:>6}' for one in columns)} |")
    print(f"|{'-' * 42}|-------:|{'-------:|' * len(columns)}")
    firsts = []
    for name, path in paths(last).items():
        site = Site(settings, knowledge(), lambda: noon)
        transport = httpx2.ASGITransport(app=Starlette(routes=review_routes(site)))
        took, used, statuses = [], [], set()
        async with httpx2.AsyncClient(transport=transport, base_url="http://cds.example", timeout=120) as client:
            for _ in range(rounds + 1):
                started, cpu = time.perf_counter(), time.process_time()
                answer = await client.get(f"/review{path}")
                took.append((time.perf_counter() - started) * 1_000)
                used.append((time.process_time() - cpu) * 1_000)
                statuses.add(answer.status_code)
        await asyncio.to_thread(site.close)
        rest = sorted(took[1:])
        firsts.append(took[0])
        said = "/".join(str(one) for one in sorted(statuses))
        p95 = rest[min(len(rest) - 1, int(0.95 * len(rest)))]
        figures = (took[0], statistics.median(rest), p95, rest[-1], statistics.median(used[1:]))
        print(f"| {name:40} | {said:>6} | {' | '.join(f'{one:6.0f}' for one in figures)} |", flush=True)
    firsts.sort()
    print(
        f"\nfirst loads: p50 {statistics.median(firsts):.0f}, p95 {firsts[int(0.95 * len(firsts))]:.0f}, max {firsts[-1]:.0f} ms"
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    options = parser.parse_args()
    place, shape = made_log(options)
    print(f"\n{shape.calls:,} calls, {options.database}, ms\n")
    asyncio.run(_time(place, shape, options.rounds))


if __name__ == "__main__":
    main()
