"""The length from which each attention variant is faster than the best dense form on this device."""
