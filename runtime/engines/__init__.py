"""TensorRT engines: built, proven, kept and rebuilt on the machine that runs them."""
