"""A FastAPI application whose tools are monitored."""
