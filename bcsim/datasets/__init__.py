"""Datasets of pairs: manifests, files, importers, exporters."""
