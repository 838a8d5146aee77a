#!/bin/sh
# Opens a database for whoever is on call, and closes it again when the shell ends.
#
#   break-glass.sh open <database> [minutes] <reason>     60 minutes unless told
#   break-glass.sh close <database> [login]               one login, or all that you have open there
#   break-glass.sh list                                   what is open, by whom, until when, why
#
# BREAK_GLASS_URL       the output Url of the stack break-glass
# BREAK_GLASS_CA_FILE   PEM file with the only authorities to trust for the database, such as RDS's bundle; the system's unless named
#
# It takes your credentials from the AWS CLI: `aws sso login` first, and AWS_PROFILE for the permission set. It needs curl (7.88), jq,
# version 2 of the AWS CLI, and psql (16, or older with BREAK_GLASS_CA_FILE) or mongosh.
#
# No secret is an argument of a program, since every user of a machine may read those. curl is told the credentials on its standard
# input; psql and mongosh find the password in their environment. Nothing is written to a file.
set -eu
[ -z "${ZSH_VERSION:-}" ] || emulate sh

script=$0
newline='
'
# The quotes keep the shell from looking into it: mongosh reads the environment.
connect='db = connect(process.env.LOGIN_URI, process.env.LOGIN_USER, process.env.LOGIN_PASSWORD); delete process.env.LOGIN_PASSWORD; db'

usage() {
    sed -n 's/^#   break-glass.sh/break-glass.sh/p' "$script" >&2
    exit 64
}

fail() {
    printf 'break-glass: %s\n' "$1" >&2
    exit 1
}

main() {
    case ${BREAK_GLASS_URL:-} in
        https://*.lambda-url.*.on.aws | https://*.lambda-url.*.on.aws/)
            region=${BREAK_GLASS_URL#*.lambda-url.}
            region=${region%%.*}
            ;;
        http://127.0.0.1:*) region=${AWS_REGION:?} ;; # an emulator
        *) fail 'set BREAK_GLASS_URL to the output Url of the stack break-glass' ;;
    esac
    url=${BREAK_GLASS_URL%/}
    case $#:${1:-} in
        3:open) open_login "$2" 60 "$3" ;;
        4:open) open_login "$2" "$3" "$4" ;;
        2:close) close_login "$2" '' ;;
        3:close) close_login "$2" "$3" ;;
        1:list)
            ask GET / ''
            printf '%s\n' "$answer" | jq .
            ;;
        *) usage ;;
    esac
}

# Sends a signed request, and leaves what the function says in $answer.
ask() {
    credentials=$(aws configure export-credentials --format env-no-export | awk '
        { value = substr($0, index($0, "=") + 1) }
        /^AWS_ACCESS_KEY_ID=/ { key = value }
        /^AWS_SECRET_ACCESS_KEY=/ { secret = value }
        /^AWS_SESSION_TOKEN=/ { token = value }
        END {
            if (key == "" || secret == "") exit 1
            printf "user = \"%s:%s\"\n", key, secret
            if (token != "") printf "header = \"x-amz-security-token: %s\"\n", token
        }') || fail 'the AWS CLI has no credentials: sign in with aws sso login'
    body=$3
    set -- --disable --config - --silent --show-error --max-time 60 --aws-sigv4 "aws:amz:${region}:lambda" --request "$1" \
        --write-out '\n%{http_code}' "$url$2"
    if [ -n "$body" ]; then
        set -- "$@" --header 'content-type: application/json' --data-binary "$body"
    fi
    answer=$(printf '%s\n' "$credentials" | curl "$@") || fail 'no answer. What is open, `break-glass.sh list` shows'
    credentials=
    code=${answer##*"$newline"}
    answer=${answer%"$newline"*}
    case $code in
        2*) ;;
        *) fail "refused ($code): $(said '[.code, .message // .Message // tojson, .remedy] | map(values) | join(" ")' 2>/dev/null || printf '%s' "$answer")" ;;
    esac
}

