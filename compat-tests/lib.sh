# shellcheck shell=bash
# What `run` and the suites share. A suite gets BOOTSTRAP=host:port and SHORT=1 (short form) or SHORT=.
# shellcheck disable=SC2034 # the variables are for the scripts that source this file

compat=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${OTTLA_COMPAT_CACHE:-$HOME/.cache/ottla-compat}
mkdir -p "$cache"

# A directory for the files of this run; it goes away with the script.
new_work_dir() {
  work=$(mktemp -d "${TMPDIR:-/tmp}/ottla-compat.XXXXXX")
  trap 'rm -rf "$work"' EXIT
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# await_exit PID SECONDS: fails if the process is still there after that time.
await_exit() {
  local tick
  for ((tick = 0; tick < $2 * 20; tick++)); do
    kill -0 "$1" 2>/dev/null || return 0
    sleep 0.05
  done
  return 1
}

# seconds_since START: with START=$EPOCHREALTIME, wall time with two decimals.
seconds_since() {
  awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.2f s", to - from }'
}

# --- tests of the suites that are written in bash ---

# Topics of one run never meet those of another.
topic_prefix="compat-$(date +%s)-$$"
failed_tests=0

# check NAME COMMAND...: one test; it fails when any command in it fails, and then its trace is shown.
check() {
  local name=$1 from=$EPOCHREALTIME code
  shift
  # A subshell on its own line: errexit would be off inside an `if` or `||`.
  set +e
  (
    set -ex
    "$@"
  ) >"$work/check.out" 2>&1
  code=$?
  set -e
  if [ "$code" = 0 ]; then
    echo "ok   $name $(seconds_since "$from")"
  else
    echo "FAIL $name $(seconds_since "$from")"
    tail -n 40 "$work/check.out" | cut -c1-400 | sed 's/^/     /'
    failed_tests=$((failed_tests + 1))
  fi
}

# check_long NAME COMMAND...: a test that the short form leaves out.
check_long() {
  if [ -n "$SHORT" ]; then
    echo "skip $1 (short form)"
  else
    check "$@"
  fi
}

# The last line of a suite.
finish() {
  exit "$((failed_tests > 0))"
}

# equal EXPECTED ACTUAL
equal() {
  [ "$1" = "$2" ] || { printf 'expected: %s\nactual:   %s\n' "$1" "$2"; return 1; }
}

# refused PATTERN COMMAND...: the command must fail and say why.
refused() {
  local pattern=$1 said
  shift
  # Without the trace: it holds the command, and perhaps the pattern.
  if said=$(set +x && "$@" 2>&1); then
    echo "not refused: $*"
    return 1
  fi
  grep -q -- "$pattern" <<<"$said" || { printf 'expected: %s\nactual:   %s\n' "$pattern" "$said"; return 1; }
}

kafka_tool() {
  "$compat/kafka/tool" "$@"
}

# --- foreign toolchains ---

# The python of a virtual environment with exactly what REQUIREMENTS (a file of pinned versions) lists.
python_with() {
  local requirements=$1 venv
  venv=$cache/python-$(sha256sum <"$requirements" | cut -c1-12)
  if [ ! -f "$venv/.complete" ]; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$requirements" >&2
    touch "$venv/.complete"
  fi
  echo "$venv/bin/python"
}

# npm_packages DIR: a node_modules with exactly what the package-lock.json in DIR lists; prints its path.
npm_packages() {
  local prefix
  prefix=$cache/npm-$(sha256sum <"$1/package-lock.json" | cut -c1-12)
  if [ ! -f "$prefix/.complete" ]; then
    mkdir -p "$prefix"
    cp "$1/package.json" "$1/package-lock.json" "$prefix"
    npm ci --silent --no-audit --no-fund --prefix "$prefix" >&2
    touch "$prefix/.complete"
  fi
  echo "$prefix/node_modules"
}

# java_classes SOURCE...: the classes of these sources, compiled against Apache Kafka's jars; prints their directory.
java_classes() (
  . "$compat/kafka/env.sh"
  classes=$cache/java-$(cat "$@" "$compat/kafka/pom.xml" | sha256sum | cut -c1-12)
  if [ ! -d "$classes" ]; then
    # Made aside and then put in place, so that it is whole or absent.
    rm -rf "$classes.new"
    javac -J-XX:TieredStopAtLevel=1 -cp "$libs/*" -d "$classes.new" "$@" >&2
    mv "$classes.new" "$classes"
  fi
  echo "$classes"
)
