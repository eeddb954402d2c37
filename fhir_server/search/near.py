"""The special parameter ``near``: places within a distance of a point.

``near=latitude|longitude|distance|units``; the distance is 10 km where none is given. Distances are
along the surface of a sphere, which is off by half a per cent at most.

References
----------
* FHIR R4 location, "Search Parameters", near: "[latitude]|[longitude]|[distance]|[units]"
* EPSG:7048, the authalic radius of the Earth
"""

import math
from decimal import Decimal
from typing import Any, Final, NamedTuple

from fhir_server.search import number
from fhir_server.search.escaping import plain, split
from resources.errors import Invalid

RADIUS: Final = 6371.007
"""Of the Earth, in kilometres."""

DEFAULT_DISTANCE: Final = 10.0

UNITS: Final = {
    "": 1.0, "km": 1.0, "m": 0.001, "[mi_i]": 1.609344, "[mi_us]": 1.609347, "[nmi_i]": 1.852,
}  # fmt: skip
"""Kilometres of each unit of length (UCUM)."""

DISTANCE: Final = (
    "2 * {radius} * asin(least(1, sqrt("
    "power(sind(({latitude}::float8 - {x}) / 2), 2)"
    " + cosd({latitude}::float8) * cosd({x}) * power(sind(({longitude}::float8 - {y}) / 2), 2))))"
)
"""The haversine formula, in SQL."""


class Near(NamedTuple):
    """A point in degrees, and how far around it, in kilometres."""

    latitude: float
    longitude: float
    distance: float


def read(text: str, code: str = "") -> Near:
    """Read a point and a distance.

    Examples
    --------
    >>> read("51.5|-0.1|2|km")
    Near(latitude=51.5, longitude=-0.1, distance=2.0)

    Raises
    ------
    Invalid
        It is not a point on the Earth with a distance.
    """
    parts = [plain(each) for each in split(text, "|")]
    unit = parts[3] if len(parts) > 3 else ""
    try:
        latitude, longitude = float(parts[0]), float(parts[1])
        distance = float(parts[2]) if len(parts) > 2 and parts[2] else DEFAULT_DISTANCE
    except (ValueError, IndexError):
        raise Invalid(f"{code} is latitude|longitude|distance|units", at=code) from None
    on_earth = abs(latitude) <= 90 and abs(longitude) <= 180 and 0 <= distance < math.inf
    if len(parts) > 4 or unit not in UNITS or not on_earth:
        raise Invalid(f"{code} is not a point with a distance in km, m or miles", at=code)
    return Near(latitude, longitude, distance * UNITS[unit])


def condition(latitude: str, longitude: str, x: str, y: str, most: str) -> str:
    """Write in SQL that a place lies within `most` kilometres; the latitude alone goes first."""
    degrees = math.degrees(1 / RADIUS)
    far = DISTANCE.format(radius=RADIUS, latitude=latitude, longitude=longitude, x=x, y=y)
    return (
        f"{latitude} >= ({x} - {most} * {degrees})::numeric"
        f" and {latitude} <= ({x} + {most} * {degrees})::numeric and {far} <= {most}"
    )


def place(element: Any) -> tuple[Decimal, Decimal] | None:
    """Give latitude and longitude of Location.position; None if they are not there."""
    if element.__class__ is not dict:
        return None
    latitude = number.range(element.get("latitude"))
    longitude = number.range(element.get("longitude"))
    return None if latitude is None or longitude is None else (latitude[0], longitude[0])
