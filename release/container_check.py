"""Does the steps of the Containerfile in a fresh Debian, as its users. It needs root, debootstrap and the network of pip.

    python release/container_check.py --torch-index https://download.pytorch.org/whl/cpu

It makes a Debian of the base image's release by debootstrap, and reads the recipe as far as it is used: ARG, ENV, USER, COPY,
RUN, WORKDIR, CMD. Not tested by this: the base image of a registry, and GPUs. Variables of pip here hold there too; wheels in
the folder that ``PIP_FIND_LINKS`` names are seen at the same place.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from check import ROOT, build, do

PACKAGES = "python3,python3-venv,ca-certificates,passwd"
KEPT = ("PIP_CONSTRAINT", "PIP_FIND_LINKS", "http_proxy", "https_proxy", "no_proxy")


@dataclass
class Image:
    """What the recipe has made so far: a folder with a system, its user, its folder of work and its variables."""

    root: Path
    user: str = "root"
    folder: str = "/"
    variables: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"})

    def run(self, command: str) -> None:
        """Does a command of the shell as the user, with nothing of this machine's environment."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        variables = {"HOME": f"/home/{self.user}", "PYTHONNOUSERSITE": "1", **kept, **self.variables}
        words = ["chroot", f"--userspec={self.user}:{self.user}", str(self.root), "/usr/bin/env", "-i"]
        words += [f"{name}={value}" for name, value in variables.items()]
        do(*words, "/bin/sh", "-ec", f"cd {shlex.quote(self.folder)}; {command}")

    def filled(self, text: str) -> str:
        """A text with the recipe's variables."""
        return re.sub(r"\$(\w+)", lambda name: self.variables.get(name[1], ""), text)


def steps(recipe: str) -> list[tuple[str, str]]:
    """The instructions of a recipe, each with the rest of its line."""
    lines = re.sub(r"\\\n", " ", recipe).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word and not word.startswith("#")]


def follow(image: Image, recipe: str, context: Path, given: dict[str, str]) -> None:
    """Does what a recipe says, in an image."""
    for word, rest in steps(recipe):
        print(f"{word} {rest}", flush=True)
        if word == "ARG":
            name, _, value = rest.partition("=")
            image.variables[name] = given.get(name, value)
        elif word == "ENV":
            name, _, value = rest.partition("=")
            image.variables[name] = image.filled(value)
        elif word == "USER":
            image.user = rest
        elif word == "WORKDIR":
            image.folder = rest
        elif word == "COPY":
            *sources, target = [part for part in rest.split() if not part.startswith("--")]
            place = image.root / target.lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            for source in (file for pattern in sources for file in context.glob(pattern)):
                shutil.copy(source, place)
        elif word == "RUN":
            image.run(rest)
        elif word not in ("FROM", "ENTRYPOINT", "CMD"):
            sys.exit(f"{word} is not known here")


def main() -> None:
    """Makes the system, follows the recipe, and uses the program as its entry point does."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--torch-index", help="the build argument TORCH_INDEX")
    parser.add_argument("--system", type=Path, help="a Debian that debootstrap made already; it is changed")
    arguments = parser.parse_args()
    recipe = (ROOT / "Containerfile").read_text()
    with tempfile.TemporaryDirectory(prefix="debride-container-") as temporary:
        folder = Path(temporary)
        wheel, _ = build(folder)
        root = arguments.system or folder / "system"
        if arguments.system is None:
            release = re.findall(r"^FROM .*-(\w+)$", recipe, re.MULTILINE)[0]
            do("debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, root)
        shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
        for file in ("/etc/hosts", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf"):
            if Path(file).exists():
                shutil.copy(file, root / file.lstrip("/"))
        if links := os.environ.get("PIP_FIND_LINKS"):
            shutil.copytree(links, root / links.lstrip("/"), dirs_exist_ok=True)
        image = Image(root)
        subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=False)
        try:
            follow(image, recipe, wheel.parents[1], {"TORCH_INDEX": arguments.torch_index} if arguments.torch_index else {})
            image.run("debride --help > help.txt && debride datasets generated --out scans --set cases=6 wrong=2")
            image.run("debride check scans && debride train ce scans --out run --epochs 1 --width 2 --network unet-small")
            image.run('test "$(id -u)" = 1000 && ! touch /usr/lib/of-a-plain-user')
        finally:
            subprocess.run(["umount", str(root / "proc")], check=False)
    print("the recipe works, but for its base image and GPUs, which were not here")


if __name__ == "__main__":
    main()
