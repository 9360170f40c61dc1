"""What only data sets of masks need: simulated noise in copies, foreground voxels and maps of each case."""