said() {
    printf '%s' "$answer" | jq -r "$1"
}

check_database() {
    case $1 in
        '' | *[!A-Za-z0-9_-]*) fail "$1 is no name of a database" ;;
    esac
}

open_login() {
    check_database "$1"
    case $2 in
        '' | *[!0-9]*) fail "$2 is no number of minutes" ;;
    esac
    case $3 in
        *[!0-9]*) ;;
        *) fail "$3 is no reason: break-glass.sh open $1 $3 INC-42" ;;
    esac
    database=$1
    ask POST "/$database" "$(jq -cn --argjson minutes "$2" --arg reason "$3" '{$minutes, $reason}')"
    login=$(said .username)
    until=$(said .until)
    opened=$answer
    # However this ends. What is interrupted by a signal ends by `exit`.
    trap close_at_exit EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf 'break-glass: you are %s until %s. It is closed when you leave the shell.\n' "$login" "$until" >&2
    case $(said .engine) in
        postgres) with_psql ;;
        atlas | mongodb) with_mongosh ;;
        *) fail "this version knows no shell for $(said .engine)" ;;
    esac
}

close_at_exit() {
    ended=$?
    trap - EXIT
    if (ask DELETE "/$database?login=$login" ''); then
        printf 'break-glass: %s is closed\n' "$login" >&2
    else
        printf 'break-glass: %s is not closed. It ends by itself at %s. To try again: break-glass.sh close %s %s\n' \
            "$login" "$until" "$database" "$login" >&2
    fi
    exit "$ended"
}

close_login() {
    check_database "$1"
    case $2 in
        *[!a-z0-9._-]*) fail "$2 is no name of a login" ;;
    esac
    ask DELETE "/$1${2:+?login=$2}" ''
    printf '%s\n' "$answer" | jq .
}

with_psql() {
    trap : INT # it cancels a statement, and does not end the shell
    (
        # What would send the password elsewhere, or without a look at the certificate.
        unset PGSERVICE PGSERVICEFILE PGHOSTADDR PGREQUIREAUTH
        PGHOST=$(said .host)
        PGPORT=$(said .port)
        PGDATABASE=$(said .dbname)
        PGUSER=$login
        PGPASSWORD=$(said .password)
        PGGSSENCMODE=disable
        PGSSLMODE=verify-full
        PGSSLROOTCERT=${BREAK_GLASS_CA_FILE:-system}
        export PGHOST PGPORT PGDATABASE PGUSER PGPASSWORD PGGSSENCMODE PGSSLMODE PGSSLROOTCERT
        exec psql
    )
}

with_mongosh() {
    uri=$(printf '%s' "$answer" | jq -r --arg ca "${BREAK_GLASS_CA_FILE:-}" '
        (if .engine == "atlas" then "mongodb+srv://\(.host)/?" else "mongodb://\(.hosts | join(","))/?tls=true&" end)
        + "authSource=admin"
        + (if .replica_set then "&replicaSet=\(.replica_set | @uri)" else "" end)
        + (if $ca == "" then "" else "&tlsCAFile=\($ca | @uri)" end)')
    tries=0
    # Atlas takes some seconds to tell the servers.
    while [ "$(said .ready)" = false ] && ! mongo_shell --eval "$connect" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || fail 'Atlas has not made the login within five minutes. Its activity feed says why'
        [ "$tries" -gt 1 ] || printf 'break-glass: waiting until Atlas has made the login\n' >&2
        sleep 5
    done
    trap : INT
    mongo_shell --shell --eval "$connect"
}

mongo_shell() {
    (
        LOGIN_URI=$uri
        LOGIN_USER=$login
        LOGIN_PASSWORD=$(said .password)
        export LOGIN_URI LOGIN_USER LOGIN_PASSWORD
        exec mongosh --quiet --nodb "$@"
    )
}

main "$@"
