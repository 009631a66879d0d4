"""deltalab: a laboratory for the theory of delta tuning."""
