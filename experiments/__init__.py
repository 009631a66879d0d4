"""The laboratory's questions, one module each; what an experiment must define: `lab.execution.experiment`."""

EXPERIMENTS = ("intrinsic_dimension", "weight_differences", "training_run")
