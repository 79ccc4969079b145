"""Devices reached over SSH, by the system's OpenSSH. `host.py` is the page to read first."""
