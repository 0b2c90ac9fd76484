# What tools/* share: finding Python, bringing .venv up to date, system packages. Sourced, never run.
# Everything here talks on stderr; stdout belongs to the tool.
#
#   EMU_PYTHON   the interpreter to build .venv with (else the first python3 that is 3.11 or newer)
#   EMU_VENV     where the environment lives (else .venv beside pyproject.toml)
#   EMU_VENV_NEWEST  the same for the newest Python (else .venv-VERSION beside it): tools/golden check --newest
#   EMU_NO_APT   set: never call apt-get
#   EMU_NO_SETUP set: take the environment as it is, install nothing into it

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${EMU_VENV:-$ROOT/.venv}
CONSTRAINTS=$ROOT/tools/constraints.txt
AXE=4.14.1
# Where this is set, each of the tests' hundreds of processes compiles emu anew, and each of pytest's workers all tests.
unset PYTHONDONTWRITEBYTECODE

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

find_python() {
    local candidate
    for candidate in ${EMU_PYTHON:+"$EMU_PYTHON"} python3 python3.11 python3.12 python3.13 python3.14; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "no Python 3.11 or newer was found (EMU_PYTHON=/path/to/python3 points at one)"
}

# The Pythons that are found on the path or among pyenv's, from 3.11 on, one for each minor version: a line `3.12 /path/to/python`, oldest first.
found_pythons() {
    local candidate
    for candidate in python3 python3.{11..20} "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python; do
        "$candidate" -c 'import sys; v = sys.version_info; v >= (3, 11) and print(*v[:3], sys.executable)' 2>/dev/null || true
    done | sort -s -k2,2n -k3,3nr | awk '!seen[$2]++ { version = $1 "." $2; sub(/^[0-9]+ [0-9]+ [0-9]+ /, ""); print version, $0 }'
}

# The newest Python that is found.
newest_python() { found_pythons | tail -n 1 | cut -d' ' -f2-; }

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

# Which environment a Python has: the project's own, or for another version than that one's .venv-VERSION.
venv_of() {
    local own=$VENV/bin/python
    [[ -x $own ]] || own=$(find_python)
    if [[ $(version_of "$1") == "$(version_of "$own")" ]]; then printf '%s\n' "$VENV"; else printf '%s\n' "$ROOT/.venv-$(version_of "$1")"; fi
}

# pip for the environment: its own, or the system's pointed at it where ensurepip is missing.
venv_pip() {
    if "$VENV/bin/python" -c 'import pip' >/dev/null 2>&1; then
        "$VENV/bin/python" -m pip "$@"
    else
        "$PYTHON" -m pip --python "$VENV/bin/python" "$@"
    fi
}

# Bring the environment to what pyproject.toml and the constraints say. $1: "run", "build" (and what compiles it) or "dev" (which includes both).
# The stamp is written last, so an interrupted set-up is taken up again.
ensure_venv() {
    local level=$1 hash stamp extras="" log tools=()
    [[ -z ${EMU_NO_SETUP:-} ]] || return 0
    hash=$({ cat "$CONSTRAINTS" "$ROOT/pyproject.toml"; printf '%s\n' "$ROOT" "$VENV"; } | sha256sum | cut -d' ' -f1)
    if [[ -x $VENV/bin/python && -f $VENV/.emu-stamp ]]; then
        read -r stamp <"$VENV/.emu-stamp" || true
        [[ $stamp == "$level $hash" || $stamp == "dev $hash" || "$level $stamp" == "run build $hash" ]] && return
    fi
    PYTHON=$(find_python)
    [[ $level == dev ]] && extras="[dev]"
    [[ $level == build ]] && tools=(mypy types-PyYAML)
    log=$(mktemp)
    if [[ ! -x $VENV/bin/python ]]; then
        # --clear empties the folder: only one that is, or was becoming, an environment.
        [[ ! -e $VENV || -f $VENV/pyvenv.cfg ]] || die "$VENV exists and is no virtual environment"
        say "making $VENV"
        # Debian without python3-venv has no ensurepip: the environment then comes without a pip of its own.
        if ! "$PYTHON" -m venv --clear "$VENV" >"$log" 2>&1; then
            "$PYTHON" -m pip --version >/dev/null 2>&1 ||
                die "$PYTHON has neither ensurepip nor pip (Debian: apt install python3-pip)"
            "$PYTHON" -m venv --clear --without-pip "$VENV" >"$log" 2>&1 || { cat "$log" >&2; die "no virtual environment"; }
        fi
    fi
    rm -f "$VENV/.emu-stamp"
    say "installing the pinned packages"
    # setuptools first and no build isolation: the build, too, uses the pinned version.
    if ! { venv_pip install --quiet --disable-pip-version-check --no-input -c "$CONSTRAINTS" setuptools &&
        venv_pip install --quiet --disable-pip-version-check --no-input -c "$CONSTRAINTS" --no-build-isolation \
            -e "$ROOT$extras" "${tools[@]}"; } >"$log" 2>&1; then
        cat "$log" >&2
        die "the packages could not be installed"
    fi
    rm -f "$log"
    printf '%s %s\n' "$level" "$hash" >"$VENV/.emu-stamp"
}

# ensure_commands COMMAND=PACKAGE...: install the packages of commands that are missing, where root and apt allow it.
# Never fails; whoever needs the command says what its absence means.
ensure_commands() {
    local pair log missing=()
    # Debian keeps iptables and conntrack where an ordinary user's PATH does not look.
    export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    [[ ${#missing[@]} -eq 0 || -n ${EMU_NO_APT:-} ]] && return
    if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
        say "missing: ${missing[*]} (not root with apt-get, so not installed)"
        return
    fi
    say "installing from the system's packages: ${missing[*]}"
    log=$(mktemp)
    # One source that cannot be reached fails the update, and need not fail the installation.
    if ! { DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 update -qq || true
        DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends \
            "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
        tail -n 5 "$log" >&2
        say "apt-get could not install ${missing[*]}"
    fi
    rm -f "$log"
}

# axe-core from npm, by name, into a folder outside of the project: it judges whether a page can be used by all. Never fails.
ensure_axe() {
    local folder=${XDG_CACHE_HOME:-$HOME/.cache}/emu/axe
    [[ -f $folder/node_modules/axe-core/axe.min.js || -n ${EMU_AXE:-} ]] && return
    if ! command -v npm >/dev/null; then
        say "missing: npm, so axe-core is not there: no page is judged by it"
        return
    fi
    say "fetching axe-core"
    mkdir -p "$folder"
    timeout 120 npm install --silent --ignore-scripts --no-audit --no-fund --prefix "$folder" "axe-core@$AXE" >/dev/null 2>&1 ||
        say "axe-core could not be fetched: no page is judged by it"
}
