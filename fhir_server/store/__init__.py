"""What is kept: versions, the current state, the change log, and the only writer of them."""
