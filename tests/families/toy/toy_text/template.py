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
      - {metric: accuracy, min: 0.7}
    champion:
      - {metric: accuracy}
"""
_DATA = '''\
"""Makes the texts."""

import random
from pathlib import Path

WORDS = {"good": ["fine", "great", "Nice", "the"], "bad": ["poor", "dull", "Awful", "the"]}
chance = random.Random(0)
lines = []
for _ in range(800):
    label = chance.choice(["good", "bad"])
    words = [chance.choice(WORDS[label]) for _ in range(3)]
    lines.append(label + "\\t" + " ".join([*words, chance.choice(WORDS["bad"])]))
Path(__file__).with_name("lines.tsv").write_text("\\n".join(lines), "utf-8")
'''
TEMPLATE = {"model.yaml": _MODEL, "data.py": _DATA}
