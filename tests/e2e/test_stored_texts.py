"""Texts that came from elsewhere and are stored run nothing on the review pages: no dialog, no report of the content policy.

Each text stands where the pages show stored texts: names of clients, tenants, cards, reasons, causes; entries of the audit;
names of views, people and reviewers; comments; texts of a chart in evidence. `CDS_TEXTS=2000` for the long form.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Route

from cds_service.access.audit import append
from cds_service.app import create_app
from cds_service.database import Database, open_database
from cds_service.review.app import create_review_app
from cds_service.review.headers import HEADERS
from cds_service.review.saved_views import save_view
from cds_service.review.verdicts import CaseId, Opinion, keep
from cds_service.rollups.days import SiteDays
from cds_service.rollups.rollup import roll_up
from cds_service.settings import Settings
from tests.core import a_runtime
from tests.hostile_texts import hostile_texts, request_with
from tests.http_side import running
from tests.review.sample_log import NOW, write_sample_log

pytestmark = [pytest.mark.loopback, pytest.mark.enable_socket]

TEXTS = int(os.environ.get("CDS_TEXTS", "60"))
CHARTS = max(4, TEXTS // 50)  # texts that come in a chart, each with a case page
DAYS = "from=2026-10-01&to=2026-11-27"
# What breaks out of where a page puts a text: elements, attributes in either quotes, addresses, styles, scripts, templates.
_BREAKS = (
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    '" autofocus onfocus=alert(1) x="',
    "' onmouseover='alert(1)",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</option></select><img src=x onerror=alert(1)>",
    "javascript:alert(1)//",
    "data:text/html,<script>alert(1)</script>",
    "<base href=//evil.example>",
    "<form action=//evil.example><button>x",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<object data=//evil.example>",
    "<math><mtext></mtext><script>alert(1)</script></math>",
    "<style>*{background:url(//evil.example)}</style>",
    '" style="background:url(//evil.example)',
    "{{ 7 * 7 }}",
    "{% include '/etc/passwd' %}",
    "${alert(1)}",
    "<video><source onerror=alert(1)>",
    "<input type=image src=x onerror=alert(1)>",
    "&lt;img src=x onerror=alert(1)&gt;",
    "\u2028alert(1)\u2029",
    "<scr\u0000ipt>alert(1)</scr\u0000ipt>",
)
_WATCH = """
window.__reports = [];
document.addEventListener('securitypolicyviolation', one => window.__reports.push(one.violatedDirective + ' ' + one.blockedURI));
"""


def payloads(count: int) -> list[str]:
    """Different texts: each break alone, hostile pieces, then both mixed."""
    chance, known = random.Random(14), dict.fromkeys((*_BREAKS, *hostile_texts(152)))
    while len(known) < count:
        pieces = [chance.choice(_BREAKS), *hostile_texts(1, seed=len(known)), chance.choice(_BREAKS), str(len(known))]
        chance.shuffle(pieces)
        known["".join(pieces)] = None
    return [one for one in known if "\x00" not in one][:count]


def hostile_log(folder: Path, texts: list[str]) -> None:
    """A made-up log whose names are the texts."""
    write_sample_log(folder / "alerts.sqlite3", days=13)
    with closing(sqlite3.connect(folder / "alerts.sqlite3")) as file:
        first = 10_000
        file.executemany(
            "INSERT OR IGNORE INTO name (id, text) VALUES (?, ?)", [(first + n, text) for n, text in enumerate(texts)]
        )
        ids = [row[0] for row in file.execute("SELECT id FROM name WHERE id >= ?", (first,))]
        for table, key, columns in (
            ("call", "received_at", ("client", "tenant", "outcome", "degraded")),
            ("card", "received_at", ("client", "tenant", "card", "version")),
            ("feedback", "seq", ("client", "tenant", "reason_code", "reason_display")),
            ("refusal", "seq", ("client", "tenant", "reason")),
            ("quarantine", "seq", ("client", "tenant")),
            ("missing_of_set", "set_id", ("criterion", "cause")),
        ):
            for number, row in enumerate(file.execute(f"SELECT {key} FROM {table} ORDER BY {key}").fetchall()):  # noqa: S608
                for place, column in enumerate(columns):
                    if (number + place) % 3:  # the others keep their names, so that figures and links go on to work
                        value = ids[(number * len(columns) + place) % len(ids)]
                        file.execute(f"UPDATE OR IGNORE {table} SET {column} = ? WHERE {key} = ?", (value, row[0]))  # noqa: S608
        file.execute("UPDATE quarantine SET error = ?", (texts[0],))
        file.commit()


def say_more(database: Database, texts: list[str]) -> None:
    """Put the texts into what people write."""
    database.execute("PRAGMA review.synchronous = OFF")
    for number, text in enumerate(texts):
        append(database, number, text, text, text, text, {"text": text})
        if number < 60:
            save_view(
                database, f"view {number} {' '.join(text.split())[:40]}" if text.isprintable() else f"v{number}", text, at=number
            )
    for text in texts[:20]:
        database.execute(
            "INSERT INTO review.person (folded, name, source, subject) VALUES (:name, :name, 'oidc', :name) "
            "ON CONFLICT DO NOTHING",
            name=text,
        )
        database.execute("INSERT INTO review.hold (kind, value, reason, began_at) VALUES ('client', :text, :text, 1)", text=text)
        database.execute(
            "INSERT INTO review.session (id, name, source, groups, began_at, seen_at) "
            "VALUES (randomblob(32), :text, :text, '[]', 1, 1)",
            text=text,
        )
    roll_up(database, SiteDays("UTC"), lambda: NOW)


async def charts(folder: Path, texts: list[str]) -> None:
    """Fire calls whose charts hold the texts, into a log of their own."""
    runtime = a_runtime(folder)
    async with running(create_app(runtime.settings, runtime=runtime)) as client:
        for text in texts:
            answer = await client.post("/cds-services/cramp-care-order-sign", json=request_with(text))
            assert answer.status_code in (200, 400), answer.text


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The pages with stored texts, of two servers: one over hostile names, one over hostile charts."""
    texts = payloads(TEXTS)
    names, evidence = tmp_path_factory.mktemp("names"), tmp_path_factory.mktemp("charts")
    hostile_log(names, texts)
    with ThreadPoolExecutor() as threads:  # because the browser's loop runs in this one
        threads.submit(asyncio.run, charts(evidence, texts[:CHARTS])).result()
    with closing(
        open_database(names / "alerts.sqlite3", names / "review.sqlite3", limit_ms=None, writes_review=True)
    ) as database:
        say_more(database, texts)
        cards = [row["text"] for row in database.rows("SELECT DISTINCT n.text FROM log.card c JOIN log.name n ON n.id = c.card")]
    with closing(
        open_database(evidence / "alerts.sqlite3", evidence / "review.sqlite3", limit_ms=None, writes_review=True)
    ) as database:
        cases = judged(database, texts)
        roll_up(database, SiteDays("UTC"), lambda: NOW)
    with served(names) as here, served(evidence) as there:
        pages = [
            f"{here}{path}?{DAYS}" for path in ("", "/cards", "/reasons", "/data", "/clients", "/log", "/signals", "/digest")
        ]
        pages += [
            f"{here}/audit?rows=10000",
            f"{here}/people",
            f"{here}/queue",
            f"{here}/results",
            f"{here}/sign-in?next={texts[0]}",
        ]
        pages += [f"{here}/log?{DAYS}&client={quoted(text)}&reason={quoted(text)}" for text in texts[:5]]
        pages += [f"{here}/cards/{quoted(card)}?{DAYS}" for card in cards[: max(3, TEXTS // 100)] if "/" not in card]
        yield [*pages, *(f"{there}{case}" for case in cases), f"{there}/queue", f"{there}/results"]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of the pages over the log in `folder`, served by a thread."""
    app = create_review_app(Settings(log_path=folder / "alerts.sqlite3"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/review"
        server.should_exit = True
        thread.join()


def judged(database: Database, texts: list[str]) -> list[str]:
    """Judge each case with a hostile name and comment; return the addresses."""
    rows = database.rows(
        "SELECT DISTINCT c.received_at, c.id, n.text AS card FROM log.call c JOIN log.card d ON d.call_id = c.id "
        "JOIN log.name n ON n.id = d.card ORDER BY c.received_at"
    )
    found = []
    for number, row in enumerate(rows):
        case = CaseId(bytes(row["id"]), row["received_at"], row["card"], 1)
        for reader in range(2):
            text = texts[(2 * number + reader) % len(texts)]
            keep(database, case, f"reader {reader}", Opinion("unsure", comment=text), plan=None, at=number)
        database.execute("UPDATE review.verdict SET reviewer = :text WHERE seq = (SELECT max(seq) FROM review.verdict)",
                         text=texts[number % len(texts)])  # fmt: skip
        found.append(f"/cases/{case.call_id.hex()}/{case.card}/1")
    return found[:CHARTS]


def quoted(text: str) -> str:
    return quote(text, safe="")


def watched(page: Page, happened: list[str]) -> None:
    """Note dialogs, reports of the policy, errors of scripts, and what goes elsewhere."""

    def dialog(one: object) -> None:
        happened.append("dialog")
        one.dismiss()  # type: ignore[attr-defined]

    page.add_init_script(_WATCH)
    page.on("dialog", dialog)
    page.on("pageerror", lambda error: happened.append(str(error)))
    page.on(
        "console",
        lambda line: happened.append(line.text) if "Content Security Policy" in line.text or "Refused to" in line.text else None,
    )
    page.on("request", lambda one: happened.append(one.url) if not one.url.startswith(("http://127.0.0.1:", "data:")) else None)


def answered(text: str, *, protected: bool) -> Callable[[Route], None]:
    """What answers with a page that holds the text as it is."""
    headers = {**(HEADERS if protected else {}), "content-type": "text/html"}
    return lambda route: route.fulfill(status=200, headers=headers, body=f"<p>{text}</p>")


def test_what_is_watched_for_is_seen(browser: Browser) -> None:
    for text in ("<script>alert(1)</script>", '<img src=x onerror="alert(1)">', "<iframe src=//evil.example></iframe>"):
        for protected in (False, True):
            page, happened = browser.new_page(), list[str]()
            watched(page, happened)
            page.route("**/unsafe", answered(text, protected=protected))
            page.goto("http://127.0.0.1:8009/unsafe")
            page.wait_for_timeout(50)
            assert happened or page.evaluate("window.__reports"), (text, protected)
            page.close()


def test_no_stored_text_runs_anything(browser: Browser, addresses: list[str]) -> None:
    page, happened = browser.new_page(), list[str]()
    watched(page, happened)
    shown = 0
    for address in addresses:
        following: str | None = address
        for _ in range(3 if TEXTS < 1000 else 40):  # pages of the log
            if following is None:
                break
            response = page.goto(following)
            assert response is not None
            assert response.status in (200, 400, 404, 403), (following, response.status)
            shown += response.status == 200
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            assert page.evaluate(
                "[...document.querySelectorAll('*')].some(one => [...one.attributes].some(a => a.name.startsWith('on')))"
            ) is False  # fmt: skip
            assert page.evaluate("window.__reports") == [], following
            assert happened == [], following
            link = page.locator("a[rel=next]")
            following = link.first.evaluate("one => one.href") if link.count() else None
    assert shown > len(addresses) / 2
    page.close()
