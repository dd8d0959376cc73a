"""Trains with LightGBM. It knows nothing of Noria, and runs by itself as well.

python train.py --data rows.parquet --target hours --out model
"""

import argparse
import json
from pathlib import Path

import lightgbm as lgb
import pandas as pd


def main() -> None:
    """Read rows, fit, and save the model in LightGBM's own format."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="Parquet file")
    parser.add_argument("--target", required=True, help="column to predict")
    parser.add_argument("--parameters", type=Path, help="JSON file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    given = parser.parse_args()
    rows = pd.read_parquet(given.data)
    parameters = json.loads(given.parameters.read_text()) if given.parameters else {}
    rounds = parameters.pop("rounds", 100)
    fixed = {"objective": "regression", "seed": given.seed, "deterministic": True, "verbose": -1}
    booster = lgb.train(
        {**fixed, **parameters},
        lgb.Dataset(rows.drop(columns=given.target), rows[given.target]),
        num_boost_round=rounds,
    )
    given.out.mkdir(parents=True, exist_ok=True)
    booster.save_model(given.out / "model.lgb")
    print(f"{booster.num_trees()} trees from {len(rows):,} rows")  # noqa: T201 - a script's answer


if __name__ == "__main__":
    main()
