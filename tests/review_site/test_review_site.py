"""The review pages: complete, safe, and without anything from outside."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cds_service.authoring.cases import Case, CaseFile, Run
from cds_service.authoring.recommendations import Recommendations
from cds_service.cli.main import main
from cds_service.explain.sentences import Sentences
from cds_service.files.paths import cards_dir
from cds_service.knowledge.knowledge import Card, Knowledge
from cds_service.review_site.pages import Site
from cds_service.review_site.words import expected, given, html, sentence, template
from tests.case_runs import case_runs
from tests.core import knowledge

CARDS = knowledge().cards
Draw = Callable[..., str]
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """What a page is made of. Raises AssertionError where a tag is not closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []
        self.words = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        values = dict(attrs)
        self.ids += [str(values["id"])] if "id" in values else []
        self.links += [str(values["href"])] if tag == "a" else []
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return list(case_runs())


@pytest.fixture(scope="module")
def site(runs: list[Run]) -> Site:
    return Site(knowledge(), Recommendations(cards_dir()), runs)


@pytest.fixture(scope="module")
def drawn(site: Site) -> Draw:
    """The page of a card, drawn once for all tests."""
    return cache(site.card)


@pytest.fixture(scope="module")
def folder(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site")
    site.write(path)
    return path


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_the_page_of_a_card_tells_all_of_its_data(drawn: Draw, card: Card) -> None:
    page = Page(drawn(card))
    file = card.file
    say = Sentences(knowledge().criteria, knowledge().terminology)

    wanted = [file.title, file.why, file.version, file.status, file.owner, *file.hooks, *file.known_gaps]
    wanted += [say.of(name) for row in file.table for name in (*row.when, *row.unless)]
    wanted += [say.of(name) for name in (*file.fire_when, *file.unless)]
    wanted += [say.meaning(name)[1:] for name in card.criteria]
    wanted += [Page(str(template(item.text))).words for item in (*file.detail,)]
    wanted += [Page(str(template(row.summary))).words for row in file.table]
    wanted += [item.label for item in file.suggestions]
    wanted += [action.description for item in file.suggestions for action in item.actions]
    wanted += [knowledge().overrides[code].display for code in file.overrides]
    wanted += [text for name in file.sources for text in (knowledge().sources[name].title, knowledge().sources[name].read)]
    wanted += [text for change in file.history for text in (change.version, change.what, change.affects)]
    wanted += [row.because for row in file.not_checked]
    missing = [text for text in wanted if one_line(text) not in page.words]
    assert missing == []


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_the_page_of_a_card_tells_its_cases_with_their_results(drawn: Draw, runs: list[Run], card: Card) -> None:
    page = Page(drawn(card))
    own = [run for run in runs if run.case.card is card]

    assert f"{len(own)} of {len(own)} pass." in page.words
    for run in own:
        for text in (run.case.file.name, *given(run.case.file), *expected(run.case.file)):
            assert one_line(text) in page.words


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_the_page_of_a_card_draws_it_from_a_case(drawn: Draw, card: Card) -> None:
    text = drawn(card)

    article = text[text.index("<article") : text.index("</article>")]

    assert 'class="cds' in article
    assert "{" not in article  # placeholders are filled
    assert knowledge().overrides[card.file.overrides[0]].display in Page(article + "</article>").words


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_a_page_asks_nothing_from_outside_and_runs_nothing(drawn: Draw, card: Card, alone: bool) -> None:
    text = drawn(card, alone=alone)
    page = Page(text)

    assert page.tags.isdisjoint({"script", "img", "iframe", "object", "embed", "form", "video", "base"})
    assert not any(name.startswith("on") or name in ("src", "srcset", "style") for name in page.attributes)
    assert re.findall(r"<link[^>]*>", text) == ([] if alone else ['<link rel="stylesheet" href="style.css">'])
    assert "url(" not in text
    assert "@import" not in text


def test_the_site_has_an_index_the_recommendations_a_page_for_each_card_and_one_style_sheet(folder: Path) -> None:
    wanted = {"index.html", "recommendations.html", "style.css", *(f"{card.id}.html" for card in CARDS)}
    assert {path.name for path in folder.iterdir()} == wanted


def test_all_links_inside_the_site_lead_somewhere(folder: Path) -> None:
    pages = {path.name: Page(path.read_text(encoding="utf-8")) for path in folder.glob("*.html")}
    for name, page in pages.items():
        assert len(set(page.ids)) == len(page.ids)
        for link in page.links:
            if not link.startswith("https://"):
                file, _, anchor = link.partition("#")
                assert (file or name) in pages
                assert not anchor or anchor in pages[file or name].ids


def test_the_style_works_in_the_dark_on_a_small_screen_and_on_paper(folder: Path) -> None:
    style = (folder / "style.css").read_text(encoding="utf-8")
    for wanted in (
        "color-scheme: light dark",
        "prefers-color-scheme: dark",
        "max-width: 45rem",
        "@media print",
        ":focus-visible",
    ):
        assert wanted in style


def test_a_failed_case_is_shown_as_failed_with_its_reason(runs: list[Run]) -> None:
    failed = Run(runs[0].case, [runs[0].case.problem("does not say 'x'")], runs[0].evaluation)
    rest = [run for run in runs[1:] if run.case.card is runs[0].case.card]

    page = Page(Site(knowledge(), Recommendations(cards_dir()), [failed, *rest]).card(failed.case.card))

    assert f"{len(rest)} of {len(rest) + 1} pass." in page.words
    assert "failed" in page.words
    assert "does not say 'x'" in page.words


def test_markup_in_a_text_of_a_patient_is_shown_and_not_run() -> None:
    assert html("**<b>\\*x\\***\n\na &lt;script&gt; 1\\-2") == (
        "<p><strong>&lt;b&gt;*x*</strong></p>\n<p>a &lt;script&gt; 1-2</p>\n"
    )


def test_markdown_is_drawn_without_html_pictures_and_links_that_are_not_https() -> None:
    source = "**a** <b>x</b> ![p](https://e.example/p.png) [l](javascript:alert(1)) [h](http://e.example) "
    source += "[s](https://e.example)\n\n- one"
    page = Page(str(html(source)))
    assert page.tags == {"p", "strong", "a", "ul", "li"}
    assert page.links == ["https://e.example/p.png", "https://e.example"]
    assert Page(f"<p>{template(source)}</p>").links == page.links
    assert "<b>x</b>" in page.text


def test_placeholders_stand_as_words() -> None:
    assert template("**{potassium_low.value}** <x>") == (
        '<strong><span class="slot">[potassium low: value]</span></strong> &lt;x&gt;'
    )


def test_a_sentence_begins_with_a_capital_letter_but_names_keep_theirs() -> None:
    assert [sentence("takes digoxin"), sentence("eGFR below 30"), sentence("")] == ["Takes digoxin", "eGFR below 30", ""]


def test_lines_of_a_case_that_are_mappings_in_yaml_read_as_lines() -> None:
    case = CaseFile(
        name="A case of lines",
        hook="patient-view",
        given=["patient: male, 60 years", {"patient": "female, 30 years"}, {"resourceType": "Observation"}],
        expect="silent",
        jurisdiction="GB",
        others={"quinine-avoid": "silent"},
    )
    assert given(case) == [
        "patient: male, 60 years",
        "patient: female, 30 years",
        "a Observation written as FHIR, see the case",
        "the site is in GB",
    ]
    assert expected(case) == ["silent", "quinine-avoid: silent"]


def test_the_command_writes_a_page_that_needs_no_other_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cards", "show", "quinine-avoid", "--html", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out == ""
    assert main(["cards", "show", "quinine-avoid", "--html"]) == 0

    written = (tmp_path / "page.html").read_text(encoding="utf-8")

    assert capsys.readouterr().out == f"{written}\n"
    page = Page(written)
    assert "Avoid quinine for cramps" in page.words
    assert "style" in page.tags
    assert all(link.startswith(("https://", "#")) for link in page.links)


def test_the_command_writes_the_site(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_again(cases: Iterable[Case], _: Knowledge) -> list[Run]:
        assert len(list(cases)) == len(runs)
        return runs

    monkeypatch.setattr("cds_service.authoring.cases.run_cases", run_again)  # as it would run them all again
    assert main(["cards", "site", str(tmp_path / "new" / "site")]) == 0

    assert capsys.readouterr().out == f"{len(CARDS) + 3} files; begin with {tmp_path / 'new' / 'site' / 'index.html'}\n"


def test_the_command_prints_the_table_of_recommendations(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cards", "rows"]) == 0

    assert {line.partition(" | ")[0] for line in capsys.readouterr().out.splitlines()} == set(Recommendations(cards_dir()).rows)
