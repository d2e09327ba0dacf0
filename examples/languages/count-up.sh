#!/usr/bin/env bash
# Counts up the number in a file under a lock, with bash and curl alone: see README.md.
#
#   count-up.sh FILE TIMES
#
# Exits 0 when all is done, 70 when the lock was lost, 75 when it could not be had.
set -euo pipefail

file=$1 times=$2
server=${LOCKDB_SERVER_URL:-http://127.0.0.1:5625}
base=$server/v1/services/${LOCKDB_SERVICE_ID:-examples}
lease_ms=${LEASE_MS:-10000} work_ms=${WORK_MS:-0}

# Milliseconds that no clock change touches, where the system has them.
now_ms() {
  local up
  if [[ -r /proc/uptime ]]; then read -r up _ </proc/uptime && echo $((10#${up/./} * 10)); else date +%s000; fi
}

# Sends a JSON body; sets $status and $body. Status 000: no answer came. The key stays out of the list of processes.
post() { # SECONDS PATH BODY
  local answer
  answer=$(curl -sS -m "$1" -K <(printf 'header = "authorization: Bearer %s"\n' "$LOCKDB_API_KEY") \
    -w '\n%{http_code}' -d "$3" "$base$2" 2>/dev/null) || answer=$'\n000'
  status=${answer##*$'\n'} body=${answer%$'\n'*}
}

# A number of the answer.
number() { sed -n "s/.*\"$1\":\\([0-9]*\\).*/\\1/p" <<<"$body"; }

# Until then the lock is ours, by our own clock: counted from before the request was sent, less what clocks may differ.
trust_from() { trusted_until_ms=$(($1 + $(number expiresInMs) * 97 / 100 - 200)); }

request_id() { cat /proc/sys/kernel/random/uuid 2>/dev/null || echo "$$-$(date +%s)-$RANDOM$RANDOM$RANDOM"; }

acquire() {
  local id sent_ms
  id=$(request_id)
  while true; do
    sent_ms=$(now_ms)
    post 35 /acquire "{\"names\":\"counter\",\"waitMs\":60000,\"leaseMs\":$lease_ms,\"requestId\":\"$id\",\"owner\":\"bash\"}"
    case $status in
      200) token=$(number token) && trust_from "$sent_ms" && return ;;
      202) ;; # Still waiting: the same again, at once.
      000 | 429 | 503) sleep 1 ;; # Try again later; the id makes it the same request.
      423) echo "not acquired: $body" >&2 && exit 75 ;;
      *) echo "refused: $status $body" >&2 && exit 1 ;;
    esac
  done
}

# Ends when the work has, and ends the work when the lock is lost.
keep_while_running() { # PID
  local next_ms=$(($(now_ms) + lease_ms / 3)) sent_ms
  while kill -0 "$1" 2>/dev/null; do
    sent_ms=$(now_ms)
    if ((sent_ms >= trusted_until_ms)); then lose "$1" "nothing was heard of it in time"; fi
    if ((sent_ms >= next_ms)); then
      next_ms=$((sent_ms + lease_ms / 3))
      post 1 /renew "{\"token\":$token}"
      case $status in
        200) trust_from "$sent_ms" ;;
        409) lose "$1" "$body" ;;
      esac
    fi
    sleep 0.05
  done
}

lose() { # PID WHY
  kill "$1" 2>/dev/null || true
  echo "lost the lock: $2" >&2
  exit 70
}

# The work: it takes its time, and writes only if nobody with a higher token was here.
work() {
  local count fence
  read -r count fence <"$file"
  sleep "$((work_ms / 1000)).$(printf '%03d' $((work_ms % 1000)))"
  read -r _ fence <"$file"
  if ((fence > token)); then echo "a later holder was here: $fence > $token" >&2 && exit 70; fi
  echo "$((count + 1)) $token" >"$file.$$" && mv "$file.$$" "$file"
}

for ((done_count = 0; done_count < times; done_count++)); do
  acquire
  work &
  keep_while_running $!
  wait $!
  post 5 /release "{\"token\":$token}"
done
