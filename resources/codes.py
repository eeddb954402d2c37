"""Every code system URL and Coding the project writes, once.

`BASE` is the canonical base of what is ours; it names, it need not resolve. What belongs to others
keeps their URL: HL7 terminology (v2, v3), DICOM PS3.16, SNOMED CT, LOINC, NHS and UK Core, IHE.
"""

from typing import Any, Final, NamedTuple

BASE: Final = "https://isocentre.example/fhir"


class Coding(NamedTuple):
    """One code of a system, and how it is shown.

    Examples
    --------
    >>> ACCESSION_NUMBER_TYPE.token
    'http://terminology.hl7.org/CodeSystem/v2-0203|ACSN'
    >>> Coding("urn:x", "a").json
    {'system': 'urn:x', 'code': 'a'}
    """

    system: str
    code: str
    display: str = ""

    @property
    def json(self) -> dict[str, Any]:
        """As a FHIR Coding."""
        shown = {"display": self.display} if self.display else {}
        return {"system": self.system, "code": self.code, **shown}

    @property
    def concept(self) -> dict[str, Any]:
        """As a FHIR CodeableConcept."""
        return {"coding": [self.json]}

    @property
    def token(self) -> str:
        """As the value of a token search parameter."""
        return f"{self.system}|{self.code}"


def concept(*codings: Coding, text: str = "") -> dict[str, Any]:
    """Say one thing in several systems: a CodeableConcept."""
    said = {"text": text} if text else {}
    return {"coding": [coding.json for coding in codings], **said}


def has(concepts: Any, coding: Coding) -> bool:
    """Tell whether a CodeableConcept, or one of a list of them, carries this code.

    Examples
    --------
    >>> has([JUSTIFY.concept], JUSTIFY), has(None, JUSTIFY), has(ACQUIRE.concept, JUSTIFY)
    (True, False, False)
    """
    listed = concepts if isinstance(concepts, list) else [concepts or {}]
    return any(
        each.get("system") == coding.system and each.get("code") == coding.code
        for one in listed
        for each in one.get("coding", ())
    )


# --- systems of others -------------------------------------------------------------------------

DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"  # PS3.16 Annex D
LOINC: Final = "http://loinc.org"
SNOMED: Final = "http://snomed.info/sct"
UCUM: Final = "http://unitsofmeasure.org"
URI: Final = "urn:ietf:rfc:3986"

V2_0074: Final = "http://terminology.hl7.org/CodeSystem/v2-0074"  # diagnostic service section
V2_0203: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"  # identifier type

V3_ACT_CODE: Final = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
V3_ACT_REASON: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
V3_CONFIDENTIALITY: Final = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
V3_DATA_OPERATION: Final = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
V3_DOCUMENT_COMPLETION: Final = "http://terminology.hl7.org/CodeSystem/v3-DocumentCompletion"
V3_PARTICIPATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
V3_ROLE_CLASS: Final = "http://terminology.hl7.org/CodeSystem/v3-RoleClass"

AUDIT_ENTITY_TYPE: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
AUDIT_EVENT_TYPE: Final = "http://terminology.hl7.org/CodeSystem/audit-event-type"
BALP_ENTITY_TYPE: Final = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType"
CONSENT_SCOPE: Final = "http://terminology.hl7.org/CodeSystem/consentscope"
OBJECT_ROLE: Final = "http://terminology.hl7.org/CodeSystem/object-role"
PROVENANCE_AGENT_TYPE: Final = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
RESTFUL_INTERACTION: Final = "http://hl7.org/fhir/restful-interaction"
SECURITY_SOURCE_TYPE: Final = "http://terminology.hl7.org/CodeSystem/security-source-type"

# --- our own code systems ----------------------------------------------------------------------

