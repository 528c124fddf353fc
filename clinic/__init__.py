"""DICOM in: the frames of a file, cropped to the scan, and the examples that pydicom carries."""
