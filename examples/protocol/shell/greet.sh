#!/bin/bash
# Greets. Speaks the protocol with nothing but what bash has built in. Not even $(...): a plugin may not fork unasked.

member() {  # puts the text of the first "$1":"..." of $line, still escaped as JSON has it, into $2
    local pattern="\"$1\" *: *\"(([^\"\\\\]|\\\\.)*)\""
    [[ $line =~ $pattern ]] && printf -v "$2" %s "${BASH_REMATCH[1]}" || printf -v "$2" ''
}

answer() { printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$1"; }

while IFS= read -r line; do
    member method method
    [[ $method != '$/'* && $line =~ \"id\"\ *:\ *([0-9]+) ]] || continue  # a notification
    id=${BASH_REMATCH[1]}
    case $method in
        initialize) answer '"result":{"protocol_version":"1","tools":["greet"]}' ;;
        ping | shutdown | config_changed | handle_event) answer '"result":null' ;;
        call)
            member tool tool
            member name name
            if [[ $tool == greet ]]; then
                printf '%s\n' "greeting ${name:-world}" >&2  # the log
                answer "\"result\":{\"greeting\":\"Hello, ${name:-world}!\"}"
            else
                answer '"error":{"code":-32602,"message":"no such tool"}'
            fi ;;
        *) answer '"error":{"code":-32601,"message":"no such method"}' ;;
    esac
done
