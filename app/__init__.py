"""Elocute: self-hosted pronunciation analysis."""
