"""Read criteria from `criteria.yaml` and from the files of cards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cds_service.criteria.kinds import Criterion
from cds_service.files.conversion_errors import Keys
from cds_service.files.yaml_file import KnowledgeError, Problem, YamlFile
from cds_service.knowledge import thresholds
from cds_service.knowledge.thresholds import Threshold

_SHARED = "cards/criteria.yaml"


class WrittenCriteria:
    """Collect criteria from files, with numbers in place of the thresholds that they name.

    Attributes:
        criteria: by name.
        where: by name, the file and the keys of the place.
        named: by criterion and field, the threshold that it names.
        failed: (file, name) of those that could not be read.
    """

    def __init__(self, known: Mapping[str, Threshold]) -> None:
        self.criteria: dict[str, Criterion] = {}
        self.where: dict[str, tuple[YamlFile, Keys]] = {}
        self.named: dict[str, dict[str, str]] = {}
        self.failed: set[tuple[str, str]] = set()
        self._thresholds = known
        self._names: dict[str, list[str]] = {_SHARED: []}  # by file

    def read(self, file: YamlFile, data: object, keys: Keys) -> Iterator[Problem]:
        """Read the criteria at `keys` of `file` and yield their errors."""
        if not isinstance(data, dict):
            yield file.problem(keys, "must be a mapping of names to criteria")
            return
        for name, body in data.items():
            wrong = self._read_one(file, name, body, (*keys, name))
            if wrong:
                self.failed.add((file.shown_as, name))
            yield from wrong

    def _read_one(self, file: YamlFile, name: str, body: object, at: Keys) -> list[Problem]:
        if name in self.criteria:
            other = self.where[name][0].shown_as
            return [file.problem(at, f"`{name}` is already defined in {other}; give it another name")]
        if isinstance(body, dict):
            if wrong := [file.problem((*at, *keys), error) for keys, error in thresholds.errors(body, self._thresholds)]:
                return wrong
            self.named[name] = {str(keys[0]): threshold for keys, threshold in thresholds.named_in(body)}
            body = thresholds.resolved(body, self._thresholds)
        try:
            self.criteria[name] = file.convert(Criterion, body, at)  # type: ignore[arg-type]
        except KnowledgeError as error:
            return list(error.problems)
        self.where[name] = (file, at)
        self._names.setdefault(file.shown_as, []).append(name)
        return []

    def known_in(self, file: YamlFile) -> list[str]:
        """Return the criteria that `file` can name: its own and the shared ones, because cards are independent.

        Those that could not be read are included: their own error is reported, not an unknown name.
        """
        files = dict.fromkeys((_SHARED, file.shown_as))
        known = [name for one in files for name in self._names.get(one, ())]
        return known + sorted(name for where, name in self.failed if where in files)
