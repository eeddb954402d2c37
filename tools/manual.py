"""Write the pages of ``docs/`` that are tables, and the OpenAPI documents, from the code.

Usage: ``python tools/manual.py``. `tests/house` compares what is committed with what this writes.
"""

from pathlib import Path

from fhir_server import settings
from fhir_server.rest.operations.table import OPERATIONS
from fhir_server.rest.router import INTERACTIONS
from fhir_server.search import modifiers
from openapi import __main__ as openapi
from openapi.fhir import TITLES
from resources import codes, search_parameters, topics
from resources.models import TYPES
from tools import conformance, workflows

DOCS = Path(__file__).parents[1] / "docs"

FHIR = """# FHIR: what there is

Written by `make docs` from the tables that the server obeys; `GET /fhir/metadata` says the same
for each type. How to use it is in [for the EPR vendor](epr-vendor.md).

{types} resource types are stored, each with every interaction and every parameter of FHIR R4.
AuditEvent and Provenance are never changed.

## Interactions

| method | address | interaction | |
|---|---|---|---|
{interactions}

## Search parameters

| kind | parameters | modifiers |
|---|---|---|
{kinds}

Every parameter takes `:missing`; a reference also takes a resource type as its modifier. Chains
and `_has` may be nested.

## Operations

| operation | at | of | what it does |
|---|---|---|---|
{operations}

## Topics of subscriptions

A subscription names a topic by its URL, `{topics_at}/` and its name,
and is filtered by any of the parameters, each with the modifiers and chains of a search.
`GET /fhir/Subscription/$topics` gives all that a topic says.

| topic | when it fires | filtered by |
|---|---|---|
{topics}
"""


def fhir() -> str:
    """Give the text of ``docs/fhir.md``."""
    interactions = "\n".join(
        f"| {row.method} | `/fhir/{row.address}` | {row.name} | {TITLES[row.name]} |"
        for row in INTERACTIONS
    )
    rows = [row for type in sorted(TYPES) for row in search_parameters.parameters(type).values()]
    kinds = "\n".join(
        f"| {kind} | {sum(row.kind == kind for row in rows)} | {_modifiers(kind)} |"
        for kind in search_parameters.KINDS
    )
    operations = "\n".join(
        f"| `${row.name}` | {', '.join(row.levels)} |"
        f" {', '.join(sorted(row.types)) if row.types else 'all'} | {row.title} |"
        for row in OPERATIONS
    )
    return FHIR.format(
        types=len(TYPES),
        interactions=interactions,
        kinds=kinds,
        operations=operations,
        topics_at=f"{codes.BASE}/SubscriptionTopic",
        topics="\n".join(_topic(each) for each in topics.topics().values()),
    )


def _topic(topic: topics.Topic) -> str:
    filters = ", ".join(
        f"`{type}?{code}`" for type, listed in topic.filters.items() for code in sorted(listed)
    )
    return f"| `{topic.url.rpartition('/')[2]}` | {topic.description} | {filters} |"


def _modifiers(kind: str) -> str:
    return " ".join(f"`:{name}`" for name in sorted(modifiers.BY_KIND[kind]))


PAGES = {
    "settings.md": settings.manual,
    "fhir.md": fhir,
    "dicom-conformance.md": conformance.statement,
    "workflows.md": workflows.page,
}


def main() -> None:
    """Write them all."""
    for name, text in PAGES.items():
        (DOCS / name).write_text(text())
    openapi.main()


if __name__ == "__main__":
    main()
