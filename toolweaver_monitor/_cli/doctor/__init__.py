"""`toolweaver-monitor doctor`: check the settings, the sinks and the endpoint."""