CORRECTION_KIND: Final = f"{BASE}/CodeSystem/correction-kind"
EMERGENCY_REASON: Final = f"{BASE}/CodeSystem/emergency-reason"
EVIDENCE_ROLE: Final = f"{BASE}/CodeSystem/evidence-role"
ROLE: Final = f"{BASE}/CodeSystem/role"
GOVERNANCE_TASK: Final = f"{BASE}/CodeSystem/governance-task"
IMAGING_STEP: Final = f"{BASE}/CodeSystem/imaging-step"
ACKNOWLEDGEMENT_COUNT: Final = f"{BASE}/CodeSystem/acknowledgement-count"
ACKNOWLEDGEMENT_NOTE: Final = f"{BASE}/CodeSystem/acknowledgement-note"
TEAM_PART: Final = f"{BASE}/CodeSystem/team-part"
COMMUNICATION_CATEGORY: Final = "http://terminology.hl7.org/CodeSystem/communication-category"
LIST_KIND: Final = f"{BASE}/CodeSystem/list-kind"
NICIP: Final = f"{BASE}/CodeSystem/nicip"  # no FHIR URI is published for NICIP short codes
ORIGIN: Final = f"{BASE}/CodeSystem/origin"
RELEASE: Final = f"{BASE}/CodeSystem/release"
REPORTING_STATUS: Final = f"{BASE}/CodeSystem/reporting-status"
REPORT_URGENCY: Final = f"{BASE}/CodeSystem/report-urgency"
REQUEST_CHECK: Final = f"{BASE}/CodeSystem/request-check"
REQUEST_KIND: Final = f"{BASE}/CodeSystem/request-kind"
REQUEST_OVERRIDE: Final = f"{BASE}/CodeSystem/request-override"
STEP_BUSINESS_STATUS: Final = f"{BASE}/CodeSystem/step-business-status"
STEP_IO: Final = f"{BASE}/CodeSystem/step-io"

# --- governance --------------------------------------------------------------------------------

EMERGENCY_TREATMENT: Final = Coding(V3_ACT_REASON, "ETREAT", "Emergency Treatment")
BREAK_THE_GLASS: Final = Coding(V3_ACT_REASON, "BTG", "break the glass")
LIFE_IN_DANGER: Final = Coding(EMERGENCY_REASON, "life", "Life or limb is in danger")
CANNOT_ASK: Final = Coding(EMERGENCY_REASON, "cannot-ask", "The patient cannot be asked")
EMERGENCY_TRANSFER: Final = Coding(
    EMERGENCY_REASON, "transfer", "Came as an emergency, without a referral"
)
SAFEGUARDING: Final = Coding(
    EMERGENCY_REASON, "safeguarding", "Safeguarding of a child or adult at risk"
)
REVIEW_EMERGENCY_ACCESS: Final = Coding(
    GOVERNANCE_TASK, "review-emergency-access", "Look at an emergency access"
)
SUBSCRIPTION_FAILED: Final = Coding(
    GOVERNANCE_TASK, "subscription-failed", "See why a subscription is sent nothing more"
)
INSTANCE_DAMAGED: Final = Coding(
    GOVERNANCE_TASK, "instance-damaged", "Send instances again whose bytes have changed"
)

# --- identifier systems ------------------------------------------------------------------------

DICOM_UID: Final = "urn:dicom:uid"
NHS_NUMBER: Final = "https://fhir.nhs.uk/Id/nhs-number"
ODS_ORGANIZATION: Final = "https://fhir.nhs.uk/Id/ods-organization-code"
ODS_ORGANISATION_AS_ALSO_SPELT: Final = "https://fhir.nhs.uk/Id/ods-organisation-code"  # input only
ODS_SITE: Final = "https://fhir.nhs.uk/Id/ods-site-code"
GMC_NUMBER: Final = "https://fhir.hl7.org.uk/Id/gmc-number"
HCPC_NUMBER: Final = "https://fhir.hl7.org.uk/Id/hcpc-number"
SDS_USER: Final = "https://fhir.nhs.uk/Id/sds-user-id"
SDS_ROLE_PROFILE: Final = "https://fhir.nhs.uk/Id/sds-role-profile-id"

ACCESSION: Final = f"{BASE}/Id/accession"  # /{ODS of the issuer}
AE_TITLE: Final = f"{BASE}/Id/ae-title"
CLIENT: Final = f"{BASE}/Id/client"
ISR: Final = f"{BASE}/Id/isr"  # the imaging service request: ServiceRequest.requisition
MRN: Final = f"{BASE}/Id/mrn"  # /{ODS of the issuer}
REQUESTED_PROCEDURE: Final = f"{BASE}/Id/requested-procedure"  # /{ODS of the issuer}

