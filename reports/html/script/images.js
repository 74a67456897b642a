// Pictures of two candidates under one label map, and of all label maps at once.
