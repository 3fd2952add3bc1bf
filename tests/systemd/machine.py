"""A real systemd as the first process of a container: this machine's own system, or another one, with nothing kept.

`systemd-nspawn` boots it over a read-only view of the root directory, with what is written held in memory, a network of
its own and no way out of it. It needs root, a cgroup tree of version 2 and Debian's package `systemd-container`, but no
running systemd. `OCR_TCP_LB_ROOTFS` names another root directory, such as one that debootstrap(8) made.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

BOOT_S = 60.0
COMMAND_S = 60.0
ROOT_VARIABLE = "OCR_TCP_LB_ROOTFS"
_TREES = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
_BOOT = """
set -e
echo $$ > "$CGROUP/cgroup.procs"
mount -t tmpfs tmpfs /run
mkdir /run/lower
mount --bind "$LOWER" /run/lower
exec systemd-nspawn --quiet --directory=/run/lower --volatile=overlay --register=no --keep-unit --private-network \
    --link-journal=no --capability=all --system-call-filter=bpf --notify-ready=yes --machine=ocr-tcp-lb-test \
    "$@" --boot systemd.unit=basic.target systemd.mask=timers.target
"""


class CannotBootError(Exception):
    """This machine cannot boot another one; says why."""


def cgroup_tree() -> Path:
    """Where cgroups of version 2 are; raises CannotBootError for what else is missing, too."""
    if os.geteuid() != 0:
        raise CannotBootError("only root may boot a container")
    for program in ("systemd-nspawn", "unshare", "nsenter"):
        if shutil.which(program) is None:
            raise CannotBootError(f"{program} is not installed")
    for tree in _TREES:
        if (tree / "cgroup.controllers").exists() and os.access(tree, os.W_OK):
            return tree
    raise CannotBootError("there is no cgroup tree of version 2 that may be written")


class Machine:
    """A booted container; `close` ends it, and nothing of it is left."""

    def __init__(self, directory: Path, shared: Mapping[Path, str]) -> None:
        """Boot; `shared` directories are seen in the container under the given names. Raises CannotBootError."""
        self._cgroup = cgroup_tree() / f"ocr-tcp-lb-test-{os.getpid()}"
        self._console = directory / "console"
        self._leader = 0
        self._cgroup.mkdir()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
                notices.bind(str(directory / "notify"))
                notices.settimeout(BOOT_S)
                self._process = self._boot(str(directory / "notify"), shared)
                self._wait_for(notices)
        except BaseException:
            self.close()
            raise

    def _boot(self, notify_path: str, shared: Mapping[Path, str]) -> "subprocess.Popen[bytes]":
        binds = [f"--bind={outside}:{inside}" for outside, inside in shared.items()]
        about = {
            "CGROUP": str(self._cgroup),
            "LOWER": os.environ.get(ROOT_VARIABLE, "/"),
            "NOTIFY_SOCKET": notify_path,
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        }
        with self._console.open("wb") as console:
            return subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", _BOOT, "sh", *binds],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, **about},
            )

    def _wait_for(self, notices: socket.socket) -> None:
        """Until the container's systemd says that it is ready; systemd-nspawn tells its process's number."""
        is_ready = False
        while not (is_ready and self._leader):
            try:
                lines = notices.recv(4096).decode().splitlines()
            except TimeoutError:
                said = self._console.read_text(errors="replace")
                raise CannotBootError(f"no systemd came up within {BOOT_S:g} s: {said[-2000:]}") from None
            said_of = dict(line.partition("=")[::2] for line in lines)
            is_ready = is_ready or said_of.get("READY") == "1"
            self._leader = int(said_of.get("X_NSPAWN_LEADER_PID", self._leader))

    def command(self, *words: str) -> list[str]:
        """What to run here for the words to run in there."""
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd")
        clean = ("env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8")
        return ["nsenter", f"--target={self._leader}", *spaces, "--", *clean, *words]

    def ask(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in there to its end, whatever that is."""
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=COMMAND_S, start_new_session=True
        )

    def run(self, *words: str) -> str:
        """Run a command in there that must succeed; returns what it printed."""
        done = self.ask(*words)
        if done.returncode:
            journal = self.ask("journalctl", "-b", "-n", "30", "-o", "short-precise").stdout
            raise AssertionError(f"{' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}\n{journal}")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Put a file there."""
        words = self.command("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "sh", path)
        subprocess.run(words, input=text, text=True, check=True, timeout=COMMAND_S)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Run a command in there that goes on, with its standard input and output in our hands."""
        return subprocess.Popen(self.command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_until(self, *words: str) -> None:
        """Until the command succeeds in there."""
        deadline = time.monotonic() + COMMAND_S
        while (done := self.ask(*words)).returncode:
            assert time.monotonic() < deadline, f"{' '.join(words)}: {done.stdout}{done.stderr}"

    def close(self) -> None:
        """Switch it off."""
        if hasattr(self, "_process"):
            self._process.terminate()  # which systemd-nspawn passes on as a request to shut down
            try:
                self._process.wait(BOOT_S)
            except subprocess.TimeoutExpired:
                (self._cgroup / "cgroup.kill").write_text("1")
                self._process.wait(BOOT_S)
        for path in sorted(self._cgroup.rglob("*/"), reverse=True):
            path.rmdir()
        self._cgroup.rmdir()
