"""One run: planned, trained, predicted, timed."""
