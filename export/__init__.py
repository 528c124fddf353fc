"""Checkpoint → ONNX → precisions → gate → bundle; and the demo, which goes on to the pictures."""
