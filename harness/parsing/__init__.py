"""From model text to a label, or to a named failure."""
