"""Results of lm-evaluation-harness as runs of ours."""
