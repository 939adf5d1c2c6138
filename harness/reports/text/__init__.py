"""Findings of an analysis as text."""
