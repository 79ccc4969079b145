"""The commit that this project's own gate compares with, and what the commits since then accept."""

from __future__ import annotations

import os
import subprocess

import pytest

from benchmarks.own_gate import accepted, base_commit, unpack


@pytest.fixture
def repository(tmp_path):
    def git(*arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
        environment = {**os.environ, **dates}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    dates = {}

    def commit(message, hour=0):
        dates["GIT_COMMITTER_DATE"] = f"2026-01-01T{hour:02}:00:00Z"
        (tmp_path / "file").write_text(message)
        git("add", "file")
        git("commit", "-q", "-m", message)
        return git("rev-parse", "HEAD")

    git("init", "-q", "-b", "main")
    return tmp_path, git, commit


def test_a_branch_is_compared_with_where_it_left_main(repository):
    root, git, commit = repository
    commit("first")
    left = commit("second")
    git("checkout", "-q", "-b", "branch")
    commit("third")
    commit("fourth")
    assert base_commit(root) == left


def test_main_is_compared_with_what_it_was_before_the_commits_that_landed_together(repository):
    root, _, commit = repository
    commit("first", hour=1)
    assert base_commit(root) is None
    second = commit("second", hour=2)
    commit("third", hour=9)
    commit("fourth", hour=10)
    assert base_commit(root) == second


def test_a_young_main_is_compared_with_the_commit_before(repository):
    root, _, commit = repository
    first = commit("first")
    commit("second")
    assert base_commit(root) == first


def test_only_commits_after_the_base_accept_a_worse_metric(repository):
    root, _, commit = repository
    base = commit("first\n\nAccepts-worse: disk, it is larger")
    commit("second\n\nAccepts-worse: nodes, the head is exported unfused")
    commit("third, which says nothing about Accepts-worse: accuracy")
    assert accepted(base, root) == ["nodes"]


def test_the_files_of_the_base_are_unpacked_beside_the_checkout(repository, tmp_path_factory):
    root, _, commit = repository
    base = commit("first")
    commit("second")
    tree = unpack(base, tmp_path_factory.mktemp("base"), root)
    assert (tree / "file").read_text() == "first"
    assert (root / "file").read_text() == "second"
