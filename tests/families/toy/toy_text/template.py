"""What ``noria init`` writes for this family."""

_MODEL = """\
apiVersion: noria.dev/v1alpha1
kind: Model
metadata:
  name: $name
spec:
  task:
    family: toy-text
    options: {lowerCase: true}
  data:
    source:
      lines: {file: lines.tsv}
    validation: {minRows: 100}
  gates:
    bounds:
      - {metric: mae, max: 0.5}
      - {metric: within-half, min: 0.7}
    champion:
      - {metric: mae}
      - {metric: within-half}
"""
_DATA = '''\
"""Makes the texts."""

import random
from pathlib import Path

WORDS = {
    "fine": (1, 0), "calm": (1, -1), "Great": (2, 1), "the": (0, 0), "poor": (-1, 0), "Wild": (0, 2)
}
chance = random.Random(0)
lines = []
for _ in range(800):
    words = chance.choices(list(WORDS), k=4)
    said = (sum(WORDS[w][i] for w in words) + chance.gauss(0, 0.3) for i in range(2))
    lines.append("\\t".join([*(f"{value:.3f}" for value in said), " ".join(words)]))
Path(__file__).with_name("lines.tsv").write_text("\\n".join(lines), "utf-8")
'''
TEMPLATE = {"model.yaml": _MODEL, "data.py": _DATA}
