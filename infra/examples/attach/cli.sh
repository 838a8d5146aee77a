#!/usr/bin/env bash
# Attaches a rotation to a secret that is there: cli.sh /prod/platform/orders [rotate-postgres|rotate-mongo] [stack]
# Use it for one secret, or to try. The first rotation comes with the schedule, not now. Change the schedule in rules.
set -euo pipefail

secret=${1:?"usage: cli.sh SECRET [rotate-postgres|rotate-mongo] [STACK]"}
function=${2:-rotate-postgres}
stack=${3:-keyturn-rotation}
rules='{"ScheduleExpression": "cron(0 3 ? * SUN *)", "Duration": "2h"}' # Sundays from 03:00 to 05:00 UTC

# RotatePostgresArn of rotate-postgres
output=$(awk -F - '{ for (n = 1; n <= NF; n++) printf "%s", toupper(substr($n, 1, 1)) substr($n, 2); print "Arn" }' <<< "$function")
arn=$(aws cloudformation describe-stacks --stack-name "$stack" --output text \
  --query "Stacks[0].Outputs[?OutputKey=='$output'].OutputValue")
[ -n "$arn" ] || { echo "stack $stack has no output $output: is $function a function, and switched on?" >&2; exit 1; }

# Attaching the rotation lets the function's role read and write this secret. It also sets the schedule, and runs testSecret alone, with the credential in use: no password changes.
aws secretsmanager rotate-secret --secret-id "$secret" --rotation-lambda-arn "$arn" --rotation-rules "$rules" \
  --no-rotate-immediately

cat <<EOF
The test runs now. Its outcome is in the log:
  aws logs tail /aws/lambda/${arn##*:} --since 5m
If it went well, rotate without waiting for the schedule, or undo:
  aws secretsmanager rotate-secret --secret-id $secret
  aws secretsmanager cancel-rotate-secret --secret-id $secret
EOF
