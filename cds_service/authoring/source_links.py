"""Tells what the link of each source leads to, without network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from cds_service.knowledge.card_file import SourceFile

_SEARCHES = {"q", "term", "query", "search", "keywords"}
_DOI = re.compile(r"10\.\d{4,9}/\S+")
_PMID = re.compile(r"/(\d{1,8})/?")
_SET_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


class Lead(NamedTuple):
    """Where a link leads.

    `refused` says why it may not stand in `sources.yaml`.
    """

    kind: str  # DOI, PMID, label, page, nothing
    to: str
    refused: str = ""


def lead(url: str) -> Lead:
    """Return where `url` leads."""
    if not url:
        return Lead("nothing", "")
    parts = urlsplit(url)
    host = (parts.hostname or "").removeprefix("www.")
    asked = parse_qs(parts.query)
    if "setid" in asked:
        found = _SET_ID.fullmatch(asked["setid"][0])
        return Lead("label", asked["setid"][0], "" if found else "names no set id of a label")
    if _SEARCHES & asked.keys() or re.search(r"/search\b", parts.path):
        return Lead("search", url, "is a search: its answer changes and is no work; link the work itself or nothing")
    if host in ("doi.org", "dx.doi.org"):
        doi = parts.path.lstrip("/")
        return Lead("DOI", doi, "" if _DOI.fullmatch(doi) else "is no DOI")
    if host == "pubmed.ncbi.nlm.nih.gov":
        pmid = _PMID.fullmatch(parts.path)
        return Lead("PMID", pmid[1] if pmid else "", "" if pmid else "names no article of PubMed")
    if parts.path.strip("/") == "":
        return Lead("page", host, "leads to a whole site, not to a work")
    return Lead("page", f"{host}{parts.path}")


def refused_links(sources: Mapping[str, SourceFile]) -> Iterator[tuple[str, str]]:
    """Yield (source, what is wrong) of links that lead to no single work.

    Or to another than the title names.
    """
    for name, source in sources.items():
        found = lead(source.url)
        if found.refused:
            yield name, f"its link {found.refused}"
        named = _DOI.search(source.title)
        if named is not None and found.kind == "DOI" and named[0].rstrip(".,;)").lower() != found.to.lower():
            yield name, "its title names another DOI than its link"


def listed(sources: Mapping[str, SourceFile]) -> list[str]:
    """Yield a line for each source: its link, whose title, what was read."""
    lines = []
    for name, source in sources.items():
        found = lead(source.url)
        where = f"{found.kind} {found.to}" if source.url else "no link"
        lines.append(f"{name}: {where} | {source.title} | read: {source.read}")
    return lines
