"""What went wrong, in words no protocol owns.

How a refusal sounds on the wire is a table at each rim: `fhir_server.rest.outcomes`,
`dicom_bridge.failures`, `dicom_bridge.dicomweb.problems`. Code in the middle never names a
status code.

::

    Refusal
    ├── Invalid            the request says something the standard does not allow
    │   ├── Unreadable     it is not even FHIR JSON: syntax, nesting, a type nobody knows
    │   ├── Unprocessable  well formed, but a rule of the house or a profile forbids it
    │   └── NotDicom       the bytes are not a DICOM instance
    ├── Unsupported        legal, but this server does not do it
    │   └── Immutable      a record of what was done: it is never changed
    ├── Unauthenticated    we do not know who is asking
    ├── Forbidden          we know, and the answer is no
    ├── NotFound
    │   └── Gone           it was here and was deleted
    ├── Conflict           the world does not fit the request
    │   ├── Stale          a newer version exists than the one named
    │   ├── Unconditional  a version must be named and was not
    │   └── Ambiguous      a condition meant for one resource matches several
    └── Exhausted          no room, or too much asked of us now
        ├── TooLarge       one request is larger than the limit
        └── Throttled      this asker has asked too much of late

Nothing about a patient goes into a reason: ids and UIDs, never names or values.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Issue(NamedTuple):
    """One thing wrong: an IssueType code, a sentence for a person, and where (a FHIRPath)."""

    code: str
    text: str
    at: str = ""


class Refusal(Exception):  # noqa: N818 - a refusal is not an error of ours
    """The request is refused, and the caller may know why.

    Parameters
    ----------
    reason
        One sentence for a person, without patient data.
    at
        The FHIRPath or DICOM keyword at fault, if one is.
    code
        An IssueType that says more than the rim's table would (FHIR issue-type).
    """

    def __init__(self, reason: str = "", at: str = "", code: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.at = at
        self.code = code

    @property
    def issues(self) -> Sequence[Issue]:
        """All that is wrong, at least one; an empty code means "what the rim's table says"."""
        return (Issue(self.code, self.reason, self.at),)

    def place_in(self, path: str) -> None:
        """Say where in a Bundle the thing refused stands; what says so already stays.

        Examples
        --------
        >>> refusal = NotFound("Nothing is there.", "ServiceRequest.subject")
        >>> refusal.place_in("Bundle.entry[3].resource")
        >>> refusal.at
        'Bundle.entry[3].resource.subject'
        """
        self.at = _placed(self.at, path)


def _placed(at: str, path: str) -> str:
    if at.startswith("Bundle."):
        return at
    root, _, rest = at.partition(".")
    below = rest if root[:1].isupper() else at
    return f"{path}.{below}" if below else path


class Invalid(Refusal):
    """The request says something the standard does not allow; it may carry several issues."""

    def __init__(
        self, reason: str = "", at: str = "", code: str = "", issues: Sequence[Issue] = ()
    ) -> None:
        super().__init__(reason or (issues[0].text if issues else ""), at, code)
        self._issues = tuple(issues)

    @property
    def issues(self) -> Sequence[Issue]:
        """The issues it was made with, or the one that its reason is."""
        return self._issues or super().issues

    def place_in(self, path: str) -> None:
        """Place every issue below `path`."""
        super().place_in(path)
        self._issues = tuple(issue._replace(at=_placed(issue.at, path)) for issue in self._issues)


class Unreadable(Invalid):
    """Not FHIR JSON at all: syntax, nesting, a resource type nobody knows."""


class Unprocessable(Invalid):
    """Well formed, but a rule forbids it: a dangling reference, a report without its study."""


class NotDicom(Invalid):
    """The bytes are not a DICOM instance."""


class Unsupported(Refusal):
    """Legal, but this server does not do it."""


class Immutable(Unsupported):
    """A record of what was done is neither changed nor deleted, by whomever."""


class Unauthenticated(Refusal):
    """We do not know who is asking."""


class Forbidden(Refusal):
    """We know who is asking, and the answer is no.

    `step` is the first step of the gate that said no: scope, patient, role, relationship.
    """

    def __init__(self, reason: str = "", at: str = "", step: str = "") -> None:
        super().__init__(reason, at)
        self.step = step


class NotFound(Refusal):
    """There is no such thing, or none that the asker may know of."""


class Gone(NotFound):
    """It was here and was deleted."""


class Conflict(Refusal):
    """The world does not fit the request."""


class Stale(Conflict):
    """A newer version exists than the one named."""


class Unconditional(Conflict):
    """A version must be named with If-Match, and was not."""


class Ambiguous(Conflict):
    """A condition meant for one resource matches several."""


class Exhausted(Refusal):
    """No room, or too much asked of us now."""


class TooLarge(Exhausted):
    """One request is larger than the limit."""


class Throttled(Exhausted):
    """Too much was asked of late by this asker, and not by others.

    Parameters
    ----------
    seconds
        After how long to ask again.
    begins
        Whether it is the first refusal for a while.
    """

    def __init__(self, reason: str = "", seconds: float = 1.0, *, begins: bool = True) -> None:
        super().__init__(reason)
        self.seconds = math.ceil(seconds)
        self.begins = begins
