"""Findings of an analysis as text: a template per analysis, filled from its typed result."""
