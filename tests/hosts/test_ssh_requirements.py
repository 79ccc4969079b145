from __future__ import annotations

import importlib.metadata

import pytest

from edgeattn.hosts.ssh.requirements import requirements

REQUIRES = [
    "click>=8.1",
    'tomli; python_version < "3.11"',
    'polygraphy<0.54,>=0.53; extra == "tensorrt"',
    'tensorrt>=8.5; platform_machine == "x86_64" and extra == "tensorrt"',
    'openvino>=2025.0; extra == "openvino"',
]


@pytest.fixture(autouse=True)
def _metadata(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIRES)


def test_a_jetson_gets_what_drives_tensorrt_and_not_tensorrt_itself():
    jetson = {"machine": "aarch64", "python": (3, 10, 12)}
    assert requirements("tensorrt", **jetson) == ["polygraphy<0.54,>=0.53"]
    assert requirements("tensorrt", machine="x86_64", python=(3, 10, 12)) == ["polygraphy<0.54,>=0.53", "tensorrt>=8.5"]


def test_the_device_half_is_that_of_the_python_there():
    assert requirements(None, machine="aarch64", python=(3, 10, 12)) == ["click>=8.1", "tomli"]
    assert requirements(None, machine="aarch64", python=(3, 12, 0)) == ["click>=8.1"]
