"""Fuzz targets: random and hostile arguments for everything that crosses a language boundary."""
