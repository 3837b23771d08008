"""Tell from its URL where the link of each source leads, without network."""

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


class LinkTarget(NamedTuple):
    """Hold where a link leads; `refused` says why `sources.yaml` may not have it."""

    kind: str  # DOI, PMID, label, page, nothing
    to: str
    refused: str = ""


def link_target(url: str) -> LinkTarget:
    """Return where `url` leads."""
    if not url:
        return LinkTarget("nothing", "")
    parts = urlsplit(url)
    host = (parts.hostname or "").removeprefix("www.")
    query = parse_qs(parts.query)
    if "setid" in query:
        found = _SET_ID.fullmatch(query["setid"][0])
        return LinkTarget("label", query["setid"][0], "" if found else "names no set id of a label")
    if _SEARCHES & query.keys() or re.search(r"/search\b", parts.path):
        return LinkTarget("search", url, "is a search, and its results change; link the work itself or nothing")
    if host in ("doi.org", "dx.doi.org"):
        doi = parts.path.lstrip("/")
        return LinkTarget("DOI", doi, "" if _DOI.fullmatch(doi) else "is not a DOI")
    if host == "pubmed.ncbi.nlm.nih.gov":
        pmid = _PMID.fullmatch(parts.path)
        return LinkTarget("PMID", pmid[1] if pmid else "", "" if pmid else "names no article of PubMed")
    if parts.path.strip("/") == "":
        return LinkTarget("page", host, "leads to a whole site, not to a work")
    return LinkTarget("page", f"{host}{parts.path}")


def refused_links(sources: Mapping[str, SourceFile]) -> Iterator[tuple[str, str]]:
    """Yield (source, problem) for links that do not lead to the work itself.

    They lead to no single work, or to another than the title names.
    """
    for name, source in sources.items():
        found = link_target(source.url)
        if found.refused:
            yield name, f"its link {found.refused}"
        named = _DOI.search(source.title)
        if named is not None and found.kind == "DOI" and named[0].rstrip(".,;)").lower() != found.to.lower():
            yield name, "its title names another DOI than its link"


def link_lines(sources: Mapping[str, SourceFile]) -> list[str]:
    """Return a line for each source: where its link leads, its title, what was read."""
    lines = []
    for name, source in sources.items():
        found = link_target(source.url)
        where = f"{found.kind} {found.to}" if source.url else "no link"
        lines.append(f"{name}: {where} | {source.title} | read: {source.read}")
    return lines
