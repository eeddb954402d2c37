"""Write the documents: ``python -m openapi``."""

import json
from pathlib import Path
from typing import Final

from openapi import authorization, dicomweb, fhir

FOLDER: Final = Path(__file__).parent
DOCUMENTS: Final = {
    "fhir.json": fhir.document,
    "dicomweb.json": dicomweb.document,
    "authorization.json": authorization.document,
}


def written(name: str) -> str:
    """Give the text of a document."""
    return json.dumps(DOCUMENTS[name](), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write them all."""
    for name in DOCUMENTS:
        (FOLDER / name).write_text(written(name))


if __name__ == "__main__":
    main()
