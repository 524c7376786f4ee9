"""Made from the catalogue by ``python -m dev.schemas``; do not edit."""
