"""Said: the data set of a request, read to its end before anything is made of it.

pydicom reads a value when it is asked for it, so that what cannot be read would fail wherever
somebody comes upon it first.

References
----------
* PS3.7 Section 6.3 (DIMSE message structure); threats T15
"""

from typing import Any

from pydicom.dataset import Dataset

from resources.errors import Invalid


def said(event: Any, part: str) -> Dataset:
    """Give the data set of a request, of which every value can be read.

    Parameters
    ----------
    part
        What pynetdicom calls it: ``identifier``, ``attribute_list``, ``modification_list`` or
        ``action_information``.

    Raises
    ------
    Invalid
        It is missing, or it is none.
    """
    try:
        ds: Dataset = getattr(event, part)
        for element in ds.iterall():
            _ = element.value
    except Warning:  # where warnings are errors: pydicom complains of a value, and goes on
        return ds
    except Exception as error:  # whatever a parser makes of hostile bytes
        raise Invalid("the data set of this request cannot be read") from error
    return ds
