"""The laboratory's questions, one module each. A module that defines an `Experiment` is found by being here."""
