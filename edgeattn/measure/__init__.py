"""Times the graphs that `edgeattn crossover` exports, on the device that they are for: `edgeattn measure`."""
