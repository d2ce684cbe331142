"""What every room may use and that uses none: errors, settings, files, progress."""

import os

# ONNX Runtime sends telemetry from its first import on, whichever room imports it first; every room imports base.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