NHS_NUMBER_OID: Final = "2.16.840.1.113883.2.1.4.1"

# --- extensions --------------------------------------------------------------------------------

HL7: Final = "http://hl7.org/fhir/StructureDefinition"
ADDENDUM_OF: Final = f"{HL7}/diagnosticReport-addendumOf"
REPLACES_REPORT: Final = f"{HL7}/diagnosticReport-replaces"
REPORT_SUPPORTING_INFO: Final = f"{HL7}/workflow-supportingInfo"
EVENT_STATUS_REASON: Final = f"{HL7}/event-statusReason"
REQUEST_STATUS_REASON: Final = f"{HL7}/request-statusReason"
TASK_CANDIDATE_LIST: Final = f"{HL7}/task-candidateList"
TASK_REPLACES: Final = f"{HL7}/task-replaces"
FLAG_DETAIL: Final = f"{HL7}/flag-detail"

NHS_NUMBER_VERIFICATION_STATUS: Final = (
    "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSNumberVerificationStatus"
)

OURS: Final = f"{BASE}/StructureDefinition"
CANCEL_REQUEST: Final = f"{OURS}/cancel-request"
COPY_TO: Final = f"{OURS}/copy-to"
DRILL_DOWN: Final = f"{OURS}/drill-down"
ESCALATES: Final = f"{OURS}/escalates"
EVIDENCE_ROLE_EXTENSION: Final = f"{OURS}/evidence-role"
INPUT_READINESS: Final = f"{OURS}/input-readiness"
INSTANCE_MANIFEST: Final = f"{OURS}/instance-manifest"
NUMBER_OF_FRAMES: Final = f"{OURS}/number-of-frames"
NUMBER_OF_IMAGES: Final = f"{OURS}/number-of-images"
REJECTION: Final = f"{OURS}/rejection"
REPORTING_STATUS_EXTENSION: Final = f"{OURS}/reporting-status"
OVERRIDE_REASON: Final = f"{OURS}/override-reason"
REPORT_URGENCY_EXTENSION: Final = f"{OURS}/report-urgency"
SOURCE_BASIS: Final = f"{OURS}/source-basis"
SOURCE_INSTANT: Final = f"{OURS}/source-instant"
SOURCE_ORGANIZATION: Final = f"{OURS}/source-organization"
STEP_PROGRESS: Final = f"{OURS}/step-progress"

# --- imaging-step: what a Task is about --------------------------------------------------------

JUSTIFY: Final = Coding(IMAGING_STEP, "justify", "Justify the request")
ACQUIRE: Final = Coding(IMAGING_STEP, "acquire", "Acquire images")
POST_PROCESS: Final = Coding(IMAGING_STEP, "post-process", "Post-process images")
REPORT: Final = Coding(IMAGING_STEP, "report", "Report images")
REVIEW_FORMAL: Final = Coding(IMAGING_STEP, "review-formal", "Formal review")
REVIEW_INFORMAL: Final = Coding(IMAGING_STEP, "review-informal", "Informal review")
ADDENDUM: Final = Coding(IMAGING_STEP, "addendum", "Add an addendum")
ACKNOWLEDGE: Final = Coding(IMAGING_STEP, "acknowledge", "Acknowledge the report")
MDT_PREPARE: Final = Coding(IMAGING_STEP, "mdt-prepare", "Prepare the MDT meeting")
MDT_REVIEW: Final = Coding(IMAGING_STEP, "mdt-review", "Review at the MDT meeting")
IMPORT: Final = Coding(IMAGING_STEP, "import", "Import outside studies")
PREFETCH: Final = Coding(IMAGING_STEP, "prefetch", "Prefetch priors")
SHARE: Final = Coding(IMAGING_STEP, "share", "Share a study")
ASSESS_CORRECTION: Final = Coding(IMAGING_STEP, "assess-correction", "Assess a correction")
APPLY_CORRECTION: Final = Coding(IMAGING_STEP, "apply-correction", "Apply a correction")
RECONCILE: Final = Coding(IMAGING_STEP, "reconcile", "Reconcile identities")
MONITOR: Final = Coding(IMAGING_STEP, "monitor", "See to what another organisation does")

