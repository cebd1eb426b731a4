"""The programs that tests need and pip cannot bring: a browser, a font for emoji, an MQTT broker, PostgreSQL,
Redis, nginx.

Run as `python -m scripts.system_packages` before the tests. It installs what is missing with apt where that needs no
password, and otherwise says what is missing: the tests that need it then skip. With CI=true it fails instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_BROWSERS = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
BROWSER_PACKAGE = "chromium"
CHROMIUM_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FONT_PACKAGE = "fonts-noto-color-emoji"
FONT_FILE = "NotoColorEmoji.ttf"
APT_OPTIONS = ("-qq", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::Retries=2", "-o", "DPkg::Lock::Timeout=120")

BROKER_PACKAGES = ("mosquitto", "mosquitto-clients")
SERVER_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")  # not on everybody's PATH

POSTGRES_PACKAGE = "postgresql"
REDIS_PACKAGE = "redis-server"
NGINX_PACKAGE = "nginx-light"

NO_REDIS = "there is no Redis on this machine (Debian: apt-get install redis-server)"
NO_NGINX = "there is no nginx on this machine (Debian: apt-get install nginx-light)"
NO_POSTGRES = "there is no PostgreSQL on this machine (Debian: apt-get install postgresql)"
NO_BROKER = "there is no Mosquitto on this machine (Debian: apt-get install mosquitto mosquitto-clients)"
NO_BROWSER = "there is no Chromium or Chrome on this machine (Debian: apt-get install chromium)"


def in_ci() -> bool:
    """Whether a skipped test would go unseen: `CI` is set, as CI services do."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def find_chromium() -> str | None:
    """The path of an installed Chromium or Chrome, or None."""
    on_path = (shutil.which(name) for name in BROWSERS)
    in_applications = (path for path in MAC_BROWSERS if Path(path).exists())
    return next((path for path in (*on_path, *in_applications) if path), None)


def find_mosquitto() -> str | None:
    """The path of an installed Mosquitto, with its clients beside it, or None."""
    if not shutil.which("mosquitto_sub") or not shutil.which("mosquitto_pub"):
        return None
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=os.pathsep.join(SERVER_FOLDERS))


def find_postgres() -> str | None:
    """The folder of an installed PostgreSQL's programs, or None. Debian keeps those of a server off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    found = shutil.which("initdb", path=os.pathsep.join([*map(str, reversed(folders)), os.environ.get("PATH", "")]))
    return str(Path(found).parent) if found else None


def find_nginx() -> str | None:
    """The path of an installed nginx, or None."""
    return shutil.which("nginx") or shutil.which("nginx", path=os.pathsep.join(SERVER_FOLDERS))


def missing_packages() -> list[str]:
    """Names of the Debian packages that have to be installed for all tests to run."""
    missing = [] if find_chromium() else [BROWSER_PACKAGE]
    if sys.platform == "linux" and not any(Path("/usr/share/fonts").rglob(FONT_FILE)):
        missing.append(FONT_PACKAGE)
    if not find_mosquitto():
        missing.extend(BROKER_PACKAGES)
    if not find_postgres():
        missing.append(POSTGRES_PACKAGE)
    if not shutil.which("redis-server"):
        missing.append(REDIS_PACKAGE)
    if not find_nginx():
        missing.append(NGINX_PACKAGE)
    return missing


def install(packages: list[str]) -> str | None:
    """Installs Debian packages. Returns None, or a sentence that says why it could not be done."""
    if not shutil.which("apt-get"):
        return "this machine has no apt-get"
    root = _root_prefix()
    if root is None:
        return "apt-get needs root here"
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *APT_OPTIONS]
    print(f"Installing for the tests, with apt: {', '.join(packages)}", flush=True)
    # Debian starts these when it installs them. Tests start their own, and nobody asked for others.
    unasked = [name for name, find in (("mosquitto", find_mosquitto), ("nginx", find_nginx)) if find() is None]
    # A failed update is no reason to stop: the lists that are there may do.
    subprocess.run([*apt, "update"], check=False, stdin=subprocess.DEVNULL)
    command = [*apt, "install", "--yes", "--no-install-recommends", *packages]
    installed = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    if unasked and shutil.which("systemctl"):
        stop = [*root, "systemctl", "disable", "--now", *unasked]
        subprocess.run(stop, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    return None if installed.returncode == 0 else f"apt-get install ended with code {installed.returncode}"


def _root_prefix() -> list[str] | None:
    """What to put before a command so that root runs it without being asked for a password; None: no way."""
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        return None
    allowed = subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True).returncode == 0
    return ["sudo", "-n"] if allowed else None


def main() -> int:
    missing = missing_packages()
    if not missing:
        return 0
    problem = install(missing)
    if problem is None:
        return 0
    print(f"Not installed: {', '.join(missing)}, because {problem}.", file=sys.stderr)
    if in_ci():
        return 1
    print("The tests that need it will be skipped.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
