#!/usr/bin/env bash
# Puts a secret's value in from standard input: in no history, process list or file that stays. Makes the secret if needed.
#   create.sh NAME FUNCTION [Key=...,Value=... more tags] < value.json
# FUNCTION is rotate-postgres, rotate-mongo or oncall-sync; none for admin secrets. For a key of your own, name it at first:
#   pass show orders | KMS_KEY_ID=alias/secrets create.sh /prod/platform/orders rotate-postgres
# A secret that has a value, or is rotated, keeps it unless REPLACE=yes: an older password would lock clients out.
set -euo pipefail

usage="usage: create.sh NAME FUNCTION|none [Key=...,Value=...] < value.json"
functions=$(dirname "${BASH_SOURCE[0]}")/../../../functions
name=${1:?"$usage"}
function=${2:?"$usage"}
shift 2
if [ "$function" != none ]; then
  [ -d "$functions/$function" ] || { echo "there is no function $function: $(ls "$functions" | xargs)" >&2; exit 2; }
  set -- "Key=keyturn:function,Value=$function" "$@"
fi

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
