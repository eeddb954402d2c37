"""Who is asking, and may they? One gate for every way in."""
