"""Play a pathway on a running server: everybody over HTTP, the scanner over DICOM.

Nothing here knows the server from inside: what was done is read back through the same public
addresses, and a step counts only when that shows it.
"""

from collections.abc import Mapping
from typing import Final

from rich.console import Console

from demo.handed_over import OutsourcedAcquisition, OutsourcedBoth, OutsourcedReporting
from demo.people import People
from demo.primary import Primary
from demo.progress import Display
from demo.reviewing import FormalReview, InformalReview
from fhir_server.settings import Settings

PATHWAYS: Final[Mapping[str, type[Primary]]] = {
    "primary": Primary,
    "outsourced-acquisition": OutsourcedAcquisition,
    "outsourced-reporting": OutsourcedReporting,
    "outsourced-acquisition-and-reporting": OutsourcedBoth,
    "review-informal": InformalReview,
    "review-formal": FormalReview,
}
"""What can be played: the figures 4-1 to 4-6 of the requirements."""


async def play(
    settings: Settings, pathway: str = "primary", console: Console | None = None
) -> bool:
    """Play a pathway with a progress display.

    Returns
    -------
    :
        Whether every step was done and read back over HTTP and DICOM.
    """
    console = console or Console()
    title = f"Isocentre demonstration: the {pathway} pathway"
    kind = PATHWAYS[pathway]
    with Display(console, title, kind.steps) as display:
        async with People(settings) as people:
            story = kind(settings, people, display)
            try:
                await story.play()
            except Exception as error:
                console.print(f"[red]The play stopped: {error}", highlight=False)
    display.summary(story.facts)
    done = bool(display.steps) and all(step.done for step in display.steps) and story.ended
    if done:
        console.print("\nTry it (each line works as printed):\n", highlight=False)
        for line in story.commands():
            console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
    return done
