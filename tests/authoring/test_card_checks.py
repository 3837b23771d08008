"""What `cards check` asks of the cards beside their cases: short, complete, and linked to what they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cds_service.authoring.card_checks import content_problems, incomplete_orders, too_long, too_many_links
from cds_service.authoring.cases import load_cases, run_cases
from cds_service.authoring.source_links import LinkTarget, link_target, refused_links
from cds_service.cli.main import main
from cds_service.files.paths import cards_dir
from cds_service.knowledge.card_file import SourceFile
from cds_service.knowledge.loader import read_knowledge
from tests.case_runs import case_runs
from tests.core import Json, a_card, knowledge, small, write_small
from tests.reading import terminology

CASE = "- name: A woman of fifty\n  hook: patient-view\n  given: []\n  expect: {indicator: info}\n"


def lengths(folder: Path, **changes: Any) -> list[str]:
    write_small(folder, {}, a_card(table=[{"indicator": "info", "summary": "S" * 50}], **changes))
    known = read_knowledge(folder, terminology())
    (folder / "one" / "cases.yaml").write_text(CASE, encoding="utf-8")
    return [str(problem) for problem in too_long(run_cases(load_cases(folder, known), known))]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"detail": [{"text": "d" * 650}]}, ""),
        (
            {"detail": [{"text": "d" * 651}]},
            "A woman of fifty: the card has 701 characters and may have 700; move what is not urgent",
        ),
        ({"detail": [{"text": "d" * 451}], "length": {"characters": 500}}, "the card has 501 characters and may have 500"),
        ({"detail": [{"text": "d" * 450}], "length": {"characters": 500, "lines": 1}}, ""),
        ({"detail": [{"text": "d"}] * 5, "length": {"lines": 5}}, ""),
        ({"detail": [{"text": "d"}] * 6, "length": {"lines": 5}}, "the card has 6 lines and may have 5"),
    ],
)
def test_a_card_that_is_longer_than_it_may_be_is_told_with_its_longest_case(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    problems = lengths(tmp_path, **changes)
    assert bool(problems) is bool(told)
    assert all(told in problem and problem.startswith("cards/one/cases.yaml:1:") for problem in problems)


DOSAGE: Json = {
    "text": "20 mEq by mouth twice daily",
    "timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
    "route": {"text": "by mouth"},
    "doseAndRate": [{"doseQuantity": {"value": 20, "unit": "mEq"}}],
}
ORDER: Json = {
    "resourceType": "MedicationRequest",
    "status": "draft",
    "intent": "proposal",
    "medicationCodeableConcept": {"text": "potassium chloride"},
    "subject": {"reference": "{patient.reference}"},
    "reasonCode": [{"text": "Low potassium"}],
    "dosageInstruction": [DOSAGE],
}


def without(field: str) -> Json:
    return ORDER | {"dosageInstruction": [{name: value for name, value in DOSAGE.items() if name != field}]}


@pytest.mark.parametrize(
    ("order", "lacking"),
    [
        (ORDER, ""),
        (without("doseAndRate"), "no dose"),
        (without("timing"), "no frequency"),
        (without("route"), "no route"),
        (ORDER | {"reasonCode": []}, "no reason"),
        (ORDER | {"dosageInstruction": [DOSAGE | {"text": "40 mEq by mouth"}]}, "no text of the dosage that says its dose"),
        ({"resourceType": "MedicationRequest", "dosageInstruction": []}, ""),  # changes a draft
    ],
)
def test_an_order_of_a_drug_is_complete(order: Json, lacking: str) -> None:
    action = {"type": "create" if "status" in order else "update", "description": "Order it", "resource": "it"}
    card = a_card(suggestions=[{"id": "it", "label": "Order it", "actions": [action]}])
    problems = [str(problem) for problem in incomplete_orders(small({}, card, orders={"it": order}))]
    assert len(problems) == bool(lacking)
    assert all(lacking in problem for problem in problems)


def test_a_card_names_at_most_three_sources_as_links() -> None:
    assert list(too_many_links(small({}, a_card(sources=["S1", "S2"], links=["S1", "S2"])))) == []
    four = small({}, a_card(sources=["S1", "S2"], links=["S1", "S2", "S1", "S2"]))
    assert "names 4 sources" in str(next(too_many_links(four)))


# Links


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("", LinkTarget("nothing", "")),
        ("https://doi.org/10.1002/14651858.CD008496.pub3", LinkTarget("DOI", "10.1002/14651858.CD008496.pub3")),
        ("https://pubmed.ncbi.nlm.nih.gov/27467714/", LinkTarget("PMID", "27467714")),
        (
            "https://dailymed.nlm.nih.gov/dailymed/drugInfo.cfm?setid=e782283e-2608-4fd6-a8b2-6c30b9d5d3b0",
            LinkTarget("label", "e782283e-2608-4fd6-a8b2-6c30b9d5d3b0"),
        ),
        ("https://www.gov.uk/drug-safety-update/quinine", LinkTarget("page", "gov.uk/drug-safety-update/quinine")),
    ],
)
def test_what_a_link_leads_to_is_told_from_its_address(url: str, found: LinkTarget) -> None:
    assert link_target(url) == found


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://pubmed.ncbi.nlm.nih.gov/?term=leg+cramps", "is a search"),
        ("https://dailymed.nlm.nih.gov/dailymed/search.cfm?query=baclofen", "is a search"),
        ("https://escholarship.org/search/?q=author", "is a search"),
        ("https://doi.org/jhep", "is not a DOI"),
        ("https://pubmed.ncbi.nlm.nih.gov/about/", "names no article"),
        ("https://dailymed.nlm.nih.gov/dailymed/drugInfo.cfm?setid=baclofen", "names no set id"),
        ("https://www.rcpath.org/", "leads to a whole site"),
    ],
)
def test_a_link_that_leads_to_no_single_work_is_refused(url: str, why: str) -> None:
    source = SourceFile(title="A work", url=url, says="This", read="all")
    ((name, told),) = refused_links({"S9": source})
    assert name == "S9"
    assert why in told


def test_a_title_that_names_another_doi_than_the_link_is_refused() -> None:
    source = SourceFile(title="A work, doi:10.1000/other", url="https://doi.org/10.1000/one", says="This", read="all")
    assert [told for _, told in refused_links({"S9": source})] == ["its title names another DOI than its link"]


def test_the_links_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["cards", "check", "--links"])
    lines = capsys.readouterr().out.splitlines()
    for name, source in knowledge().sources.items():
        line = next(one for one in lines if one.startswith(f"{name}: "))
        assert source.title in line
        assert f"read: {source.read}" in line
    assert any(line.startswith("ELFERT2016: PMID 27467714 | ") for line in lines)


# The shipped cards


def test_the_content_of_the_shipped_cards_has_no_problem() -> None:
    runs = case_runs()
    assert [str(problem) for problem in content_problems(cards_dir(), knowledge(), list(runs))] == []
