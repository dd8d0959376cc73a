"""What ``noria init`` writes for the two families: ``data.py N`` writes the first N texts."""

_MODEL = """\
apiVersion: noria.dev/v1alpha1
kind: Model
metadata:
  name: $name
spec:
  task: {family: FAMILY}
  data:
    source:
      lines: {file: lines.tsv}
    validation: {minRows: 100}
  gates:
    bounds:
      - {metric: METRIC, min: 0.5}
    champion:
      - {metric: METRIC, maxDrop: 0}
"""
_SEARCH = '''\
"""Makes queries: each word stands for an item, which is wanted in four of five."""

import random
import sys
from pathlib import Path

chance = random.Random(0)
words = {f"word{number}": number % 20 for number in range(300)}
lines = []
for _ in range(int(sys.argv[1]) if sys.argv[1:] else 600):
    query = chance.choices(list(words), k=4)
    wanted = {words[word] if chance.random() < 0.8 else chance.randrange(20) for word in query}
    lines.append(" ".join(map(str, sorted(wanted))) + "\\t" + " ".join(query))
Path(__file__).with_name("lines.tsv").write_text("\\n".join(lines), "utf-8")
'''
_NAMES = '''\
"""Makes texts: people have two names, places one or two; "may" is a month or a person."""

import random
import sys
from pathlib import Path

chance = random.Random(0)


def person():
    first = chance.choice([f"ann{number}" for number in range(400)] + ["may"] * 20)
    return [(first, "B-PERSON"), (f"lee{chance.randrange(400)}", "I-PERSON")]


def place():
    found = [(f"port{chance.randrange(200)}", "B-PLACE")]
    return [*found, ("bay", "I-PLACE")] if chance.random() < 0.3 else found


def words(text):
    return [(word, "O") for word in text.split()]


lines = []
for _ in range(int(sys.argv[1]) if sys.argv[1:] else 600):
    kind = chance.randrange(3)
    if kind == 0:
        said = [*person(), *words("met"), *person(), *words("in"), *place()]
    elif kind == 1:
        said = [*words("the road to"), *place(), *words("was open in may")]
    else:
        said = [*words("in may"), *person(), *words("left")]
    text, tags = zip(*said)
    lines.append(" ".join(tags) + "\\t" + " ".join(text))
Path(__file__).with_name("lines.tsv").write_text("\\n".join(lines), "utf-8")
'''
SEARCH = {
    "model.yaml": _MODEL.replace("FAMILY", "toy-search").replace("METRIC", "ndcg-at-10"),
    "data.py": _SEARCH,
}
NAMES = {
    "model.yaml": _MODEL.replace("FAMILY", "toy-names").replace("METRIC", "span-f1"),
    "data.py": _NAMES,
}
