"""What runs beside the ultrasound machine: images and metrics, on numpy and OpenCV alone."""
