"""What users ask of finished runs."""
