"""Text out of files: one small module a format, read within limits and with offsets to cite by."""
