"""Services: what a row of the table of services says, and how a request finds its row.

References
----------
* PS3.7 Annex D (association negotiation); PS3.4 (which DIMSE services a service class has)
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from pynetdicom import evt
from pynetdicom.presentation import build_context
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.service_class_n import UnifiedProcedureStepServiceClass
from pynetdicom.sop_class import register_uid, uid_to_service_class

from dicom_bridge.bridge import Bridge
from dicom_bridge.dimse import general_purpose, reactor
from dicom_bridge.dimse.portal import Portal

ANSWERED: Final = {evt.EVT_C_FIND: "C-FIND", evt.EVT_C_GET: "C-GET", evt.EVT_C_MOVE: "C-MOVE"}
"""Services that answer a request in many parts, and how they are counted."""


class Service(NamedTuple):
    """SOP classes served by one handler.

    Parameters
    ----------
    event
        pynetdicom's event.
    handler
        Called with the event, the bridge and the portal.
    both_roles
        The peer may take the SCP role of these classes, to receive what it gets (C-GET).
    """

    sop_classes: tuple[str, ...]
    transfer_syntaxes: tuple[str, ...]
    event: Any
    handler: Callable[..., Any]
    both_roles: bool = False


def by_event(services: Sequence[Service]) -> dict[Any, list[Service]]:
    """Give the services by the event that pynetdicom has for their requests."""
    found: dict[Any, list[Service]] = {}
    for service in services:
        found.setdefault(service.event, []).append(service)
    return found


def served(event: Any, services: Sequence[Service], bridge: Bridge, portal: Portal) -> Any:
    """Let the service answer whose SOP class the presentation context names, and count it.

    pynetdicom has one handler a DIMSE message, PS3.4 several services that use it.
    """
    sop_class = str(event.context.abstract_syntax)
    service = next(one for one in services if sop_class in one.sop_classes)
    answers = service.handler(event, bridge, portal)
    interaction = ANSWERED.get(service.event)
    return bridge.counting.answered(interaction, answers) if interaction else answers


def contexts_of(services: Sequence[Service]) -> reactor.SharedContexts:
    """Give the presentation contexts of all services."""
    contexts = reactor.SharedContexts()
    for service in services:
        for sop_class in service.sop_classes:
            context = build_context(sop_class, list(service.transfer_syntaxes))
            if service.both_roles:
                context.scu_role = context.scp_role = True
            if service.event is evt.EVT_C_STORE:
                _register(sop_class, StorageServiceClass)
            elif sop_class in general_purpose.EVERY:
                _register(sop_class, UnifiedProcedureStepServiceClass)
            contexts.append(context)
    return contexts


def _register(sop_class: str, service_class: type[ServiceClass]) -> None:
    """Let pynetdicom know of classes that it does not, retired ones mostly."""
    if uid_to_service_class(sop_class) is not service_class:
        register_uid(sop_class, f"Known_{sop_class.replace('.', '_')}", service_class)
