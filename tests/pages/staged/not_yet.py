"""Pages whose stages are being built."""

from __future__ import annotations

import json

import yaml
from tests.pages.owners import Elsewhere, File, Page, Parsed, Read, Text

LATER = Parsed("is not on a stage yet")
LATER_TEXT = Text("is not read yet")
PARTS, FORMAT = "tests/unit/test_part_how_tos.py", "tests/unit/test_format_how_to.py"
YAML, JSON = Read(lambda text, stage: yaml.safe_load(text)), Read(lambda text, stage: json.loads(text))
METRIC = "tests/unit/test_metric_how_to.py"

PAGES = (
    Page("docs/audit.md", others={"sh": LATER, "text": LATER_TEXT}),
    Page("docs/bench.md", others={"sh": LATER, "yaml": YAML}),
    Page("docs/calibration.md", others={"sh": LATER}),
    Page("docs/choosing.md", others={"sh": LATER, "text": LATER_TEXT}),
    Page("docs/classification.md", others={"sh": LATER, "yaml": YAML}),
    Page("docs/data.md", others={"sh": LATER, "json": JSON, "yaml": YAML, "text": LATER_TEXT}),
    Page("docs/debias.md", others={"sh": LATER, "text": LATER_TEXT}),
    Page("docs/nnunet.md", others={"sh": LATER}),
    Page("docs/review.md", others={"sh": LATER}),
    Page("docs/how-to/format.md", others={"sh": LATER, "python": Elsewhere(f"{FORMAT}::test_the_test_of_a_page_passes")}),
    Page("docs/how-to/pixels.md", others={"sh": LATER, "python": Elsewhere(f"{FORMAT}::test_the_test_of_a_page_passes")}),
    Page("docs/how-to/metric.md", others={"python": Elsewhere(f"{METRIC}::test_its_own_test_passes")}),
    Page(
        "docs/how-to/method.md",
        others={
            "from dataclasses": File("my_module.py"),
            "sh": LATER,
            "python": Elsewhere(f"{PARTS}::test_the_method_keeps_the_contract"),
        },
    ),
    Page(
        "docs/how-to/noise.md",
        others={
            "from dataclasses": File("my_module.py"),
            "sh": LATER,
            "python": Elsewhere(f"{PARTS}::test_the_noise_corrupts"),
        },
    ),
    Page("docs/how-to/verb.md", others={"python": Elsewhere(f"{PARTS}::test_the_verb_answers")}),
)
