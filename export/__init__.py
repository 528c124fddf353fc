"""Checkpoint → ONNX → engine. Empty until the export lands; see CHANGELOG.md."""
