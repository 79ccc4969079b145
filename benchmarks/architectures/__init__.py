"""Every architecture of the installed transformers, tiny and seeded: converted, compared, exported."""
