"""What is installed: a wheel with everything in it, and one version everywhere."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import attendee
import attendee_client

_ROOT = Path(__file__).parent.parent
_PACKAGE = _ROOT / "src" / "attendee"

# It runs processes of its own: side by side they would only make each other slow.
pytestmark = pytest.mark.xdist_group("processes")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source tree with what is installed here; nothing is fetched."""
    return _built(_ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(directory)
    return directory


def _built(source: Path, target: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    return wheel


def _sources(directory: Path, package: str) -> set[str]:
    return {
        f"{package}/{path.relative_to(directory)}"
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_everything_is_in_the_wheel(wheel: Path) -> None:
    """Every module, template, static file and migration, and the example with its client; no test and no document."""
    example = "attendee/demo/example"
    wanted = (
        _sources(_PACKAGE, "attendee")
        | _sources(_ROOT / "examples" / "notetaker" / "notetaker", f"{example}/notetaker")
        | _sources(_ROOT / "clients" / "python" / "src" / "attendee_client", f"{example}/attendee_client")
    )
    with zipfile.ZipFile(wheel) as files:
        assert {name for name in files.namelist() if ".dist-info/" not in name} == wanted
    for kind in (".html", ".css", ".js", ".svg", ".mako", ".sql"):
        assert any(name.endswith(kind) for name in wanted), kind


def test_one_version(wheel: Path, unpacked: Path) -> None:
    """The wheel, the command and the changelog say what `attendee.__version__` says; the licence is in it."""
    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    said = Parser().parsestr(metadata.read_text())
    assert (said["Name"], said["Version"]) == ("attendee", attendee.__version__)
    assert (metadata.parent / "licenses" / "LICENSE").read_text() == (_ROOT / "LICENSE").read_text()
    releases = re.findall(r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", (_ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == attendee.__version__
    assert "version" not in tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]


def test_the_unpacked_wheel_runs_by_itself(unpacked: Path, tmp_path: Path) -> None:
    """From any directory, its own modules are used, its schema is found, and the demo finds its example."""
    program = (
        "import attendee, attendee.demo.stage as stage; from attendee.__main__ import main; "
        "print(attendee.__file__, *stage._EXAMPLE, main(['migrate']), main(['migrate', '--check']))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(unpacked)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    package = unpacked / "attendee"
    assert done.stdout.splitlines()[-1] == f"{package / '__init__.py'} {package / 'demo' / 'example'} 0 0"


def test_the_client_is_a_package_of_its_own(tmp_path: Path) -> None:
    """It needs nothing but the standard library, has its types with it, and the service's version."""
    with zipfile.ZipFile(_built(_ROOT / "clients" / "python", tmp_path)) as files:
        names = files.namelist()
        (metadata,) = [name for name in names if name.endswith("METADATA")]
        said = Parser().parsestr(files.read(metadata).decode())
    assert {name for name in names if ".dist-info/" not in name} == _sources(
        _ROOT / "clients" / "python" / "src" / "attendee_client", "attendee_client"
    )
    assert said.get_all("Requires-Dist") == ["aiohttp; extra == 'async'"]
    assert said["Version"] == attendee_client.__version__
