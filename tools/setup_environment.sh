#!/bin/sh
# Makes .venv/ with this package (editable), the simulator and the test tools; `make` calls it when its inputs changed.
# Needs the network the first time only. Every step is printed; nothing outside .venv/ is changed, except missing
# graphics libraries on Debian and Ubuntu when run as root (otherwise the command to run is printed).
set -eu
cd "$(dirname "$0")/.."
venv=.venv

say() { printf '%s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 2; }

apt_install() {  # apt_install WHY PACKAGE...: installs when root on Debian or Ubuntu, else says the command and fails
    why=$1; shift
    if command -v apt-get >/dev/null 2>&1; then
        [ "$(id -u)" = 0 ] || fail "$why. Run: sudo apt-get install $*   and then make again."
        say "== $why: apt-get install $*"
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
    else
        fail "$why. Install your distribution's packages for: $*   and then make again."
    fi
}

# --- Python: 3.10 to 3.12, because the simulator wants numpy 1.26 ---
suits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; }
find_python() {
    for candidate in ${PYTHON:-} python3 python3.12 python3.11 python3.10; do
        if suits "$candidate"; then command -v "$candidate"; return 0; fi
    done
    return 1
}
python=$(find_python) || fail "expected Python 3.10, 3.11 or 3.12 as python3 (or PYTHON=...), found $(python3 -V 2>&1 || true). Install one of them."
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
say "== Python $version: $python"

# --- A compiler and Python.h: evdev (wanted by robosuite through pynput) has no wheels for Linux ---
if [ "$(uname -s)" = Linux ] && ! "$venv/bin/python" -c 'import evdev' >/dev/null 2>&1; then
    command -v gcc >/dev/null 2>&1 || command -v cc >/dev/null 2>&1 ||
        apt_install "the simulator's package evdev is compiled here and gcc is missing" gcc libc6-dev linux-libc-dev
    header=$("$python" -c 'import os, sysconfig; print(os.path.join(sysconfig.get_paths()["include"], "Python.h"))')
    [ -e "$header" ] ||
        apt_install "the simulator's package evdev is compiled here and $header is missing" "python$version-dev"
fi

# --- The virtual environment ---
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
        apt_install "Python's modules venv and ensurepip are missing" "python$version-venv"
    say "== creating $venv/"
    "$python" -m venv --clear "$venv"
fi
pip="$venv/bin/python -m pip --disable-pip-version-check"
say "== installing into $venv/ (about 2 GB, minutes)"
# 77 reads licences as newer packages state them (evdev's; Debian 12 brings 66): packages are built here with what .venv/ has.
$pip install -q --upgrade 'setuptools>=77' wheel
$pip install -q --no-build-isolation -c constraints.txt -e '.[sim,train,test]'
# robosuite wants opencv-python, which needs libGL at import; the headless build of the same version lies over it.
$pip install -q --no-deps --force-reinstall -c constraints.txt opencv-python-headless
$pip check

# --- Headless rendering: a picture is the only proof ---
renders() {
    MUJOCO_GL=$1 "$venv/bin/python" - >/dev/null 2>&1 <<'PYTHON'
import mujoco

model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 32, 32)
renderer.update_scene(data)
assert renderer.render().max() > 0
PYTHON
}
if renders egl || renders osmesa; then
    say "== headless rendering works"
else
    apt_install "headless rendering needs EGL or OSMesa" libegl1 libgl1 libgl1-mesa-dri libosmesa6
    renders egl || renders osmesa || fail "neither MUJOCO_GL=egl nor MUJOCO_GL=osmesa renders a picture; see: MUJOCO_GL=egl $venv/bin/python -c 'import mujoco; mujoco.GLContext(32, 32)'"
fi
say "== $venv/ is ready"
