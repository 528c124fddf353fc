"""getgan: take a trained GET-GAN generator into the ultrasound room."""

import os

__version__ = "0.1.0"

# ONNX Runtime's packages report their use to Microsoft and leave a file in the temporary folder, unless this
# is set before they are imported. Nothing may leave an ultrasound room.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
