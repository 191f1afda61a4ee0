"""Dashboards and alerts, made from the catalogue of metrics."""
