import json
import logging
import os
import pwd
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from joserfc.jwk import ECKey

from fhir_server import cli, installation
from fhir_server.access.principal import Principal
from fhir_server.access.token import Keys, TokenChecker
from fhir_server.commands.beside import settings_of, with_database
from fhir_server.installation import Served
from fhir_server.postgres.database import Database, Row
from fhir_server.postgres.embedded import DURABLE, embedded
from smart_apps.authorization import registration

QUICK = {**DURABLE, "fsync": "off", "synchronous_commit": "off", "shared_buffers": "64MB"}
HERE = "http://127.0.0.1:8123"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder whose cluster stays up while the commands come and go."""
    data_dir = tmp_path_factory.mktemp("commands")
    with embedded(data_dir, settings=QUICK):
        yield data_dir


@pytest.fixture
def run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run a command on the folder: its exit status, what it printed, what it complained of."""
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["isocentre", *arguments, "--data-dir", str(folder)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        status = ended.value.code
        assert isinstance(status, int)
        return status, said.out.strip(), said.err.strip()

    yield run
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> dict[str, list[dict[str, str]]]:
    """The folder with demonstration data in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["isocentre", "demo", "load", "--data-dir", str(folder)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert ended.value.code == 0
    found: dict[str, list[dict[str, str]]] = json.loads((folder / "demo.json").read_text())
    return found


def principal_of(folder: Path, token: str, url: str = "http://127.0.0.1:8000") -> Principal:
    return TokenChecker(Keys.load(folder), url).check(token)


def test_init_is_done_once_or_twice(run: Run, folder: Path) -> None:
    assert run("init") == (0, "", "")
    assert run("init") == (0, "", "")
    assert (folder / "keys" / "signing.json").exists()


def test_loading_the_demonstration_twice_is_loading_it_once(run: Run, loaded: object) -> None:
    status, printed, complained = run("demo", "load")

    assert (status, complained) == (0, "")
    assert printed.endswith("demo.json")


def test_a_token_without_a_user_is_that_of_the_client(
    run: Run, folder: Path, loaded: object
) -> None:
    status, token, _ = run("token", "--client", "demo-backend", "--scope", "system/*.rs")

    principal = principal_of(folder, token)
    assert status == 0
    assert (principal.subject, principal.role) == ("Client/demo-backend", "application")
    assert principal.organization


def test_a_token_with_a_user_says_role_and_organisation(
    run: Run, folder: Path, loaded: dict[str, list[dict[str, str]]]
) -> None:
    user = next(user for user in loaded["users"] if user["role"] == "reporter")

    _, token, _ = run(
        "token", "--client", "demo-app", "--scope", "user/*.rs patient/*.rs launch/patient",
        "--user", user["login"], "--patient", "p", "--lifetime", "60",
    )  # fmt: skip

    principal = principal_of(folder, token)
    assert principal.subject == f"PractitionerRole/{user['practitioner_role']}"
    assert (principal.role, principal.organization) == ("reporter", user["organization"])
    assert (principal.patient, principal.client) == ("p", "demo-app")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--client", "nobody", "--scope", "system/*.rs"), "nobody"),
        (("--client", "demo-app", "--scope", "system/*.rs"), "registered"),
        (("--client", "demo-app", "--scope", "user/*.rs", "--user", "nobody"), "nobody"),
        (("--client", "demo-app", "--scope", "user/Task.dus"), "user/Task.dus"),
        (("--client", "demo-app", "--scope", "patient/*.rs"), "--patient"),
    ],
)
def test_a_token_that_may_not_be_had_is_refused_in_one_sentence(
    run: Run, loaded: object, arguments: tuple[str, ...], word: str
) -> None:
    status, printed, complained = run("token", *arguments)

    assert (status, printed) == (1, "")
    assert word in complained
    assert "\n" not in complained


def test_a_registered_client_can_have_a_token(
    run: Run, folder: Path, tmp_path: Path, loaded: dict[str, list[dict[str, str]]]
) -> None:
    ods = loaded["organizations"][0]["ods"]
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [ECKey.generate_key("P-384").as_dict(private=False)]}))

    added = run(
        "client", "add", "--id", "ris", "--jwks", str(jwks), "--scope", "system/Task.cruds",
        "--organization", ods,
    )  # fmt: skip
    _, token, _ = run("token", "--client", "ris", "--scope", "system/Task.rs")

    assert added == (0, "", "")
    assert principal_of(folder, token).organization == loaded["organizations"][0]["id"]


def test_a_secret_is_printed_once_and_not_kept(
    run: Run, loaded: dict[str, list[dict[str, str]]]
) -> None:
    ods = loaded["organizations"][0]["ods"]

    status, secret, _ = run(
        "client", "add", "--id", "portal", "--secret", "--redirect", "https://app.example/cb",
        "--scope", "user/*.rs", "--organization", ods,
    )  # fmt: skip

    assert status == 0
    assert len(secret) > 40


def test_who_has_left_signs_in_no_more(
    run: Run, folder: Path, loaded: dict[str, list[dict[str, str]]]
) -> None:
    left = next(user for user in loaded["users"] if user["login"] == "gp2")
    whose = ("--login", "gp2", "--practitioner-role", left["practitioner_role"])
    asked = ("token", "--client", "demo-app", "--scope", "user/*.rs", "--user", "gp2")
    assert run(*asked)[0] == 0

    removed = run("user", "remove", *whose)
    again = run("user", "remove", *whose)

    assert removed == (0, "", "")
    assert again[0] == 1
    assert run(*asked)[0] == 1


def test_clients_are_listed_given_new_secrets_and_removed(
    run: Run, loaded: dict[str, list[dict[str, str]]]
) -> None:
    ods = loaded["organizations"][0]["ods"]
    _, first, _ = run(
        "client", "add", "--id", "kiosk", "--secret", "--redirect", "https://app.example/cb",
        "--scope", "user/*.rs", "--organization", ods,
    )  # fmt: skip

    _, second, _ = run("client", "rotate", "--id", "kiosk")
    _, listed, _ = run("client", "list")
    removed = run("client", "remove", "--id", "kiosk")
    again = run("client", "remove", "--id", "kiosk")

    assert len(second) > 40
    assert second != first
    assert "kiosk\tsecret\t" in listed
    assert first not in listed
    assert removed == (0, "", "")
    assert again[0] == 1
    assert "kiosk" not in run("client", "list")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("client", "rotate", "--id", "demo-app"),
        ("client", "add", "--id", "x", "--scope", "user/*.rs", "--organization", "ZZ999"),
        ("client", "add", "--id", "x", "--public", "--scope", "user/*.rs", "--organization", "-"),
        ("peer", "add", "--ae", "CT9", "--host", "h", "--port", "104", "--organization", "-"),
        ("user", "add", "--login", "x", "--password", "y", "--practitioner-role", "nobody"),
    ],
)
def test_what_cannot_be_registered_is_refused_in_one_sentence(
    run: Run, loaded: object, arguments: tuple[str, ...]
) -> None:
    status, printed, complained = run(*arguments)

    assert (status, printed) == (1, "")
    assert complained
    assert "\n" not in complained


def test_a_user_and_a_peer_are_added(
    run: Run, folder: Path, loaded: dict[str, list[dict[str, str]]]
) -> None:
    person, place = loaded["users"][0], loaded["organizations"][0]

    user = run(
        "user", "add", "--login", "second", "--password", "kettle harbour moss",
        "--role", "operator",
        "--practitioner-role", person["practitioner_role"],
    )  # fmt: skip
    peer = run(
        "peer", "add", "--ae", "CT9", "--host", "127.0.0.1", "--port", "10400",
        "--organization", place["ods"],
    )  # fmt: skip
    _, token, _ = run("token", "--client", "demo-app", "--scope", "user/*.rs", "--user", "second")

    assert (user, peer) == ((0, "", ""), (0, "", ""))
    assert principal_of(folder, token).role == "operator"


def test_all_agrees_and_the_chain_holds(run: Run, loaded: object) -> None:
    assert run("reindex")[0] == 0
    assert run("check") == (0, "Blobs, rows and resources agree.", "")
    assert run("audit", "verify")[0] == 0


def test_after_a_restore_a_new_log_begins_and_the_chain_goes_on(run: Run, loaded: object) -> None:
    assert run("restored") == (0, "Log 2 begins.", "")

    status, said, _ = run("audit", "verify")
    assert (status, said.split(":")[0]) == (0, "The chain holds")


def test_a_token_is_issued_under_the_address_of_the_server(
    run: Run, folder: Path, loaded: object
) -> None:
    installation.write_down(folder, Served(HERE, "127.0.0.1:8123", "127.0.0.1:11123"))
    try:
        _, token, _ = run("token", "--client", "demo-backend", "--scope", "system/*.rs")
    finally:
        (folder / "run" / "served.json").unlink()

    assert principal_of(folder, token, HERE).client == "demo-backend"


def test_a_command_nobody_knows_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["isocentre", "dance"])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 2
    assert capsys.readouterr().err == "No such command 'dance'.\n"


def test_a_database_that_is_not_there_is_said_in_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOCENTRE_DATABASE_URL", "postgresql://x@127.0.0.1:1/x")

    status, _, complained = run("init")

    assert (status, complained) == (1, "The database cannot be reached.")


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("command", [["check"], ["reindex"], ["restored"], ["audit", "verify"]])
def test_a_folder_without_a_record_is_refused_and_left_as_it_is(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mistyped = tmp_path / "dta"
    monkeypatch.setattr("sys.argv", ["isocentre", *command, "--data-dir", str(mistyped)])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 1
    assert capsys.readouterr().err == f"There is no record in {mistyped}.\n"
    assert not mistyped.exists()


def test_the_signing_keys_are_listed_rolled_and_retired(run: Run) -> None:
    assert run("init")[0] == 0
    (first,) = run("keys", "list")[1].splitlines()
    kid = first.split()[0]

    status, said, _ = run("keys", "roll", "--now")

    assert (status, said.split()[1:3]) == (0, ["signs", "from"])
    assert [line.split()[1] for line in run("keys", "list")[1].splitlines()] == [
        "accepted",
        "signs",
    ]
    assert run("keys", "retire", "--key", kid)[0] == 0
    assert run("keys", "list")[1].split()[1] == "ended"
    assert run("keys", "retire", "--key", said.split()[0])[2].startswith("this key signs")


def test_a_password_is_changed_and_a_poor_one_is_not_taken(
    run: Run, loaded: dict[str, list[dict[str, str]]]
) -> None:
    login = loaded["users"][0]["login"]

    assert run("user", "password", "--login", login, "--password", "violin gravel noon") == (
        0,
        "",
        "",
    )
    status, _, complained = run("user", "password", "--login", login, "--password", "hunter2")
    assert (status, "hunter2" in complained) == (1, False)
    assert "12" in complained
    nobody = run("user", "password", "--login", "nobody", "--password", "violin gravel noon")
    assert nobody[0] == 1


def test_an_application_that_waits_is_listed_and_approved_or_refused(
    run: Run, folder: Path, loaded: dict[str, list[dict[str, str]]]
) -> None:
    wanted = {
        "client_name": "Viewer",
        "redirect_uris": ["https://viewer.example/cb"],
        "token_endpoint_auth_method": "none",
        "scope": "user/*.rs",
    }
    settings = settings_of(folder)
    kept = [
        with_database(settings, lambda database: registration.register(database, wanted))
        for _ in range(2)
    ]
    first, second = (each["client_id"] for each in kept)
    ods = loaded["organizations"][0]["ods"]

    assert [line.split()[0] for line in run("client", "requests")[1].splitlines()] == [
        first,
        second,
    ]
    said = ("--id", first, "--organization", ods, "--scope", "user/Task.rs")
    assert run("client", "approve", *said) == (0, "", "")
    assert run("client", "refuse", "--id", second)[0] == 0
    assert run("client", "requests")[1] == ""
    listed = {line.split()[0]: line for line in run("client", "list")[1].splitlines()}
    assert "user/Task.rs" in listed[first]
    assert second not in listed


def told(folder: Path) -> list[tuple[str, str, str]]:
    """What the ledger has of changes of who may do what: interaction, object, what was done."""
    sql = """select interaction, coalesce(type || '/' || id, ''), detail from audit
        where interaction in ('configuration', 'user-configuration') order by n"""
    rows = with_database(settings_of(folder), lambda database: database.run(sql))
    return [(interaction, whose, detail) for interaction, whose, detail in rows]


@pytest.mark.requirement("R014.1")
@pytest.mark.standard("PS3.15 A.5.3.11")
def test_what_an_operator_changes_of_who_may_do_something_is_in_the_ledger(
    run: Run, folder: Path, loaded: dict[str, list[dict[str, str]]]
) -> None:
    ods, role = loaded["organizations"][0]["ods"], loaded["users"][0]["practitioner_role"]
    before = len(told(folder))
    whose = ("--login", "new", "--practitioner-role", role)
    password = ("--password", "violin gravel noon")
    of = ("--organization", ods)

    printed = [
        run(*command)
        for command in (
            ("keys", "roll"),
            ("peer", "add", "--ae", "NEW", "--host", "127.0.0.1", "--port", "104", *of),
            ("peer", "remove", "--ae", "NEW"),
            ("client", "add", "--id", "new", "--secret", "--scope", "system/*.rs", *of),
            ("client", "rotate", "--id", "new"),
            ("client", "disable", "--id", "new"),
            ("client", "enable", "--id", "new"),
            ("token", "--client", "new", "--scope", "system/*.rs"),
            ("client", "remove", "--id", "new"),
            ("user", "add", *whose, *password),
            ("user", "password", "--login", "new", *password),
            ("user", "remove", *whose),
            ("restored",),
        )
    ]

    assert [(status, complained) for status, _, complained in printed] == [(0, "")] * len(printed)
    rows = told(folder)[before:]
    who = f", by {pwd.getpwuid(os.getuid()).pw_name} at the command line"
    assert all(detail.endswith(who) for _, _, detail in rows)
    assert [(kind, whose, detail.removesuffix(who)) for kind, whose, detail in rows[1:-1]] == [
        ("configuration", "", "peer NEW added or changed"),
        ("configuration", "", "peer NEW removed"),
        ("configuration", "", "client new registered"),
        ("configuration", "", "client new given a new secret"),
        ("configuration", "", "client new disabled"),
        ("configuration", "", "client new enabled"),
        ("configuration", "", "token of client new made: system/*.rs, 300 s"),
        ("configuration", "", "client new removed"),
        ("user-configuration", f"PractitionerRole/{role}", "login added or changed"),
        ("user-configuration", f"PractitionerRole/{role}", "password changed"),
        ("user-configuration", f"PractitionerRole/{role}", "login taken away"),
    ]
    assert rows[0][2].startswith("signing key ")
    assert rows[-1][2].startswith("log ")
    secrets = [printed[at][1] for at in (3, 4, 7)] + ["violin gravel noon"]
    assert not any(secret in str(rows) for secret in secrets)


@pytest.fixture
def deaf(folder: Path) -> Iterator[None]:
    """The ledger takes no row of such a change."""
    with embedded(folder, settings=QUICK) as url, psycopg.connect(url, autocommit=True) as owner:
        owner.execute("""alter table audit add constraint deaf
            check (interaction not like '%configuration') not valid""")
        yield
        owner.execute("alter table audit drop constraint deaf")


@pytest.mark.requirement("R014.1")
def test_what_cannot_be_told_to_the_ledger_is_not_done(
    run: Run, folder: Path, loaded: dict[str, list[dict[str, str]]], deaf: None
) -> None:
    ods, user = loaded["organizations"][0]["ods"], loaded["users"][0]
    role = ("--practitioner-role", user["practitioner_role"])
    password = ("--password", "violin gravel noon")
    tables = ("client", "login", "login_role", "peer", "log", "authorized", "withdrawn", "sign_in")

    async def all_of(table: str, database: Database) -> list[Row]:
        return await database.run(f"select * from {table}")

    def everything() -> object:
        rows = [with_database(settings_of(folder), partial(all_of, table)) for table in tables]
        return rows, (folder / "keys" / "signing.json").read_text()

    before = everything()
    for command in (
        ("keys", "roll", "--now"),
        ("peer", "add", "--ae", "NEWER", "--host", "h", "--port", "104", "--organization", ods),
        ("client", "add", "--id", "newer", "--secret", "--scope", "user/*.rs",
         "--organization", ods),
        ("client", "disable", "--id", "demo-app"),
        ("client", "remove", "--id", "demo-app"),
        ("token", "--client", "demo-app", "--scope", "user/*.rs", "--user", user["login"]),
        ("user", "add", "--login", "newer", *role, *password),
        ("user", "password", "--login", user["login"], *password),
        ("user", "remove", "--login", user["login"], *role),
        ("restored",),
    ):  # fmt: skip
        status, printed, complained = run(*command)
        assert (status, printed) == (1, ""), command
        assert complained
        assert everything() == before, command


@pytest.mark.standard("threats T9")
def test_an_address_of_keys_is_registered_where_it_may_be_asked(
    run: Run, loaded: dict[str, list[dict[str, str]]]
) -> None:
    asked = ("client", "add", "--id", "there", "--scope", "system/*.rs",
             "--organization", loaded["organizations"][0]["ods"])  # fmt: skip

    for uri in ("https://127.0.0.1/jwks", "http://app.example/jwks", "https://localhost/", "x"):
        status, _, complained = run(*asked, "--jwks-uri", uri)
        assert (status, complained[:24]) == (1, "The address of the keys "), complained
    assert run(*asked, "--jwks-uri", "https://app.example/jwks", "--public")[0] == 1
    assert run(*asked, "--jwks-uri", "https://app.example/jwks") == (0, "", "")
    assert "there\tjwks" in run("client", "list")[1]
