"""Robust evaluation: predictions under noise, named protocols, tables."""
