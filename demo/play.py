"""Play a pathway on a running server: everybody over HTTP, the scanner over DICOM.

Nothing here knows the server from inside: what was done is read back through the same public
addresses, and a step counts only when that shows it.
"""

from rich.console import Console

from demo.people import People
from demo.primary import STEPS, Primary
from demo.progress import Display
from fhir_server.settings import Settings


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
    with Display(console, title, STEPS) as display:
        async with People(settings) as people:
            story = Primary(settings, people, display)
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
