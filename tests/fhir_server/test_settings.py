from pathlib import Path

import pytest
from pydantic import ValidationError

from fhir_server import settings
from resources.errors import Invalid

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, _, _ in settings.variables():
        monkeypatch.delenv(name, raising=False)


def test_an_option_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOCENTRE_HTTP", "127.0.0.1:9000")
    monkeypatch.setenv("ISOCENTRE_AE_TITLE", "OTHER")

    chosen = settings.read(http="127.0.0.1:9001", ae_title=None)

    assert chosen.http_address == ("127.0.0.1", 9001)
    assert chosen.ae_title == "OTHER"


def test_a_process_that_is_started_reads_the_same_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = settings.read(http="[::1]:9001", dicom_plain=True, data_dir="elsewhere")

    for name, value in settings.environment(chosen).items():
        monkeypatch.setenv(name, value)

    assert settings.read() == chosen


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        settings.read().http = "127.0.0.1:1"  # type: ignore[misc]


def test_the_public_address_follows_the_http_address_unless_given() -> None:
    assert settings.read(http="127.0.0.1:9000").fhir_base == "http://127.0.0.1:9000/fhir"
    assert settings.read(http="[::1]:9000").url == "http://[::1]:9000"
    assert settings.read(public_url="https://records.example").url == "https://records.example"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP", "8000"),
        ("HTTP", "127.0.0.1:http"),
        ("DICOM", "127.0.0.1:70000"),
        ("PUBLIC_URL", "https://records.example/"),
        ("PUBLIC_URL", "records.example"),
        ("RULES", "lax"),
        ("AE_TITLE", "SEVENTEEN-LETTERS"),
        ("HTTP_WORKERS", "0"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ISOCENTRE_{name}", value)

    with pytest.raises(Invalid, match=f"ISOCENTRE_{name}"):
        settings.read()


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("192.0.2.1:1", False),
        ("pacs.example:1", False),
    ],
)
def test_what_only_this_machine_can_reach_is_known(address: str, near: bool) -> None:
    assert settings.read(dicom=address).dicom_address.is_loopback is near


def test_every_setting_is_documented() -> None:
    assert all(len(description) > 10 for _, _, description in settings.variables())
    assert (ROOT / "docs" / "settings.md").read_text() == settings.manual()
