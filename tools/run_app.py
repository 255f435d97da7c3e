"""Start the app on this machine only: 127.0.0.1, a free port, no telemetry. Called by `make run`.

The port is 8501, or the one PORT names; when it is taken, the next free one. Without a display, or with CI set, no
browser is opened.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8501


def find_free_port(first: int, tries: int = 50) -> int:
    """The first port from `first` on that can be bound on this machine. Raises OSError when none of `tries` can."""
    for port in range(first, min(first + tries, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                continue
            return port
    raise OSError(f"no port from {first} to {first + tries - 1} is free on {ADDRESS}; name another: make run PORT=9000")


def wants_no_browser() -> bool:
    """Whether nobody sits in front of this machine: CI is set, or a Linux without a display."""
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(os.environ.get("CI")) or (sys.platform.startswith("linux") and not display)


def streamlit_command(port: int) -> list[str]:
    """The command line of the app."""
    return [
        *(sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py")),
        *("--server.address", ADDRESS, "--server.port", str(port)),
        *("--server.headless", str(wants_no_browser()).lower()),
        *("--browser.gatherUsageStats", "false"),
    ]


def main() -> int:
    """Become the app's process; 1 when no port is free, 2 when PORT is not a port."""
    wanted = os.environ.get("PORT") or str(DEFAULT_PORT)
    if not wanted.isdecimal() or not 1024 <= int(wanted) <= 65535:
        print(f"PORT must be a number from 1024 to 65535, got {wanted!r}", file=sys.stderr)
        return 2
    try:
        port = find_free_port(int(wanted))
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    if port != int(wanted):
        print(f"Port {wanted} is taken.")
    print(f"Weighbridge: http://{ADDRESS}:{port} (stop with Ctrl-C)", flush=True)
    os.chdir(ROOT)
    os.execv(sys.executable, streamlit_command(port))


if __name__ == "__main__":
    sys.exit(main())
