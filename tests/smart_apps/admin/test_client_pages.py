"""What an administrator does with clients beside registering: keys by address, and the audit."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.smart_apps.admin.conftest import Office, send
from tests.smart_apps.admin.test_admin_pages import WEB

pytestmark = pytest.mark.requirement("R014.4")

KEYED = {**WEB, "kind": "jwks", "scope": "system/*.rs", "redirects": ""}


@pytest.mark.standard("threats T9")
@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:9/jwks", "https://localhost/jwks", "https://[::1]/jwks", "jwks",
     "http://app.example/jwks", "https://10.1.2.3/jwks", '"><script>alert(1)</script>'],
)  # fmt: skip
def test_keys_are_registered_at_no_address_that_is_never_asked(
    office: Office, address: str
) -> None:
    browser = office.browser("boss")

    answer = send(
        browser, browser.get("/admin/register"), {**KEYED, "id": "there", "jwks_uri": address}
    )

    assert answer.status_code == 400
    assert "The address of the keys" in answer.text
    assert "<script" not in answer.text
    assert browser.get("/admin/clients/there").status_code == 404


def test_a_client_that_publishes_its_keys_is_registered_and_changed(office: Office) -> None:
    browser = office.browser("boss")
    wish = {**KEYED, "id": "publisher", "jwks_uri": "https://app.example/jwks.json"}

    assert send(browser, browser.get("/admin/register"), wish).status_code == 200

    page = browser.get("/admin/clients/publisher")
    assert 'value="https://app.example/jwks.json"' in page.text
    both = send(browser, page, {**wish, "jwks": '{"keys": []}', "do": "change"}, 1)
    assert both.status_code == 400
    moved = {**wish, "jwks_uri": "https://app.example/next", "do": "change"}
    assert send(browser, page, moved, 1).status_code == 200
    assert 'value="https://app.example/next"' in browser.get("/admin/clients/publisher").text


@pytest.fixture
def deaf(office: Office) -> Iterator[None]:
    """The ledger takes no row of such a change, as if the disk were full just then."""
    with psycopg.connect(office.site.database_url, autocommit=True) as owner:
        owner.execute("""create function deaf() returns trigger language plpgsql as
            $$ begin raise exception 'full' using errcode = '53100'; end $$""")
        owner.execute("""create trigger deaf before insert on audit for each row
            when (new.interaction like '%configuration') execute function deaf()""")
        yield
        owner.execute("drop function deaf() cascade")


@pytest.mark.requirement("R014.1")
@pytest.mark.standard("PS3.15 A.5.3.11")
def test_what_cannot_be_told_to_the_ledger_is_not_done(office: Office, deaf: None) -> None:
    browser = office.browser("boss")
    page = browser.get("/admin/clients/app")

    less = {**WEB, "kind": "public", "scope": "user/Task.rs", "do": "change"}
    for wish, n in (({"do": "disable"}, -2), ({"do": "remove", "sure": "yes"}, -1), (less, 1)):
        answer = send(browser, page, wish, n)
        assert answer.status_code >= 400
        assert "later" in answer.text
    made = send(browser, browser.get("/admin/register"), {**WEB, "id": "unheard"})

    assert made.status_code == 400
    assert 'id="secret"' not in made.text
    assert browser.get("/admin/clients/unheard").status_code == 404
    assert (
        browser.get("/admin/clients/app").text.split("</form>")[1:]
        == (page.text.split("</form>")[1:])
    )


def test_the_clients_of_others_are_not_disabled_or_enabled(office: Office) -> None:
    near = office.browser("boss")
    token = near.get("/admin/clients/app").text.split('name="token" value="')[1].split('"')[0]

    for do in ("disable", "enable"):
        fields = {"token": token, "do": do}
        assert near.post("/admin/clients/other-app", data=fields).status_code == 404
        assert near.post("/admin/clients/app", data={"do": do}).status_code == 403
    assert "disabled" not in office.browser("far").get("/admin/clients").text
