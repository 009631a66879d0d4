"""What is installed works by itself: a wheel of this tree, beside folders that are named as its packages are."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("deltalab", "lab", "experiments", "app", "gallery")
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")


def files_of(package: str) -> set[str]:
    """What the clone has of a package, compiled files left out."""
    found = (path for path in (ROOT / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in found}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that nothing of an earlier build is in it."""
    copy, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    build = [*PIP, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(out), str(copy)]
    done = subprocess.run(build, check=True, capture_output=True, text=True)
    assert "Warning" not in done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """The folder it is installed to, as site-packages is one; what it depends on comes from this environment."""
    target = tmp_path_factory.mktemp("site")
    subprocess.run(
        [*PIP, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(target), str(wheel)],
        check=True, capture_output=True,
    )  # fmt: skip
    return target


@pytest.fixture
def hostile(tmp_path) -> Path:
    """A working directory with folders of our names, and with settings that would open the explorer to everyone."""
    for name in ("experiments", "app"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "training_run.py").write_text("raise SystemExit('the wrong module')")
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong package')")
    (tmp_path / "gallery").mkdir()
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text(
        '[server]\nallowedHosts = ["evil.example"]\ncorsAllowedOrigins = ["http://evil.example"]\nenableCORS = false\n'
        'enableXsrfProtection = false\nmaxUploadSize = 9999\naddress = "0.0.0.0"\n[client]\nshowErrorDetails = "full"\n'
    )
    return tmp_path


def environment(site: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(site), "DELTALAB_STORE": "", "COLUMNS": "200"}


def output_of(site: Path, folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment(site), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_three_packages_and_the_gallery_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = set().union(*map(files_of, PACKAGES))
    assert names == {f"lab/{name}" if name.startswith("gallery/") else name for name in wanted}
    assert len(files_of("gallery")) > 100


def test_the_command_lists_the_gallery_whatever_the_folder_holds(site, hostile):
    assert "intrinsic_dimension" in output_of(site, hostile, str(site / "bin" / "deltalab"), "list")
    shown = output_of(site, hostile, "-m", "lab.cli", "list", "curvature")
    assert not shown.startswith("curvature: 0 runs")


@pytest.mark.slow  # the page in docs/ is the gallery's: tests/cli/test_claims.py
def test_the_claims_are_judged_by_the_gallery(site, hostile):
    output_of(site, hostile, "-m", "lab.cli", "claims", "--out", "claims.md")
    assert (hostile / "claims.md").read_text().count("**holds here**") > 10


def test_a_folder_on_the_path_before_ours_changes_nothing(site, hostile):
    code = "import sys; from lab.siblings import come_first; come_first(); import experiments, app; print(app.__file__)"
    for path in (f"{hostile}{os.pathsep}{site}", f"{site}{os.pathsep}{hostile}"):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=hostile, env={**environment(site), "PYTHONPATH": path},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert Path(done.stdout.strip()).parent == site / "app"


@pytest.fixture
def explorer(site, hostile):
    """Process and port of the explorer, started in the hostile folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(site / "bin" / "deltalab"), "app", "--port", str(port), "--no-browser"]
    with (hostile / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=hostile, env=environment(site), stdout=log, stderr=subprocess.STDOUT)
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).close()
            break
        except OSError:
            assert server.poll() is None, (hostile / "log").read_text()
            time.sleep(0.2)
    yield server, port
    server.kill()
    server.wait()


def answer(port: int, host: str, origin: str) -> int:
    """Status of a request for the explorer's websocket."""
    lines = [
        "GET /_stcore/stream HTTP/1.1", f"Host: {host}", f"Origin: {origin}", "Connection: Upgrade",
        "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
    ]  # fmt: skip
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("\r\n".join(lines).encode())
        return int(connection.recv(100).split()[1])


def test_the_explorer_keeps_its_settings_and_ends_when_it_is_told(explorer):
    server, port = explorer
    own = f"127.0.0.1:{port}"
    assert answer(port, own, f"http://{own}") == 101
    assert answer(port, "evil.example", "http://evil.example") == 403
    assert answer(port, own, "http://evil.example") == 403
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=60) == 0
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


HOME = """
import sys
from lab.siblings import come_first
come_first()
import app
from streamlit.testing.v1 import AppTest
shown = AppTest.from_file(app.__path__[0] + "/main.py", default_timeout=120).run()
assert not shown.exception, shown.exception
shown = shown.switch_page("views/runs.py").run()
assert not shown.exception, shown.exception
print(len(shown.dataframe[0].value))
"""


def test_the_explorer_shows_the_gallery(site, hostile):
    assert int(output_of(site, hostile, "-c", HOME)) > 20
