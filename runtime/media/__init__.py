"""Frames in and out: pictures, folders, video files, cameras."""
