"""Where samples come from: files, the hub, and two sets that need no download."""
