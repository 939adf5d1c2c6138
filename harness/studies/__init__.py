"""Many runs that answer one question: searches, recipes, transfer tables, curves."""