STEPS: Final = {
    step.code: step
    for step in (
        JUSTIFY, ACQUIRE, POST_PROCESS, REPORT, REVIEW_FORMAL, REVIEW_INFORMAL, ADDENDUM,
        ACKNOWLEDGE, MDT_PREPARE, MDT_REVIEW, IMPORT, PREFETCH, SHARE, ASSESS_CORRECTION,
        APPLY_CORRECTION, RECONCILE, MONITOR,
    )
}  # fmt: skip

# PS3.16 CID 9231 General Purpose Workitem Definition; 128001 since Supplement 155.
WORKITEMS: Final = {
    "post-process": Coding(DCM, "110001", "Image Processing"),
    "import": Coding(DCM, "110013", "Media Import"),
    "report": Coding(DCM, "110005", "Interpretation"),
    "addendum": Coding(DCM, "128001", "Add Addendum to Report"),
}

# --- step-business-status: how far a step is, in its own words ---------------------------------

AUTHORISED: Final = Coding(STEP_BUSINESS_STATUS, "authorised", "Authorised")
REJECTED: Final = Coding(STEP_BUSINESS_STATUS, "rejected", "Rejected")
MORE_INFO: Final = Coding(STEP_BUSINESS_STATUS, "more-info", "More information wanted")
SCHEDULED: Final = Coding(STEP_BUSINESS_STATUS, "scheduled", "Scheduled")
IMAGES_AVAILABLE: Final = Coding(STEP_BUSINESS_STATUS, "images-available", "Images available")
UNREAD: Final = Coding(STEP_BUSINESS_STATUS, "unread", "Not yet read")
VIEWED: Final = Coding(STEP_BUSINESS_STATUS, "viewed", "Viewed")
ACKNOWLEDGED: Final = Coding(STEP_BUSINESS_STATUS, "acknowledged", "Acknowledged")
ESCALATED: Final = Coding(STEP_BUSINESS_STATUS, "escalated", "Escalated")
SUPERSEDED: Final = Coding(STEP_BUSINESS_STATUS, "superseded", "Superseded")
OUTSOURCED: Final = Coding(STEP_BUSINESS_STATUS, "outsourced", "Done by another organisation")
ACCEPTED: Final = Coding(STEP_BUSINESS_STATUS, "accepted", "Accepted")
RETURNED: Final = Coding(STEP_BUSINESS_STATUS, "returned", "Sent back")
DECLINED: Final = Coding(STEP_BUSINESS_STATUS, "declined", "Declined")
CONVERTED: Final = Coding(STEP_BUSINESS_STATUS, "converted", "Became a formal review")
EXPIRED: Final = Coding(STEP_BUSINESS_STATUS, "expired", "Not begun in time")

# --- step-io: what goes into a Task and comes out of it ----------------------------------------

IO_CLINICAL_INFO: Final = Coding(STEP_IO, "clinical-info", "Clinical information")
IO_COMPOSITION: Final = Coding(STEP_IO, "composition", "Composition")
IO_DECISION: Final = Coding(STEP_IO, "decision", "Decision")
IO_DIAGNOSTIC_REPORT: Final = Coding(STEP_IO, "diagnostic-report", "Diagnostic report")
IO_DOSE_SR: Final = Coding(STEP_IO, "dose-sr", "Radiation dose report")
IO_IMAGING_STUDY: Final = Coding(STEP_IO, "imaging-study", "Imaging study")
IO_KEY_OBJECT: Final = Coding(STEP_IO, "key-object", "Key object")
IO_KOS: Final = Coding(STEP_IO, "kos", "Key object selection document")
IO_LETTER: Final = Coding(STEP_IO, "letter", "Letter")
IO_PRESENTATION_STATE: Final = Coding(STEP_IO, "presentation-state", "Presentation state")
IO_PRIOR: Final = Coding(STEP_IO, "prior", "Prior study")
IO_MANIFEST: Final = Coding(STEP_IO, "manifest", "What was delivered of a study")
IO_QUESTION: Final = Coding(STEP_IO, "question", "Question")
IO_REPORT_VERSION: Final = Coding(STEP_IO, "report-version", "Version of a report")
IO_DELIVERED: Final = Coding(STEP_IO, "delivered", "When it reached the recipient")
IO_REMIND: Final = Coding(STEP_IO, "remind", "When it was asked for again")
IO_ESCALATE_TEAM: Final = Coding(STEP_IO, "escalate-team", "When the team was asked")
IO_ESCALATE_FAIL_SAFE: Final = Coding(
    STEP_IO, "escalate-fail-safe", "When the fail-safe officer was asked"
)

