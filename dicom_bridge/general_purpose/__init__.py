"""The retired General Purpose Worklist: steps as older workstations list, claim and end them."""
