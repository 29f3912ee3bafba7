#!/bin/sh
# Stands in for the start of the image apache/kafka: KAFKA_LOG_DIRS becomes log.dirs, and so on for each variable.
set -eu
for name in $(env | sed -n 's/^\(KAFKA_[A-Z_]*\)=.*/\1/p'); do
    printf '%s=%s\n' "$(printf '%s' "${name#KAFKA_}" | tr 'A-Z_' 'a-z.')" "$(printenv "$name")"
done >/tmp/server.properties
export CLASSPATH='/opt/kafka/libs/*'
java kafka.tools.StorageTool format --ignore-formatted -t 5L6g3nShT-eMCtK--X86sw -c /tmp/server.properties
exec java -Xmx400m -XX:TieredStopAtLevel=1 kafka.Kafka /tmp/server.properties
