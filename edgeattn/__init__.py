"""edgeattn: efficient attention models for edge devices.

Give it an attention model, a device and a budget; it returns a bundle that runs there, with the evidence that
it is faster, smaller or cheaper and still right. `edgeattn/pipeline.py` is the page to read first.
"""

import os as _os
import sys as _sys

# ONNX Runtime 1.32 reads this once, when it is imported. Without it, each process writes events and a device ID to
# ~/.cache/Microsoft and .ses to the temporary folder, may send the events, and complains where it cannot write.
_os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# OpenVINO and NNCF send events and write an ID to ~/intel when they are imported, unless this package is missing. They
# have no switch for it: they only ask a file in the user's home.
_sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

__version__ = "0.1.0"
