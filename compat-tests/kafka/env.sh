# shellcheck shell=bash
# What get, start and tool share: where the jars are, and how a JVM of ours is started.

# shellcheck disable=SC2034 # used by the scripts that source this file
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kafka_version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
libs=${KAFKA_DIST:-$HOME/.cache/ottla-kafka}/libs

# Short-lived JVMs: C1 only, the serial collector and the shared class archive halve the start-up time.
jvm_options=(-Xshare:auto -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "-Dlog4j2.configurationFile=$here/log4j2.xml")
jvm=(java "${jvm_options[@]}" -cp "$libs/*")
