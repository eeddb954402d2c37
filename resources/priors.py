"""Priors: which older studies matter to what is scheduled.

A rule table says it; a site may put its own in the place of ours (`priors.README.md`). Each row
takes studies that it is about, the newest first, up to its number; a study that an earlier row took
is not taken again. What belongs to the request itself is no prior.

Region and modality of a study are those of its series, and of a request its body site, its code
and the words of both. No hierarchy of SNOMED CT is held here, so a region lists its codes.

References
----------
* R003.2 of the requirements; docs/representation.md, "Prefetch"
* PS3.16 CID 4031 (common anatomic regions); FHIR R4 ImagingStudy.series.bodySite, modality
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from resources import codes, elements
from resources.errors import Invalid

Json = Mapping[str, Any]

CRITERIA: Final = frozenset({"cited", "region", "modality", "unknown"})
"""`unknown`: of what is scheduled neither region nor modality is known, as for a clinic."""
ABSENT: Final = frozenset({"registered", "cancelled", "entered-in-error", "unknown"})
"""ImagingStudy.status: of what is not there to be looked at."""

CITING: Final = ("supportingInfo", "supportingInformation", "reasonReference", "input")
ABOUT: Final = ("basedOn", "focus")
"""Members by which a step, a study or an onward request names what it belongs to."""


class Rule(NamedTuple):
    """A row: which studies it is about, and how many it takes.

    Parameters
    ----------
    any, all
        Criteria of which one, or each, must hold; one of both is empty.
    most
        None: as many as there are.
    """

    name: str
    any: frozenset[str]
    all: frozenset[str]
    most: int | None


class Rules(NamedTuple):
    """The rows in order, and by what regions and modalities are known.

    Parameters
    ----------
    regions
        Region -> SNOMED CT codes, and words.
    modalities
        Modality (DICOM CID 29) -> words of a procedure that is made with it.
    """

    rows: tuple[Rule, ...]
    regions: Mapping[str, tuple[frozenset[str], frozenset[str]]]
    modalities: Mapping[str, frozenset[str]]


class Looks(NamedTuple):
    """What is compared of a study or a request."""

    regions: frozenset[str]
    modalities: frozenset[str]


def read(path: Path) -> Rules:
    """Read a rule table.

    Raises
    ------
    Invalid
        It cannot be read, or a row is about something that there is not.
    """
    try:
        said = json.loads(path.read_text("utf-8"))
        rules = Rules(
            tuple(
                Rule(
                    str(row["name"]),
                    frozenset(row.get("any", ())),
                    frozenset(row.get("all", ())),
                    row.get("most"),
                )
                for row in said["rules"]
            ),
            {
                name: (frozenset(row["snomed"]), frozenset(map(str.lower, row["words"])))
                for name, row in said["regions"].items()
            },
            {name: frozenset(map(str.lower, row)) for name, row in said["modalities"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(f"The rules of priors cannot be read: {type(error).__name__}.") from error
    for row in rules.rows:
        if not (row.any or row.all) or not (row.any | row.all) <= CRITERIA:
            raise Invalid(f"The rule {row.name} has no criterion, or one that there is not.")
        if row.most is not None and (not isinstance(row.most, int) or row.most < 1):
            raise Invalid(f"The rule {row.name} takes at least one study, or has no limit.")
    return rules


DEFAULT: Final = read(Path(__file__).with_suffix(".json"))
"""Where the operator says nothing else."""


def relevant(subject: Json, record: Iterable[Json], rules: Rules = DEFAULT) -> list[Json]:
    """The priors of a study, a request or a step, in the order in which they matter.

    Parameters
    ----------
    subject
        ImagingStudy, ServiceRequest or Task; short references.
    record
        What is known of the patient: ImagingStudies to choose from; what else is there counts as
        far as the subject cites it: the DiagnosticReport of a study, the request of another.
    """
    known = list(record)
    own = _own(subject, known)
    subjects = [subject, *(one for one in known if _name(one) in own)]
    cited = {name for one in subjects for name in _cited(one, known)}
    wanted = _joined([looks(one, rules) for one in subjects])
    studies = [
        one
        for one in known
        if one.get("resourceType") == "ImagingStudy"
        and one.get("status") not in ABSENT
        and _name(one) not in own
    ]
    studies.sort(key=lambda one: (str(one.get("started", "")), str(one.get("id", ""))))
    studies.reverse()
    taken: dict[str, Json] = {}
    for row in rules.rows:
        left = row.most
        for study in studies:
            name = _name(study)
            if left == 0:
                break
            if name not in taken and _holds(row, study, name in cited, wanted, rules):
                taken[name] = study
                left = None if left is None else left - 1
    return list(taken.values())


def regions(resource: Json, rules: Rules = DEFAULT) -> frozenset[str]:
    """The body regions of a study or a request.

    Examples
    --------
    >>> sorted(regions({"code": {"text": "CT chest and abdomen"}}))
    ['abdomen', 'chest']
    """
    return looks(resource, rules).regions


def _holds(row: Rule, study: Json, is_cited: bool, wanted: Looks, rules: Rules) -> bool:
    own = looks(study, rules)
    true = {
        name
        for name, is_true in (
            ("cited", is_cited),
            ("region", own.regions & wanted.regions),
            ("modality", own.modalities & wanted.modalities),
            ("unknown", not (wanted.regions or wanted.modalities)),
        )
        if is_true
    }
    return bool(row.any & true) if row.any else row.all <= true


def looks(resource: Json, rules: Rules = DEFAULT) -> Looks:
    """What is compared of a study or a request: its body regions and its modalities."""
    concepts: list[Any] = [resource.get("code"), *_listed(resource.get("bodySite"))]
    concepts += _listed(resource.get("procedureCode")) + _listed(resource.get("orderDetail"))
    codings = [coding for one in concepts for coding in (one or {}).get("coding", ())]
    modalities = {str(one.get("code")) for one in _listed(resource.get("modality"))}
    for series in resource.get("series", ()):
        codings += [series[name] for name in ("bodySite",) if name in series]
        modalities |= {str(series.get("modality", {}).get("code"))}
    texts = [str(one.get("text", "")) for one in concepts if one]
    found = {
        name
        for name, (snomed, words) in rules.regions.items()
        if any(_is_of(coding, snomed, words, rules) for coding in codings)
        or any(_says(text, words) for text in texts)
    }
    said = [*texts, *(str(coding.get("display", "")) for coding in codings)]
    for name, words in rules.modalities.items():
        if any(_says(text, words) for text in said):
            modalities.add(name)
    return Looks(frozenset(found), frozenset(modalities))


def _is_of(coding: Json, snomed: frozenset[str], words: frozenset[str], rules: Rules) -> bool:
    """Whether a coding is of a region: by its code, or by its words where no region lists that."""
    code = coding.get("code") if coding.get("system") == codes.SNOMED else None
    if any(code in listed for listed, _ in rules.regions.values()):
        return code in snomed
    return _says(str(coding.get("display", "")), words)


def _says(text: str, words: frozenset[str]) -> bool:
    """Whether one of the words, or runs of words, is in a text.

    Examples
    --------
    >>> _says("CT of the Neck", frozenset({"neck"})), _says("CTA", frozenset({"ct"}))
    (True, False)
    """
    plain = f" {' '.join(re.findall(r'[a-z0-9-]+', text.lower()))} "
    return any(f" {word} " in plain for word in words)


def _cited(subject: Json, record: Sequence[Json]) -> set[str]:
    """The studies that a subject names, and those of the reports and requests that it names."""
    named = _named(subject, CITING)
    found = {one for one in named if one.startswith("ImagingStudy/")}
    for one in record:
        if one.get("resourceType") == "DiagnosticReport" and _name(one) in named:
            found |= _named(one, ("imagingStudy",))
        if one.get("resourceType") == "ImagingStudy" and _named(one, ("basedOn",)) & named:
            found.add(_name(one))
    return found


def _named(resource: Json, members: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for member in members:
        for value in _listed(resource.get(member)):
            inner = value.get("valueReference", value) if isinstance(value, Mapping) else value
            found |= {elements.unversioned(one) for one in elements.references(inner)}
    return found


def _own(subject: Json, record: Sequence[Json]) -> set[str]:
    """What the subject is, the requests that it belongs to, and the studies of those."""
    own = {_name(subject), *_named(subject, ABOUT)}
    for _ in range(2):  # an onward request is based on the lead's
        own |= {
            each
            for one in record
            if _name(one) in own
            for each in _named(one, ("basedOn",))
            if each.startswith("ServiceRequest/")
        }
    requests = {one for one in own if one.startswith("ServiceRequest/")}
    studies = (one for one in record if one.get("resourceType") == "ImagingStudy")
    return own | {_name(one) for one in studies if _named(one, ("basedOn",)) & requests}


def _name(resource: Json) -> str:
    return f"{resource.get('resourceType')}/{resource.get('id')}"


def _joined(several: Sequence[Looks]) -> Looks:
    return Looks(
        frozenset(each for one in several for each in one.regions),
        frozenset(each for one in several for each in one.modalities),
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
