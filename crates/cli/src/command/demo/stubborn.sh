#!/bin/sh
# A hostile plugin in plain sh. The host writes the members of a message in a fixed order, without blanks between them.

answer() { printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$1"; }

while IFS= read -r line; do
    case $line in
        *'"method":"$/'*) continue ;;
        *'"id":'*) id=${line#*'"id":'} id=${id%%,*} ;;
        *) continue ;;
    esac
    case $line in
        *'"method":"initialize"'*) answer '"result":{"protocol_version":"1"}' ;;
        *'"tool":"child"'*) (: > "$RINGFENCE_DATA_DIR/child") && answer '"result":"started"' || answer '"error":{"code":1,"message":"Cannot fork"}' ;;
        *'"tool":"deaf"'*)
            trap '' TERM INT HUP
            while :; do : > "$RINGFENCE_DATA_DIR/alive"; done ;;
        *) answer '"result":null' ;;
    esac
done
