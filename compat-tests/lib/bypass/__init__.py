"""Ways around a policy, tried by a guest and looked for on the host: `table.py` tries, `witness.py` sees, `suite.py` judges."""
