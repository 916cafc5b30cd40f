"""Readers of models in other formats, one format a file; `directory` writes what they read."""
