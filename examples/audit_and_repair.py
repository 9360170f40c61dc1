"""From a data set to a repaired one and a network trained on it; `# %%` begins a cell where an editor knows notebooks.

python examples/audit_and_repair.py DATASET PREDICTIONS OUT

`PREDICTIONS` holds a mask or probability map of every case, by a network that was not trained on it. Nothing is written into
`DATASET`, and OUT/audit/report.html shows what was found.
"""

import sys
from pathlib import Path

import debride

scans, predictions, out = map(Path, sys.argv[1:4])

# %% What is there, and can it be read?
checked = debride.check_dataset(scans)
for problem in checked.problems:
    print(problem.file, problem.problem, problem.remedy, sep=": ")
dataset = debride.open_dataset(scans)
print(dataset)

# %% Which labels are wrong?
audit = debride.audit_dataset(dataset, out / "audit", predictions=predictions)
for row in audit.ranking[:5]:
    print(f"{row['case']}: {row['kind']}, wrong with probability {row['wrong']:.2f}")
print(f"{len(audit.flagged)} of {len(audit.ranking)} labels are flagged; look at {audit.report}")

print(audit.said()[-1])  # what to do next

# %% A copy in which all is repaired that the audit is about as sure of as not
repaired = debride.repair_dataset(dataset, audit, out / "repaired", accept="all", confidence=0.4)
print(repaired)

# %% A network trained on the copy
run = debride.train("ce", repaired, out / "run", epochs=50, image_size=(256, 256))
print(f"best epoch: {run.best_epoch}")

# %% Its masks, measured against the repaired labels of the validation cases
masks = debride.predict(run, repaired, out / "masks", splits=["val"])
measured = debride.evaluate(masks, repaired, out / "measured", splits=["val"])
print(measured.markdown)
