# Sourced by the scripts beside it.
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$repo/.venv
say() { printf '\033[0m%s\n' "$*" >&2; }

# Not on a terminal: plain.
[ -t 2 ] || say() { printf '%s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -- "$@"; fi
}
