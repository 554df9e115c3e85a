"""The pipeline behind the routes."""
