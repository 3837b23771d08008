"""List the kinds of criteria; a new kind is a file here and a name in this union."""

from __future__ import annotations

from typing import TypeAlias

from cds_service.criteria.age import AgeCriterion
from cds_service.criteria.allergy import AllergyCriterion
from cds_service.criteria.count import CountCriterion
from cds_service.criteria.dose import DoseCriterion
from cds_service.criteria.drug import DrugCriterion
from cds_service.criteria.group import AllCriterion, AnyCriterion
from cds_service.criteria.hook import HookCriterion
from cds_service.criteria.jurisdiction import JurisdictionCriterion
from cds_service.criteria.lab import LabCriterion
from cds_service.criteria.order import OrderCriterion
from cds_service.criteria.problem import ProblemCriterion
from cds_service.criteria.reason import ReasonCriterion

Criterion: TypeAlias = (
    LabCriterion
    | DrugCriterion
    | ProblemCriterion
    | CountCriterion
    | AllergyCriterion
    | AgeCriterion
    | OrderCriterion
    | DoseCriterion
    | ReasonCriterion
    | HookCriterion
    | JurisdictionCriterion
    | AnyCriterion
    | AllCriterion
)
