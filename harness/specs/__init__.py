"""The models of YAML files and templates."""
