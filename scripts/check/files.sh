# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# Lists the files that the checks read.

# sources PATTERN...: prints the project's files whose names match one of the patterns, sorted, except for those that
# are built, measured or fetched.
sources() {
    local names=() pattern
    for pattern; do names+=(-o -name "$pattern"); done
    find . \( -name target -o -name .git -o -name .cache -o -path ./bench/results \) -prune \
        -o -type f \( "${names[@]:1}" \) -printf '%P\n' | LC_ALL=C sort
}

# shell_scripts: prints the shell scripts: *.sh, and files whose first line begins with `#!` and names a shell.
shell_scripts() {
    sources '*' | while read -r file; do
        case $file in
        *.sh) echo "$file" ;;
        *.*) [[ $file != .ci/* ]] || echo "$file" ;;
        *) if head -n 1 "$file" | grep -qE '^#!.*\b(ba|busybox )?sh$'; then echo "$file"; fi ;;
        esac
    done
}
