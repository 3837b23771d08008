"""Load, check and compile the cards with a site's overlay, at start."""
