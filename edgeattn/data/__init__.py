"""Reads samples: files, the hub, and two sets that need no download."""