# --- request-check: what a request would do again -----------------------------------------------

DUPLICATE_THERAPY: Final = Coding(V3_ACT_CODE, "DUPTHPY", "Duplicate Therapy Alert")
SAME_PROCEDURE: Final = Coding(REQUEST_CHECK, "same-procedure", "The same procedure was done")
SIMILAR_PROCEDURE: Final = Coding(REQUEST_CHECK, "similar-procedure", "A similar one was done")
OPEN_REQUEST: Final = Coding(REQUEST_CHECK, "open-request", "It has been asked for already")

# --- acknowledgement-count: what a status report of acknowledgement says; team-part ------------

COUNTED: Final = Coding(ACKNOWLEDGEMENT_COUNT, "counts", "How many there are")
COUNT_ISSUED: Final = Coding(ACKNOWLEDGEMENT_COUNT, "issued", "Issued")
COUNT_OPEN: Final = Coding(ACKNOWLEDGEMENT_COUNT, "open", "Not yet acknowledged")
COUNT_OVERDUE: Final = Coding(ACKNOWLEDGEMENT_COUNT, "overdue", "Overdue")
COUNT_ACKNOWLEDGED: Final = Coding(ACKNOWLEDGEMENT_COUNT, "acknowledged", "Acknowledged")
COUNT_SUPERSEDED: Final = Coding(
    ACKNOWLEDGEMENT_COUNT, "superseded", "Superseded by a newer version, or given up"
)
TIME_MEDIAN: Final = Coding(ACKNOWLEDGEMENT_COUNT, "median", "Median time to acknowledgement")
TIME_P95: Final = Coding(
    ACKNOWLEDGEMENT_COUNT, "p95", "95th percentile of the time to acknowledgement"
)
BY_ISSUER: Final = Coding(ACKNOWLEDGEMENT_COUNT, "issuer", "Organisation that reported")
BY_ORGANIZATION: Final = Coding(
    ACKNOWLEDGEMENT_COUNT, "organization", "Organisation of the recipient"
)
BY_REFERRER: Final = Coding(ACKNOWLEDGEMENT_COUNT, "referrer", "Recipient")
BY_CATEGORY: Final = Coding(ACKNOWLEDGEMENT_COUNT, "category", "Category of the report")

COVERED: Final = Coding(TEAM_PART, "covered", "The others of the team stand in for them")

# --- acknowledgement-note: why somebody is told about one, and what was done about it -----------

ALERT: Final = Coding(COMMUNICATION_CATEGORY, "alert", "Alert")
NOTE_ALERT: Final = Coding(ACKNOWLEDGEMENT_NOTE, "alert", "An urgent report was issued")
NOTE_REMIND: Final = Coding(ACKNOWLEDGEMENT_NOTE, "remind", "A report waits to be acknowledged")
NOTE_TEAM: Final = Coding(
    ACKNOWLEDGEMENT_NOTE, "escalate-team", "A report is overdue: the team is asked"
)
NOTE_FAIL_SAFE: Final = Coding(
    ACKNOWLEDGEMENT_NOTE,
    "escalate-fail-safe",
    "A report is overdue: the fail-safe officer is asked",
)
NOTE_DELIVERED: Final = Coding(ACKNOWLEDGEMENT_NOTE, "delivered", "A report reached its recipient")
NOTE_OPENED: Final = Coding(ACKNOWLEDGEMENT_NOTE, "opened", "A report was opened by its recipient")
NOTE_HAND_OVER: Final = Coding(
    ACKNOWLEDGEMENT_NOTE, "hand-over", "Somebody else is asked to acknowledge"
)
ACKNOWLEDGEMENT_NOTES: Final = {
    note.code: note
    for note in (
        NOTE_ALERT, NOTE_REMIND, NOTE_TEAM, NOTE_FAIL_SAFE, NOTE_DELIVERED, NOTE_OPENED,
        NOTE_HAND_OVER,
    )
}  # fmt: skip

