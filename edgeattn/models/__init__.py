"""Where a teacher comes from, and how a student is made, saved and reloaded."""
