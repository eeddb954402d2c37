"""Return keys: what an answer to a query takes of all that is known.

References
----------
* PS3.4 Sections C.2.2.1 (Attribute Matching), K.2.2.1 (Modality Worklist)
* PS3.3 Section C.12.1.1.2 (Character Set)
"""

from typing import Final

from pydicom.dataset import Dataset

_TEXT: Final = frozenset({"SH", "LO", "ST", "LT", "UC", "UT", "PN"})


def answer(keys: Dataset, item: Dataset) -> Dataset:
    """Pick from an item what the identifier asks for, unknown attributes with no value.

    An empty sequence key, or one with an empty item, asks for all of it (PS3.4 Section K.2.2.1.2).
    """
    picked = Dataset()
    for element in keys:
        if element.keyword in {"SpecificCharacterSet", ""}:
            continue
        found = item.get(element.tag)
        if element.VR == "SQ":
            inner = element.value[0] if element.value else Dataset()
            items = found.value if found is not None else ()
            value = [answer(inner, one) if len(inner) else one for one in items]
            picked.add_new(element.tag, "SQ", value)
        elif found is None:
            picked.add_new(element.tag, element.VR, None)
        else:
            picked.add(found)
    if (character_set := character_set_for(picked)) is not None:
        picked.SpecificCharacterSet = character_set
    return picked


def character_set_for(ds: Dataset) -> str | None:
    """Name the smallest character set that holds all text (PS3.3 Section C.12.1.1.2)."""
    everything = "".join(str(element.value) for element in ds.iterall() if element.VR in _TEXT)
    if everything.isascii():
        return None
    try:
        everything.encode("latin-1")
    except UnicodeEncodeError:
        return "ISO_IR 192"
    return "ISO_IR 100"