# --- request-kind, list-kind, report-urgency, reporting-status, correction, evidence, origin ---

KIND_PRIMARY: Final = Coding(REQUEST_KIND, "primary", "Primary imaging request")
KIND_REVIEW_FORMAL: Final = Coding(REQUEST_KIND, "review-formal", "Formal review")
KIND_MDT_REVIEW: Final = Coding(REQUEST_KIND, "mdt-review", "Review at an MDT meeting")
KIND_OUTSOURCED_ACQUISITION: Final = Coding(
    REQUEST_KIND, "outsourced-acquisition", "Outsourced acquisition"
)
KIND_OUTSOURCED_REPORTING: Final = Coding(
    REQUEST_KIND, "outsourced-reporting", "Outsourced reporting"
)
KIND_OUTSOURCED_BOTH: Final = Coding(
    REQUEST_KIND, "outsourced-acquisition-and-reporting", "Outsourced acquisition and reporting"
)
KIND_ONWARD_REFERRAL: Final = Coding(REQUEST_KIND, "onward-referral", "Onward referral")

MDT_AGENDA: Final = Coding(LIST_KIND, "mdt-agenda", "MDT agenda")
MDT_RECORD: Final = Coding(LIST_KIND, "mdt-record", "MDT record")

# Academy of Medical Royal Colleges / RCR 2022, alert categories.
URGENCY_CRITICAL: Final = Coding(REPORT_URGENCY, "critical", "Critical")
URGENCY_URGENT: Final = Coding(REPORT_URGENCY, "urgent", "Urgent")
URGENCY_SIGNIFICANT: Final = Coding(REPORT_URGENCY, "significant", "Significant")
URGENCY_CANCER: Final = Coding(REPORT_URGENCY, "cancer", "New cancer")
URGENCIES: Final = {
    urgency.code: urgency
    for urgency in (URGENCY_CRITICAL, URGENCY_URGENT, URGENCY_SIGNIFICANT, URGENCY_CANCER)
}

UNREPORTED: Final = Coding(REPORTING_STATUS, "unreported", "Unreported")
PRELIMINARY: Final = Coding(REPORTING_STATUS, "preliminary", "Preliminary report")
REPORTED: Final = Coding(REPORTING_STATUS, "reported", "Reported")
REPORT_SUPERSEDED: Final = Coding(REPORTING_STATUS, "superseded", "Report superseded")

EVIDENCE_AVAILABLE: Final = Coding(EVIDENCE_ROLE, "available", "Available")
EVIDENCE_DISPLAYED: Final = Coding(EVIDENCE_ROLE, "displayed", "Displayed")
EVIDENCE_COMPARISON: Final = Coding(EVIDENCE_ROLE, "comparison", "Comparison")
EVIDENCE_KEY: Final = Coding(EVIDENCE_ROLE, "key", "Key images")

CORRECTION_PATIENT_MERGE: Final = Coding(CORRECTION_KIND, "patient-merge", "Patients merged")
CORRECTION_PATIENT_UNMERGE: Final = Coding(CORRECTION_KIND, "patient-unmerge", "Merge undone")
CORRECTION_DEMOGRAPHICS: Final = Coding(CORRECTION_KIND, "demographics", "Demographics corrected")
CORRECTION_REPORT: Final = Coding(CORRECTION_KIND, "report", "Report corrected")
CORRECTION_ORDER_RELINK: Final = Coding(CORRECTION_KIND, "order-relink", "Linked to another order")

UNRELEASED: Final = Coding(RELEASE, "unreleased", "Not released yet")
IMPORTED: Final = Coding(ORIGIN, "imported", "Imported from elsewhere")

# --- HL7 v2 and v3 -----------------------------------------------------------------------------

RADIOLOGY: Final = Coding(V2_0074, "RAD", "Radiology")

