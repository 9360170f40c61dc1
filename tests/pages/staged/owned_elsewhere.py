"""Pages that tests of their subject read and run."""

from __future__ import annotations

from tests.pages.owners import Elsewhere, Page, Parsed, Text

HOURS = Parsed("takes hours; tests/e2e/test_benchmarks_run.py runs the script small")

PAGES = (
    Page("docs/python.md", others={"python": Elsewhere("tests/e2e/test_python_pages.py::test_the_page_runs_from_top_to_end")}),
    Page(
        "docs/arrays.md",
        others={
            "sh": HOURS,
            "python": Elsewhere("tests/e2e/test_arrays_page.py::test_the_code_of_the_page"),
            "text": Elsewhere("tests/e2e/test_arrays_page.py::test_the_code_of_the_page"),
        },
    ),
    Page(
        "docs/losses.md",
        others={
            "sh": HOURS,
            "python": Elsewhere("tests/e2e/test_loss_examples.py::test_the_code_on_the_page_runs"),
        },
    ),
    Page(
        "docs/export.md",
        others=dict.fromkeys(("sh", "python"), Elsewhere("tests/e2e/test_export_page.py::test_the_page_from_top_to_end")),
    ),
    Page(
        "docs/training.md",
        others={
            "DEBRIDE_DATA": HOURS,
            **dict.fromkeys(
                ("sh", "python"), Elsewhere("tests/e2e/test_training_page.py::test_the_commands_run_from_top_to_end")
            ),
        },
    ),
    Page(
        "docs/cluster.md",
        others={
            "python -m": HOURS,
            "pip install": Parsed("needs a cluster; the scripts below it run on one"),
            "bash": Elsewhere("tests/cluster/test_cluster_page.py::test_the_scripts_run"),
        },
    ),
    Page(
        "docs/dicom.md",
        others={
            "json": Elsewhere("tests/dicom/test_dicom_page.py::test_the_example_of_segments_json_is_read"),
            "sh": Elsewhere("tests/dicom/test_dicom_page.py::test_the_commands_of_the_page"),
            "text": Text("a folder, as the commands leave it"),
        },
    ),
    Page("docs/architecture.md", others={"text": Text("the rooms of the house")}),
)
