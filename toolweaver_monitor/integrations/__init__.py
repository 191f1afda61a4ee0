"""Orchestrators whose tools are run in more places than one class: one package each, imported when it is asked for."""
