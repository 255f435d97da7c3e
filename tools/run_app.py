"""Start the app on this machine only: 127.0.0.1, a free port, no telemetry. Called by `make run`.

The port is 8501, or the one PORT names; when it is taken, the next free one. Without a display, or with CI set, no
browser is opened. `make run HOST=0.0.0.0` opens the app to others and says what that means; a HOST that the shell
happens to hold does not count.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8501
HOST_VARIABLE = "WEIGHBRIDGE_HOST"
"""Where `make run HOST=...` puts the host."""


def find_free_port(first: int, tries: int = 50, host: str = ADDRESS) -> int:
    """The first port from `first` on that can be bound on `host`. Raises OSError when none of `tries` can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(first, min(first + tries, 65536)):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(f"no port from {first} to {first + tries - 1} is free on {host}; name another: make run PORT=9000")


def wants_no_browser() -> bool:
    """Whether nobody sits in front of this machine: CI is set, or a Linux without a display."""
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(os.environ.get("CI")) or (sys.platform.startswith("linux") and not display)


def streamlit_command(port: int, host: str = ADDRESS) -> list[str]:
    """The command line of the app.

    Bound to this machine, it answers only to this machine's names (.streamlit/config.toml, allowedHosts), so that no
    name of somebody's made to lead here opens it to their page. Bound to others, nobody knows its names.
    """
    any_name = [] if is_loopback(host) else ["--server.allowedHosts", "*"]
    return [
        *(sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py")),
        *("--server.address", host, "--server.port", str(port)),
        *("--server.headless", str(wants_no_browser()).lower()),
        *("--browser.gatherUsageStats", "false"),
        *any_name,
    ]


def app_environment() -> dict[str, str]:
    """What the app's process finds around it: this one's, and one thread for numpy's matrices unless told otherwise.

    They are small here. OpenBLAS's threads wait for each other by turning in a loop, which on two cores is the time of
    everybody else (https://github.com/OpenMathLib/OpenBLAS/wiki/Faq#multi-threaded).
    """
    return {"OPENBLAS_NUM_THREADS": "1", **os.environ}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an app bound to `host`. Raises ValueError for what is no address."""
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


def describe_exposure(host: str, port: int) -> str:
    """What becomes reachable when the app is bound to `host`, for the person who asked for it."""
    return f"""Warning: {host} is reached from other machines, not only from this one.
Whoever reaches port {port} uses the app as you do, for it asks nobody who they are. They can
  - read your results, imports, prices and own suites, and delete or change them,
  - start evaluations and downloads on this machine, and run what an opted-in code suite lets a model write,
  - make this machine ask other servers, those of your own network included,
  - see the names of model files in the folders of Ollama, LM Studio, llama.cpp and the Hub, in your folder,
    and in those that WEIGHBRIDGE_MODELS names; other folders are closed to every page while the app is open to others.
Nothing is encrypted. Put a proxy before it that asks for a password and speaks https, or leave HOST away and use
  ssh -L {port}:{ADDRESS}:{port} this-machine"""


def main() -> int:
    """Become the app's process; 1 when no port is free, 2 when PORT is not a port or HOST is not an address."""
    wanted = os.environ.get("PORT") or str(DEFAULT_PORT)
    host = os.environ.get(HOST_VARIABLE) or ADDRESS
    if not wanted.isdecimal() or not 1024 <= int(wanted) <= 65535:
        print(f"PORT must be a number from 1024 to 65535, got {wanted!r}", file=sys.stderr)
        return 2
    try:
        is_exposed = not is_loopback(host)
    except ValueError:
        print(f"HOST must be an address of this machine such as {ADDRESS} or 0.0.0.0, got {host!r}", file=sys.stderr)
        return 2
    try:
        port = find_free_port(int(wanted), host=host)
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    if port != int(wanted):
        print(f"Port {wanted} is taken.")
    if is_exposed:
        print(describe_exposure(host, port), file=sys.stderr, flush=True)
    shown = f"[{host}]" if ":" in host else host
    print(f"Weighbridge: http://{shown}:{port} (stop with Ctrl-C)", flush=True)
    os.chdir(ROOT)
    os.execve(sys.executable, streamlit_command(port, host), app_environment())


if __name__ == "__main__":
    sys.exit(main())
