"""Install this project and the extras named as arguments into `.venv`.

Started by the Makefile with whatever Python the machine has, so it stays readable for older
ones: those get a sentence, not a traceback. Versions come from constraints.txt. uv does the
installing because it is fast; it does not read pip's configuration, so the package index,
certificates and the like that the user chose for pip are handed to it here.
"""

import ast
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
CONSTRAINTS = "constraints.txt"

# pip's option: uv's variable, and what separates several values there.
PIP_TO_UV = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
}


def check_python() -> None:
    """Exit with a sentence where this Python cannot carry the project."""
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit(
            f"This is Python {sys.version.split()[0]}, and 3.11 or later is needed: "
            "install one and name it, as in `make PYTHON=python3.12 ...`."
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        sys.exit(
            "This Python cannot make virtual environments: "
            "install its venv module (on Debian `apt-get install python3-venv`)."
        )


def run(*command: str, env: "dict[str, str] | None" = None) -> None:
    """Run a command in the project's folder; exit with its status if it fails."""
    status = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode  # noqa: S603
    if status:
        sys.exit(f"`{' '.join(command)}` failed with status {status}: see its words above.")


def runs(*command: str) -> bool:
    """Whether a command can be started and ends well."""
    try:
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    except OSError:
        return False
    return done.returncode == 0


def make_venv() -> None:
    """Create `.venv` with uv in it, unless both are there."""
    if not runs(VENV_PYTHON, "-m", "pip", "--version"):
        run(sys.executable, "-m", "venv", "--clear", VENV)
    if not runs(VENV_PYTHON, "-m", "uv", "--version"):
        pip = (VENV_PYTHON, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
        env = dict(os.environ, PIP_CACHE_DIR=os.path.join(ROOT, ".cache", "pip"))
        run(*pip, "--constraint", CONSTRAINTS, "uv", env=env)


def uv_environment() -> "dict[str, str]":
    """The environment for uv: this one, its cache in `.cache`, and what pip is configured with."""
    listing = subprocess.run(  # noqa: S603
        (VENV_PYTHON, "-m", "pip", "config", "list"), capture_output=True, text=True, check=False
    ).stdout
    env = {"UV_CACHE_DIR": os.path.join(ROOT, ".cache", "uv")}
    # pip lists files before the environment, which wins, so the last one stays.
    for line in listing.splitlines():
        key, _, quoted = line.partition("=")
        uv_name, separator = PIP_TO_UV.get(key.rpartition(".")[2], ("", ""))
        if uv_name:
            env[uv_name] = separator.join(ast.literal_eval(quoted).split())
    env.update(os.environ)
    return env


def main() -> None:
    """Install the extras given as arguments, or renew the constraints."""
    check_python()
    make_venv()
    uv = (VENV_PYTHON, "-m", "uv", "--quiet", "pip")
    if sys.argv[1:] == ["--renew-constraints"]:
        compile_all = ("compile", "pyproject.toml", "--all-extras", "--upgrade", "--universal")
        plain = ("--python-version", "3.11", "--no-header", "--no-annotate")
        run(*uv, *compile_all, *plain, "--output-file", CONSTRAINTS, env=uv_environment())
        return
    limits = ("--constraints", CONSTRAINTS, "--build-constraints", CONSTRAINTS)
    target = ("--python", VENV_PYTHON, "--editable", f".[{','.join(sys.argv[1:])}]")
    run(*uv, "install", *limits, *target, env=uv_environment())


if __name__ == "__main__":
    main()