ACCESSION_NUMBER_TYPE: Final = Coding(V2_0203, "ACSN", "Accession ID")
PLACER_TYPE: Final = Coding(V2_0203, "PLAC", "Placer Identifier")
FILLER_TYPE: Final = Coding(V2_0203, "FILL", "Filler Identifier")
MRN_TYPE: Final = Coding(V2_0203, "MR", "Medical record number")

LEGALLY_AUTHENTICATED: Final = Coding(V3_DOCUMENT_COMPLETION, "LA", "legally authenticated")
CREATED: Final = Coding(V3_DATA_OPERATION, "CREATE", "create")
UPDATED: Final = Coding(V3_DATA_OPERATION, "UPDATE", "revise")
INFORMATION_RECIPIENT: Final = Coding(V3_PARTICIPATION, "IRCP", "information recipient")
HEALTHCARE_PROVIDER: Final = Coding(V3_ROLE_CLASS, "PROV", "healthcare provider")

AUTHOR: Final = Coding(PROVENANCE_AGENT_TYPE, "author", "Author")
ASSEMBLER: Final = Coding(PROVENANCE_AGENT_TYPE, "assembler", "Assembler")
ENTERER: Final = Coding(PROVENANCE_AGENT_TYPE, "enterer", "Enterer")
PERFORMER: Final = Coding(PROVENANCE_AGENT_TYPE, "performer", "Performer")
VERIFIER: Final = Coding(PROVENANCE_AGENT_TYPE, "verifier", "Verifier")
ATTESTER: Final = Coding(PROVENANCE_AGENT_TYPE, "attester", "Attester")

# --- LOINC: kinds of report and their sections (PS3.16 CID 7000, CID 7001) ---------------------

DIAGNOSTIC_IMAGING_REPORT: Final = Coding(LOINC, "18748-4", "Diagnostic imaging study")
RADIOLOGY_REPORT: Final = Coding(LOINC, "11528-7", "Radiology Report")
ADDENDUM_DOCUMENT: Final = Coding(LOINC, "55107-7", "Addendum Document")
SECTION_CLINICAL_INFORMATION: Final = Coding(LOINC, "55752-0", "Clinical information")
SECTION_REQUEST: Final = Coding(LOINC, "55115-0", "Requested imaging studies information")
SECTION_INDICATIONS: Final = Coding(LOINC, "18785-6", "Radiology reason for study")
SECTION_FINDINGS: Final = Coding(LOINC, "59776-5", "Procedure findings")
SECTION_CONCLUSION: Final = Coding(LOINC, "19005-8", "Radiology Imaging study impression")
SECTION_CRITICAL_RESULTS: Final = Coding(LOINC, "73568-8", "Communication of Critical Results")

IMAGING: Final = Coding(SNOMED, "363679005", "Imaging")

# --- DICOM: identifiers, media, notes of rejection, ends of a transfer -------------------------

STUDY_INSTANCE_UID_TYPE: Final = Coding(DCM, "110180", "Study Instance UID")
ACCESSION_NUMBER: Final = Coding(DCM, "121022", "Accession Number")
SOURCE_ROLE: Final = Coding(DCM, "110153", "Source Role ID")
DESTINATION_ROLE: Final = Coding(DCM, "110152", "Destination Role ID")
DESTINATION_MEDIA: Final = Coding(DCM, "110154", "Destination Media")
SOURCE_MEDIA: Final = Coding(DCM, "110155", "Source Media")

REJECTED_FOR_QUALITY: Final = Coding(DCM, "113001", "Rejected for Quality Reasons")
REJECTED_FOR_PATIENT_SAFETY: Final = Coding(DCM, "113037", "Rejected for Patient Safety Reasons")
INCORRECT_WORKLIST_ENTRY: Final = Coding(DCM, "113038", "Incorrect Modality Worklist Entry")
RETENTION_EXPIRED: Final = Coding(DCM, "113039", "Data Retention Policy Expired")
COMPLETE_STUDY_CONTENT: Final = Coding(DCM, "113032", "Complete Study Content")
DIAGNOSIS_INPUT_USED: Final = Coding(DCM, "128218", "Diagnosis Input Used")
