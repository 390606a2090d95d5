"""Tables and pictures of runs, from the files of their run directories."""
