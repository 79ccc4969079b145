"""The templates in ci/: valid by the schemas of GitHub and GitLab, and their scripts with every verdict of a gate."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ACTION, TEMPLATE = ROOT / "ci" / "github" / "action.yml", ROOT / "ci" / "gitlab.yml"
HOSTILE = "$(touch pwned) `touch pwned`; touch pwned #\"'"

# Stands for `edgeattn gate`: it writes its arguments, one a line, and a comment, and ends with the code of the test.
GATE = """#!/bin/sh
printf '%s\\n' "$@" > arguments
case "$FAKE_CODE" in 0|1|3) mkdir -p gate-report; echo '## verdict' > gate-report/gate.md;; esac
echo '::error::from a bundle'
exit "$FAKE_CODE"
"""


@pytest.fixture
def programs(tmp_path):
    """A folder of programs that stand for those of a runner."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "edgeattn").write_text(GATE)
    (folder / "edgeattn").chmod(0o755)
    return folder


def run(shell, script, folder, programs, **variables):
    environment = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **variables}
    return subprocess.run(
        [*shell, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("file", "options"),
    [
        (ACTION, ["--builtin-schema", "vendor.github-actions"]),
        (TEMPLATE, ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"]),
    ],
    ids=["github", "gitlab"],
)
def test_a_template_is_valid(file, options, tmp_path):
    if importlib.util.find_spec("check_jsonschema") is None:
        pytest.skip("check-jsonschema is not installed, which has the schemas of GitHub and GitLab")
    shown = tmp_path / file.name  # the schema lets a hidden job of GitLab have any key
    shown.write_text(file.read_text().replace(".edgeattn-gate:", "gate:"))
    command = [sys.executable, "-m", "check_jsonschema", *options, str(shown)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# --- GitHub -------------------------------------------------------------------------------------------------


@pytest.fixture
def gate_step():
    (step,) = [each for each in yaml.safe_load(ACTION.read_text())["runs"]["steps"] if each.get("id") == "gate"]
    return step


@pytest.fixture
def on_github(tmp_path, programs, gate_step):
    """Runs the step with the gate as GitHub does; returns the process, its outputs and its summary."""

    def step(code, **given):
        variables = {"BUNDLE": "candidate", "BASELINE": "main", "BASELINE_DIGEST": "", "ADVISORY": "", "QUICK": "true",
                     "INCONCLUSIVE": "warn", "OUT": "gate-report"} | given  # fmt: skip
        assert variables.keys() == gate_step["env"].keys()
        files = {"GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
        shell = ["bash", "--noprofile", "--norc", "-e"]
        done = run(shell, gate_step["run"], tmp_path, programs, FAKE_CODE=str(code), **files, **variables)
        read = [Path(file).read_text() if Path(file).exists() else "" for file in files.values()]
        return done, dict(line.split("=") for line in read[0].splitlines()), read[1]

    return step


@pytest.mark.parametrize(
    ("code", "inconclusive", "ends_with", "verdict", "said"),
    [
        (0, "warn", 0, "PASS", None),
        (1, "warn", 1, "FAIL", "::error::edgeattn gate: the bundle is worse"),
        (2, "warn", 2, "", "::error::edgeattn gate could not judge (exit code 2)"),
        (3, "warn", 0, "INCONCLUSIVE", "::warning::edgeattn gate: INCONCLUSIVE"),
        (3, "fail", 3, "INCONCLUSIVE", "::error::edgeattn gate: INCONCLUSIVE"),
        (4, "warn", 4, "", "::error::edgeattn gate: the baseline does not run here"),
        (5, "warn", 5, "", "::error::edgeattn gate could not judge (exit code 5)"),
    ],
)
def test_each_exit_code_on_github(on_github, code, inconclusive, ends_with, verdict, said):
    done, outputs, summary = on_github(code, INCONCLUSIVE=inconclusive)
    assert done.returncode == ends_with, done.stderr
    assert outputs == {"verdict": verdict, "exit-code": str(code)}
    assert summary == ("## verdict\n" if code in (0, 1, 3) else "")
    stop, inside, end, *after = done.stdout.splitlines()
    assert inside == "::error::from a bundle"
    assert end == f"::{stop.removeprefix('::stop-commands::')}::"
    assert len(end) > 32
    assert [line.startswith(said) for line in after] == ([True] if said else [])


def test_a_comment_of_an_earlier_run_is_not_shown(on_github, tmp_path):
    (tmp_path / "gate-report").mkdir()
    (tmp_path / "gate-report" / "gate.md").write_text("## PASS\n")
    assert on_github(4)[2] == ""


def test_inputs_on_github_are_arguments_and_never_commands(on_github, tmp_path):
    given = dict.fromkeys(("BUNDLE", "BASELINE", "BASELINE_DIGEST"), HOSTILE)
    done, *_ = on_github(0, **given, ADVISORY="p50 *", QUICK="false")
    assert done.returncode == 0
    assert (tmp_path / "arguments").read_text().splitlines() == [
        *("gate", "--baseline", HOSTILE, "--out", "gate-report", "--baseline-digest", HOSTILE),
        *("--advisory", "p50", "--advisory", "*", "--", HOSTILE),
    ]
    assert not (tmp_path / "pwned").exists()
    assert on_github(0, INCONCLUSIVE="$(touch pwned)")[0].returncode == 2
    assert not (tmp_path / "pwned").exists()


def test_no_script_has_an_expression_and_every_input_is_used():
    document = yaml.safe_load(ACTION.read_text())
    steps = document["runs"]["steps"]
    assert [step["name"] for step in steps if "${{" in step.get("run", "")] == []
    text = str(steps)
    assert [name for name in document["inputs"] if f"inputs.{name}" not in text] == []
    used = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", each) for each in used), used


# --- GitLab -------------------------------------------------------------------------------------------------


@pytest.fixture
def job():
    return yaml.safe_load(TEMPLATE.read_text())[".edgeattn-gate"]


@pytest.fixture
def on_gitlab(tmp_path, programs, job):
    """Runs the job's script as GitLab does, with the template's own variables but for those that are given."""

    def script(code, **given):
        variables = job["variables"] | {"EDGEATTN_BUNDLE": "candidate", "EDGEATTN_INSTALL": ""} | given
        assert variables.keys() == job["variables"].keys()
        (text,) = job["script"]
        ci = {"CI_JOB_TOKEN": "t", "CI_API_V4_URL": "https://api", "CI_PROJECT_ID": "7"}
        return run(["sh"], text, tmp_path, programs, FAKE_CODE=str(code), **ci, **variables)

    return script


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5])
def test_gitlab_gets_the_exit_code_and_allows_only_an_inconclusive_gate(on_gitlab, job, code):
    assert on_gitlab(code).returncode == code
    assert job["allow_failure"] == {"exit_codes": [3]}


def test_variables_on_gitlab_are_arguments_and_never_commands(on_gitlab, tmp_path):
    given = dict.fromkeys(("EDGEATTN_BUNDLE", "EDGEATTN_BASELINE", "EDGEATTN_BASELINE_DIGEST"), HOSTILE)
    assert on_gitlab(0, **given, EDGEATTN_ADVISORY="p50 *").returncode == 0
    assert (tmp_path / "arguments").read_text().splitlines() == [
        *("gate", "--baseline", HOSTILE, "--out", "gate-report", "--quick", "--baseline-digest", HOSTILE),
        *("--advisory", "p50", "--advisory", "*", "--", HOSTILE),
    ]
    assert not (tmp_path / "pwned").exists()


def test_gitlab_s_baseline_comes_from_the_package_registry(on_gitlab, tmp_path, programs):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "baseline.json").write_text("{}")
    subprocess.run(["tar", "-czf", tmp_path / "sent.tar.gz", "-C", tmp_path / "saved", "."], check=True)
    (programs / "curl").write_text(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > asked\ncp sent.tar.gz edgeattn-baseline.tar.gz\n"
    )
    (programs / "curl").chmod(0o755)
    assert on_gitlab(0, EDGEATTN_BASELINE_PACKAGE="base/1/b.tar.gz").returncode == 0
    assert (tmp_path / "edgeattn-baseline" / "baseline.json").exists()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[-1] == "https://api/projects/7/packages/generic/base/1/b.tar.gz"
    (programs / "curl").write_text("#!/bin/sh\nexit 22\n")
    (tmp_path / "arguments").unlink()
    assert on_gitlab(0, EDGEATTN_BASELINE_PACKAGE="base/1/b.tar.gz").returncode == 22
    assert not (tmp_path / "arguments").exists()
