"""Many runs that answer one question: searches, recipes, matrices, curves."""
