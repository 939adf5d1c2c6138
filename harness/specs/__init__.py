"""What the YAML files and templates say, checked."""
