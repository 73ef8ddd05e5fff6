"""Places elsewhere: buckets and shared folders. They move bytes by name and parse no object."""
