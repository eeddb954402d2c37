"""Manners: whether a request fits the presentation context that it came on.

pynetdicom lets the Affected SOP Class UID of a command choose the service, whatever was negotiated:
a C-STORE request that names the Verification SOP Class would be answered with success, and nothing
stored. Here a request is served only on a context of its own SOP class.

References
----------
* PS3.7 Section 9.1 (Affected SOP Class UID), Annex C.5.6 (No Such SOP Class), D.3.2
* PS3.4 Annexes A, B, C, F, J, K (which DIMSE services a service class has)
"""

from collections.abc import Mapping
from typing import Any, Final

from pynetdicom.dimse_primitives import (
    C_ECHO,
    C_FIND,
    C_GET,
    C_MOVE,
    C_STORE,
    N_ACTION,
    N_CREATE,
    N_GET,
    N_SET,
)
from pynetdicom.service_class import (
    BasicWorklistManagementServiceClass,
    QueryRetrieveServiceClass,
    StorageServiceClass,
    VerificationServiceClass,
)
from pynetdicom.service_class_n import (
    ProcedureStepServiceClass,
    StorageCommitmentServiceClass,
    UnifiedProcedureStepServiceClass,
)
from pynetdicom.sop_class import uid_to_service_class

from dicom_bridge.mapping import general_purpose

NO_SUCH_SOP_CLASS: Final = 0x0118
PUSH: Final = "1.2.840.10008.5.1.4.34.6.1"
"""What a UPS is an instance of, whichever SOP class is negotiated (PS3.4 Section CC.3.1)."""
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    general_purpose.META: (
        general_purpose.WORKLIST, general_purpose.SCHEDULED_STEP, general_purpose.PERFORMED_STEP
    ),
    general_purpose.WORKLIST: (general_purpose.WORKLIST,),
    general_purpose.SCHEDULED_STEP: (general_purpose.SCHEDULED_STEP,),
    general_purpose.PERFORMED_STEP: (general_purpose.PERFORMED_STEP,),
}  # fmt: skip
"""What is asked for on a context of the General Purpose Worklist (PS3.4-2009 Section F.12)."""

SERVICES: Final[dict[type[Any], tuple[type[Any], ...]]] = {
    C_ECHO: (VerificationServiceClass,),
    C_STORE: (StorageServiceClass,),
    C_FIND: (
        QueryRetrieveServiceClass,
        BasicWorklistManagementServiceClass,
        UnifiedProcedureStepServiceClass,
    ),
    C_GET: (QueryRetrieveServiceClass,),
    C_MOVE: (QueryRetrieveServiceClass,),
    N_ACTION: (StorageCommitmentServiceClass, UnifiedProcedureStepServiceClass),
    N_CREATE: (ProcedureStepServiceClass, UnifiedProcedureStepServiceClass),
    N_GET: (UnifiedProcedureStepServiceClass,),
    N_SET: (ProcedureStepServiceClass, UnifiedProcedureStepServiceClass),
}
"""DIMSE service -> the service classes that use it and that we offer."""


def fits(request: Any, context: Any) -> bool:
    """Whether a request is one of the service class of its presentation context.

    Parameters
    ----------
    context
        The accepted presentation context, None if there is none of that ID.
    """
    if context is None:
        return False
    of = "Requested" if isinstance(request, N_ACTION | N_GET | N_SET) else "Affected"
    named, negotiated = str(getattr(request, f"{of}SOPClassUID")), str(context.abstract_syntax)
    service = uid_to_service_class(negotiated)
    is_step = service is UnifiedProcedureStepServiceClass and negotiated not in PARTS
    agrees = named in PARTS.get(negotiated, (negotiated,)) or (is_step and named == PUSH)
    return agrees and service in SERVICES.get(type(request), ())


def refused(request: C_STORE) -> C_STORE:
    """The response to a C-STORE request that names another SOP class than its context."""
    response = C_STORE()
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.AffectedSOPClassUID
    response.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
    response.Status = NO_SUCH_SOP_CLASS
    return response
