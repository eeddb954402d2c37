"""Pages that the server itself shows: the start page, which says what is where."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Final

START: Final = Template((Path(__file__).parent / "start.html").read_text(encoding="utf-8"))


def start(places: Mapping[str, object]) -> bytes:
    """Give the start page.

    Parameters
    ----------
    places
        ``fhir``, ``dicomweb``, ``dicom_host``, ``dicom_port``, ``ae_title``, ``data_dir``.
    """
    shown = {name: escape(str(place)) for name, place in places.items()}
    return START.substitute(shown).encode()
