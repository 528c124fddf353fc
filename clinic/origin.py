"""What is kept of a DICOM file beside its frames: whose they are, of which study, and what made them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# What a Secondary Capture of a frame has in common with the file, or says of it as its source: out of the
# modules SOP Common, Patient, General Study, Patient Study and General Equipment (PS3.3 A.8.1). A list, since
# all elements may be hundreds of megabytes of the device's own.
KEPT = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC", "SOPClassUID", "SOPInstanceUID", "InstanceNumber"),
    *("PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "OtherPatientIDsSequence"),
    *("PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight", "PregnancyStatus"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    *("IssuerOfAccessionNumberSequence", "ReferringPhysicianName", "SeriesInstanceUID", "Modality"),
    *("SeriesNumber", "ContentDate", "ContentTime", "AcquisitionDateTime", "PatientOrientation"),
    *("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"),
    *("InstitutionName", "StationName", "BurnedInAnnotation", "Laterality"),
)


@dataclass(frozen=True)
class Origin:
    """One for all frames of a file; whoever changes the data set copies it first."""

    # The elements of KEPT that the file has, and how its pixels lay; no pixels. It names the patient, and so
    # it has no place in this object's text.
    dataset: Dataset = field(repr=False)
