"""The functions of files and folders that ``import debride`` shows; nothing large is imported with them."""

from debride.api import (
    auditing,
    benching,
    calibrating,
    choices,
    comparing,
    corrupting,
    datasets,
    evaluating,
    exporting,
    known_sets,
    predicting,
    repairing,
    reviewing,
    signing_off,
    trainings,
)
from debride.api.calls import public
from debride.api.dataset_shown import dataset_html
from debride.types import Dataset

open_dataset = public(datasets.open_dataset)
check_dataset = public(datasets.check_dataset)
corrupt_dataset = public(corrupting.corrupt_dataset)
choose_cases = public(choices.choose_cases)
train = public(trainings.train)
compare_runs = public(comparing.compare_runs)
predict = public(predicting.predict)
evaluate = public(evaluating.evaluate)
export_run = public(exporting.export_run)
calibrate = public(calibrating.calibrate)
audit_dataset = public(auditing.audit_dataset)
repair_dataset = public(repairing.repair_dataset)
review_audit = public(reviewing.review_audit)
list_changes = public(signing_off.list_changes)
run_bench = public(benching.run_bench)
known_datasets = public(known_sets.known_datasets)
convert_dataset = public(known_sets.convert_dataset)

Dataset.in_notebook = dataset_html
