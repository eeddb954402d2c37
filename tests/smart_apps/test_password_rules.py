"""NIST SP 800-63B-4 3.1.1.2: long, not among those that are tried first, and nothing more asked."""

import pytest

from demo import data
from resources.errors import Invalid
from smart_apps import passwords
from smart_apps.password_rules import require_good

pytestmark = pytest.mark.standard("NIST SP 800-63B 3.1.1.2")


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "radial kettle umbrella",
        "тихий океан ночью",
        "nospacesbutstillquitelong",
        "7f3c-9a1e-44b2-cc0d",
        "x" * 10 + "abq zlm jjwpq",
        data.PASSWORD,
    ],
)
def test_a_long_password_of_any_characters_is_taken(password: str) -> None:
    require_good(password, "r.rad")


@pytest.mark.parametrize(
    "password",
    [
        "",
        "short",
        "elevenchars",
        "a" * 12,
        "ababababababab",
        "a" * 5000,
        "password1234",
        "Password123456!",
        "P@ssw0rd2026!!",
        "passwordpassword",
        "123456789012",
        "qwertyuiop123",
        "1qaz2wsx3edc",
        "abcdefghijkl",
        "administrator1",
        "Isocentre2026!",
        "welcome-to-nhs1",
        "letmeinletmein",
        "margaret.jones",
        "Margaret.Jones1",
        "jonesmargaret99",
    ],
)
def test_a_password_that_would_be_tried_first_is_not(password: str) -> None:
    with pytest.raises(Invalid) as refused:
        require_good(password, "margaret.jones")

    assert not password or password not in refused.value.reason


def test_a_password_is_the_same_however_its_letters_are_composed() -> None:
    kept = passwords.derive("caf\u00e9 au lait au soleil")

    assert passwords.matches("cafe\u0301 au lait au soleil", kept)
