"""DICOM in, labelled pictures out. Empty until the clinic node lands; see CHANGELOG.md."""
