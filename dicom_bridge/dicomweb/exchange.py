"""One DICOMweb request as the transactions see it."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from dicom_bridge import instance, retrieval
from dicom_bridge.bridge import Bridge
from dicom_bridge.dicomweb.accept import MediaRange, acceptable
from dicom_bridge.holdings import Held
from fhir_server.access.token import TokenChecker
from fhir_server.context import RequestContext


@dataclass(frozen=True, slots=True)
class Web:
    """What every transaction needs, wired once.

    Parameters
    ----------
    base_url
        The public address of the service, such as ``https://records.example/dicom-web``.
    body_limit
        Octets that one STOW-RS request may have.
    """

    bridge: Bridge
    checker: TokenChecker
    base_url: str
    body_limit: int


@dataclass(slots=True)
class Call:
    """A request whose sender is known.

    Parameters
    ----------
    handed_over
        True once the gate has been asked: from there on the store audits a refusal itself.
    """

    web: Web
    request: Request
    context: RequestContext
    handed_over: bool = False

    @property
    def uids(self) -> Mapping[str, str]:
        """The UIDs of the address by keyword, checked.

        Raises
        ------
        Invalid
            One is no UID.
        """
        return {
            keyword: instance.require_uid(self.request.path_params[name], keyword)
            for name, keyword in _PLACES
            if name in self.request.path_params
        }

    async def retrieved(self) -> retrieval.Retrieved:
        """Find the instances that the address names, as far as the asker may have them.

        Raises
        ------
        NotFound
            Nothing, or nothing the asker may know of.
        """
        uids = self.uids
        self.handed_over = True
        return await retrieval.instances(
            self.web.bridge,
            self.context,
            uids["StudyInstanceUID"],
            uids.get("SeriesInstanceUID"),
            uids.get("SOPInstanceUID"),
        )

    def location(self, held: Held) -> str:
        """Say where an instance is retrieved."""
        return (
            f"{self.web.base_url}/studies/{held.study_uid}/series/{held.series_uid}"
            f"/instances/{held.sop_uid}"
        )

    def acceptable(self) -> list[MediaRange]:
        """What the user agent takes: the query parameter ``accept``, else the header.

        PS3.18 Section 8.3.3.1 gives the query parameter precedence.
        """
        fields = self.request.query_params.getlist("accept")
        fields = fields or self.request.headers.getlist("accept")
        return acceptable(", ".join(fields))


_PLACES = (
    ("study", "StudyInstanceUID"),
    ("series", "SeriesInstanceUID"),
    ("instance", "SOPInstanceUID"),
)
