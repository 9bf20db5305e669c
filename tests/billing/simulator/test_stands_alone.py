import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.billing.simulator_process import ROOT

MODULES = sorted((ROOT / "billing" / "simulator").glob("*.py"))
ALLOWED = set(sys.stdlib_module_names) | {"stripe", "billing"}


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_a_module_imports_nothing_of_the_project_but_the_simulator(file: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")

    assert {name.split(".")[0] for name in imported} <= ALLOWED
    assert all(name.startswith("billing.simulator") for name in imported if name.split(".")[0] == "billing")


def test_it_runs_without_django() -> None:
    program = "import sys, billing.simulator.server; print(sorted(set(sys.modules) & {'django', 'djstripe'}))"

    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "[]"


def test_its_command_says_what_it_takes() -> None:
    command = [sys.executable, "-m", "billing.simulator", "--help"]

    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    for option in ("--port", "--data", "--strict"):
        assert option in shown
