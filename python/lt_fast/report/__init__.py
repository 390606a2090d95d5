"""Tables and plots of runs, from the files of their run directories."""
