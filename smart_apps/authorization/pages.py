"""The pages of a sign-in: plain forms that need no script.

Each form carries the authorisation request that it serves and a token that ties it to the browser.
WCAG 2.2 AA: labels, focus that is seen, problems told in words at the head of the page.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Final, NamedTuple

PAGE: Final = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
STYLE: Final = (Path(__file__).parent / "style.css").read_bytes()

SCOPES: Final = {
    "openid": "know who you are",
    "fhirUser": "know who you are",
    "profile": "know who you are",
    "launch": "know which patient you are looking at",
    "launch/patient": "know which patient you choose",
    "launch/encounter": "know which visit you choose",
    "launch/imagingstudy": "know which imaging study you choose",
    "launch/diagnosticreport": "know which report you choose",
    "launch/task": "know which task you choose",
    "launch/list": "know which list you choose",
    "offline_access": "go on when you are not there",
    "online_access": "go on while you are signed in",
}
ANOTHER: Final = "another"
"""Field of a form that asks for another role."""
LETTERS: Final = {"c": "add", "r": "read", "u": "change", "d": "delete", "s": "search"}


class Form(NamedTuple):
    """What every form of one browser carries.

    Parameters
    ----------
    request
        The authorisation request, as a query string.
    token
        Ties it to the browser (`sign_ins.form_token`).
    acting
        In which role somebody acts who might act in another; empty for the rest.
    """

    request: str
    token: str
    acting: str = ""

    def to(self, step: str, inside: str) -> str:
        """Write a form that posts to a step."""
        return (
            f'<form method="post" action="/auth/{step}">'
            f'<input type="hidden" name="request" value="{escape(self.request)}">'
            f'<input type="hidden" name="token" value="{escape(self.token)}">{inside}</form>'
        )

    def to_another_role(self) -> str:
        """Say in which role the person acts, and let them act in another."""
        if not self.acting:
            return ""
        change = f'<button class="other" name="{ANOTHER}" value="yes">Act in another role</button>'
        told = f"<p>You act as <strong>{escape(self.acting)}</strong>.</p>"
        return f"<h2>Your role</h2>{told}{self.to('role', change)}"


def sign_in(form: Form, client: str, problem: str = "", upstream: str = "") -> bytes:
    """Ask for login and password, or offer to sign in at the provider of that name."""
    inside = (
        '<label for="login">Login</label>'
        '<input type="text" id="login" name="login" autocomplete="username" '
        'autocapitalize="none" spellcheck="false" required autofocus>'
        '<label for="password">Password</label>'
        '<input type="password" id="password" name="password" '
        'autocomplete="current-password" required>'
        "<button>Sign in</button>"
    )
    elsewhere = ""
    if upstream:
        button = f'<button class="other">Sign in with {escape(upstream)}</button>'
        elsewhere = form.to("upstream", button)
    body = f"<p>To go on to <strong>{escape(client)}</strong>.</p>{form.to('login', inside)}"
    return page("Sign in", body + elsewhere, problem)


def choose_role(form: Form, roles: Iterable[tuple[str, str, str]]) -> bytes:
    """Ask in which role the person acts: rows of id, role, organisation."""
    rows = "".join(
        f'<button class="row" name="practitioner_role" value="{escape(id)}">'
        f"<strong>{escape(role)}</strong>{escape(organization)}</button>"
        for id, role, organization in roles
    )
    return page("Who are you acting as?", form.to("role", rows))


def choose_patient(
    form: Form,
    found: Sequence[tuple[str, str, str]] | None,
    problem: str = "",
    *,
    offers_emergency: bool = False,
) -> bytes:
    """Ask for a patient; `found` are rows of id, name and what tells them apart."""
    inside = (
        '<label for="nhs">NHS number</label>'
        '<input type="text" id="nhs" name="nhs" inputmode="numeric" autocomplete="off">'
        '<label for="family">or family name</label>'
        '<input type="text" id="family" name="family" autocomplete="off">'
        '<label for="born">and date of birth</label>'
        '<input type="date" id="born" name="born">'
        "<button>Find</button>"
    )
    body = form.to("patient", inside)
    if found is not None and not found:
        body += "<h2>Nobody found</h2><p>No patient that you may see is like that.</p>"
    elif found:
        rows = "".join(
            f'<button class="row" name="patient" value="{escape(id)}">'
            f"<strong>{escape(name)}</strong>{escape(more)}</button>"
            for id, name, more in found
        )
        body += f"<h2>Found</h2>{form.to('patient', rows)}"
    if offers_emergency:
        ask = '<button class="other" name="emergency" value="yes">Ask for emergency access</button>'
        body += f"<h2>Somebody you may not see?</h2>{form.to('patient', ask)}"
    return page("Which patient?", body + form.to_another_role(), problem)


def choose(
    form: Form,
    question: str,
    field: str,
    rows: Iterable[tuple[str, str, str]],
    without: str,
    kept: Mapping[str, str],
) -> bytes:
    """Ask for something of the patient: rows of id, what it is and when.

    Parameters
    ----------
    without
        What `field` says when somebody goes on without.
    kept
        Fields of the steps before.
    """
    buttons = "".join(
        f'<button class="row" name="{escape(field)}" value="{escape(id)}">'
        f"<strong>{escape(what)}</strong>{escape(when)}</button>"
        for id, what, when in rows
    )
    on = (
        f'<button class="other" name="{escape(field)}" value="{escape(without)}">'
        "None of these</button>"
    )
    body = form.to("patient", f"{_hidden(kept)}{buttons}{on}")
    return page(question, body + form.to_another_role())


def ask_for_emergency(
    form: Form, reasons: Iterable[tuple[str, str]], given: Mapping[str, str], problem: str = ""
) -> bytes:
    """Ask whom emergency access is needed to, and why; `reasons` are codes and words."""
    options = "".join(
        f'<option value="{escape(code)}"{" selected" if code == given.get("reason") else ""}>'
        f"{escape(words)}</option>"
        for code, words in reasons
    )
    inside = (
        '<input type="hidden" name="emergency" value="yes">'
        '<label for="nhs">NHS number</label>'
        '<input type="text" id="nhs" name="nhs" inputmode="numeric" autocomplete="off" required '
        f'value="{escape(given.get("nhs", ""))}">'
        '<label for="born">Date of birth</label>'
        '<input type="date" id="born" name="born" required '
        f'value="{escape(given.get("born", ""))}">'
        '<label for="reason">Reason</label>'
        f'<select id="reason" name="reason" required><option value=""></option>{options}</select>'
        '<label for="said">Why you need it, in your own words</label>'
        '<textarea id="said" name="said" rows="4" minlength="10" maxlength="500" required>'
        f"{escape(given.get('said', ''))}</textarea>"
        "<button>Go on</button>"
    )
    told = (
        "<p>You will see all there is of this one patient, for an hour at most. What you do is "
        "recorded, and a privacy officer will ask about it.</p>"
    )
    return page("Emergency access", told + form.to("patient", inside), problem)


def consent(
    form: Form, asked: Mapping[str, str], scope: str, kept: Mapping[str, str], problem: str = ""
) -> bytes:
    """Ask whether a client may do what it asks for.

    Parameters
    ----------
    asked
        Terms, and what stands for them.
    kept
        Fields of the steps before, to be sent with the decision.
    """
    rows = "".join(
        f"<dt>{escape(term)}</dt><dd>{escape(told)}</dd>" for term, told in asked.items()
    )
    wishes = "".join(
        f"<li>{escape(wish)}</li>" for wish in dict.fromkeys(map(wish_of, scope.split()))
    )
    inside = (
        f"{_hidden(kept)}"
        '<button name="decision" value="allow">Allow</button>'
        '<button class="other" name="decision" value="deny">Do not allow</button>'
    )
    asks = f"<dl>{rows}</dl><h2>It asks to</h2><ul>{wishes}</ul>{form.to('consent', inside)}"
    return page("May this application act for you?", asks + form.to_another_role(), problem)


def sign_out(form: Form, login: str) -> bytes:
    """Ask whether somebody wants to sign out of this browser."""
    told = f"<p>You are signed in as <strong>{escape(login)}</strong>.</p>"
    return page("Sign out?", told + form.to("logout", "<button>Sign out</button>"))


def _hidden(kept: Mapping[str, str]) -> str:
    return "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in kept.items()
    )


def problem(title: str, text: str) -> bytes:
    """Say why it does not go on."""
    return page(title, f"<p>{escape(text)}</p>")


def page(title: str, body: str, problem: str = "") -> bytes:
    """Give a whole page; `body` is HTML, the rest is text."""
    told = f'<div class="problem" role="alert"><p>{escape(problem)}</p></div>' if problem else ""
    return PAGE.substitute(title=escape(title), body=told + body).encode()


def wish_of(scope: str) -> str:
    """Say a scope in words.

    Examples
    --------
    >>> wish_of("patient/ImagingStudy.rs")
    'read and search ImagingStudy of this patient'
    >>> wish_of("user/*.cruds")
    'add, read, change, delete and search everything that you may'
    """
    if (plain := scope.partition("?")[0]) in SCOPES:
        return SCOPES[plain]
    context, _, rest = scope.partition("/")
    type, _, letters = rest.partition(".")
    letters = {"read": "rs", "write": "cud", "*": "cruds"}.get(letters, letters)
    letters, _, only = letters.partition("?")
    verbs = [LETTERS[letter] for letter in letters if letter in LETTERS]
    if not verbs:
        return scope
    said = " and ".join(filter(None, [", ".join(verbs[:-1]), verbs[-1]]))
    what = "everything" if type == "*" else type
    whose = {"patient": " of this patient", "user": " that you may"}.get(context, "")
    return f"{said} {what}{whose}{f' where {only}' if only else ''}"
