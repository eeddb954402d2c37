"""CodeSystem/$subsumes: how two codes lie to each other.

References
----------
* FHIR R4 CodeSystem, operation $subsumes; concept-subsumption-outcome
"""

from typing import Final

from fhir_server.rest.exchange import Answer, Request, Server
from fhir_server.rest.operations import parameters, shelves
from fhir_server.rest.operations.parameters import Given
from fhir_server.rest.operations.row import Result, Taken
from resources.errors import Invalid, NotFound
from resources.terminology.systems import CodeSystem

TAKES: Final = (
    Taken("codeA", "code"),
    Taken("codeB", "code"),
    Taken("system", "uri"),
    Taken("version", "string"),
    Taken("codingA", "Coding"),
    Taken("codingB", "Coding"),
)


async def answer(server: Server, request: Request, given: Given) -> Result:
    """Answer ``equivalent``, ``subsumes``, ``subsumed-by`` or ``not-subsumed``."""
    codings = [given.object("codingA"), given.object("codingB")]
    systems = {str(each["system"]) for each in codings if each.get("system")}
    url = given.text("system") or (systems.pop() if len(systems) == 1 else "")
    first, other = (
        str(coding.get("code") or given.text(name))
        for coding, name in zip(codings, ("codeA", "codeB"), strict=True)
    )
    if not url or not first or not other:
        raise Invalid("Name two codes of one system.", "system", "required")
    version = given.text("version")
    if version:
        url = f"{url}|{version}"
    system = (await shelves.library(server, request, [("CodeSystem", url)])).code_system(url)
    outcome = relation(system, first, other)
    return Result(Answer(200, parameters.written([("outcome", "Code", outcome)])))


def relation(system: CodeSystem, first: str, other: str) -> str:
    """Tell how the first code lies to the other.

    Raises
    ------
    NotFound
        One of them is not in the system.
    """
    one, two = system.find(first), system.find(other)
    if one is None or two is None:
        raise NotFound("A code is not in the code system.", code="not-found")
    if one.code == two.code:
        return "equivalent"
    if system.subsumes(one.code, two.code):
        return "subsumes"
    return "subsumed-by" if system.subsumes(two.code, one.code) else "not-subsumed"
