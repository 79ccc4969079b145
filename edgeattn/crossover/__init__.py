"""From which length on each attention variant pays on this device, beside the best dense form."""
