#!/usr/bin/env bash
# Puts a secret's value in from standard input: in no history, process list or file that stays. Makes the secret if needed.
#   create.sh NAME [Key=...,Value=... tags] < value.json
# For a key of your own, name it at first:
#   pass show orders | KMS_KEY_ID=alias/secrets create.sh /prod/platform/orders
# A secret that has a value, or is rotated, keeps it unless REPLACE=yes: an older password would lock clients out.
set -euo pipefail

name=${1:?"usage: create.sh NAME [Key=...,Value=...] < value.json"}
shift

umask 077
value=$(mktemp)
trap 'rm -f "$value"' EXIT
cat > "$value"
python3 -m json.tool "$value" /dev/null
if grep -q replace-me "$value"; then echo "the value still says replace-me" >&2; exit 1; fi

if found=$(aws secretsmanager describe-secret --secret-id "$name" --output json 2>&1); then
  if [ -n "${KMS_KEY_ID:-}" ]; then echo "$name is there already: KMS_KEY_ID cannot change its key" >&2; exit 1; fi
  if [ "${REPLACE:-no}" != yes ] && grep -qE '"AWSCURRENT"|"RotationEnabled": *true' <<< "$found"; then
    echo "$name has a value, or is rotated: to put this one in its place, set REPLACE=yes" >&2
    exit 1
  fi
  aws secretsmanager put-secret-value --secret-id "$name" --secret-string "file://$value"
  [ $# -eq 0 ] || aws secretsmanager tag-resource --secret-id "$name" --tags "$@"
elif [[ $found != *ResourceNotFoundException* ]]; then
  echo "$found" >&2
  exit 1
else
  aws secretsmanager create-secret --name "$name" --secret-string "file://$value" \
    ${KMS_KEY_ID:+--kms-key-id "$KMS_KEY_ID"} ${1:+--tags "$@"}
fi
