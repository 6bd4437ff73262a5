#!/bin/bash
# Greets. Speaks the protocol with nothing but what bash has built in.

member() {  # the text of the first "$1":"..." in $line, still escaped as JSON has it
    local pattern="\"$1\" *: *\"(([^\"\\\\]|\\\\.)*)\""
    [[ $line =~ $pattern ]] && printf '%s' "${BASH_REMATCH[1]}"
}

answer() { printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$1"; }

while IFS= read -r line; do
    method=$(member method)
    [[ $method != '$/'* && $line =~ \"id\"\ *:\ *([0-9]+) ]] || continue  # a notification
    id=${BASH_REMATCH[1]}
    case $method in
        initialize) answer '"result":{"protocol_version":"1","tools":["greet"]}' ;;
        ping | shutdown | config_changed | handle_event) answer '"result":null' ;;
        call)
            if [[ $(member tool) == greet ]]; then
                name=$(member name)
                printf '%s\n' "greeting ${name:-world}" >&2  # the log
                answer "\"result\":{\"greeting\":\"Hello, ${name:-world}!\"}"
            else
                answer '"error":{"code":-32602,"message":"no such tool"}'
            fi ;;
        *) answer '"error":{"code":-32601,"message":"no such method"}' ;;
    esac
done
