import re
from html.parser import HTMLParser

from smart_apps import pages

PLACES = {
    "fhir": "http://127.0.0.1:8000/fhir",
    "dicomweb": "http://127.0.0.1:8000/dicom-web",
    "dicom_host": "127.0.0.1",
    "dicom_port": 11112,
    "ae_title": "<b>&",
    "data_dir": "data",
}


class Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))


def test_the_start_page_says_what_is_where() -> None:
    page = pages.start(PLACES).decode()

    assert "http://127.0.0.1:8000/fhir" in page
    assert "11112" in page
    assert "&lt;b&gt;&amp;" in page
    assert "TOKEN=$(" in page


def test_the_start_page_loads_nothing_from_elsewhere() -> None:
    outline = Outline()
    outline.feed(pages.start(PLACES).decode())

    addresses = [attrs["href"] or "" for _, attrs in outline.opened if "href" in attrs]
    assert not any("src" in attrs for _, attrs in outline.opened)
    assert all(address.startswith("/") for address in addresses)
    assert not re.search(r"url\(|@import", pages.start(PLACES).decode())


def test_the_start_page_has_a_language_a_title_and_one_first_heading() -> None:
    outline = Outline()
    outline.feed(pages.start(PLACES).decode())

    tags = [tag for tag, _ in outline.opened]
    assert dict(outline.opened)["html"]["lang"] == "en-GB"
    assert (tags.count("title"), tags.count("h1"), tags.count("main")) == (1, 1, 1)
