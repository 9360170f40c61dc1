"""What people look at: the report, its charts and pictures, and worklists for viewers."""
