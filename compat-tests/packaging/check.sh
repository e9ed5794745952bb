# To be sourced by the scripts of this folder: a folder for their work, and checks that are counted.

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# check NAME COMMAND...: runs the command and counts the result; its output is shown when it fails.
check() {
    checked=$1
    shift
    if "$@" > "$work/log" 2>&1; then
        passed=$((passed + 1))
        echo "PASS $checked"
    else
        failed=$((failed + 1))
        echo "FAIL $checked"
        tail -20 "$work/log" | sed 's/^/    /'
    fi
}
