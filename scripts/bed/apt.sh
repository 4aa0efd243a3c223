# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# Fetches Debian packages of any release from the host's mirror, without installing them. For that it has a private
# apt with its own lists and cache, and with an empty dpkg status.

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# host_sources: prints "URI SUITE COMPONENTS..." for each source of binary packages that the host's apt has.
host_sources() {
    local file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [[ -r $file ]] || continue
        sed -nE 's/#.*//; s/^[[:space:]]*deb[[:space:]]+(\[[^]]*\][[:space:]]*)?//p' "$file"
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        [[ -r $file ]] || continue
        # A stanza may contain comments; only empty lines end it.
        sed '/^#/d' "$file" | awk -v RS= -F'\n' '{
            delete field
            for (i = 1; i <= NF; i++) {
                if ($i ~ /^[ \t]/) { field[key] = field[key] " " $i; continue }
                key = tolower(substr($i, 1, index($i, ":") - 1))
                field[key] = substr($i, index($i, ":") + 1)
            }
            if (tolower(field["enabled"]) ~ /^[ \t]*no/) next
            if (field["types"] !~ /(^|[ \t])deb([ \t]|$)/) next
            n = split(field["uris"], uris, " "); m = split(field["suites"], suites, " ")
            for (i = 1; i <= n; i++) for (j = 1; j <= m; j++)
                print uris[i], suites[j], field["components"]
        }'
    done
}

# mirror_of SUITE ALIAS: prints the first URI that serves the component main of SUITE. On what looks like a mirror of
# Debian's archive, the suite may also go by its alias.
mirror_of() {
    host_sources | awk -v suite="$1" -v alias="$2" '
        $1 ~ /^cdrom:/ { next }
        $2 == suite || $2 ~ alias && $1 ~ /\/debian(-security)?\/?$/ {
            for (i = 3; i <= NF; i++) if ($i == "main" && !done++) print $1
        }'
}

# private_apt RELEASE: sets up the private apt of a Debian release, and fetches its lists.
private_apt() {
    local release=$1 dir=$CACHE/apt/$1
    cached "$dir/conf" make_private_apt "$release"
}

# make_private_apt CONF RELEASE
make_private_apt() {
    local conf=$1 release=$2 dir=$CACHE/apt/$2 host uri
    # shellcheck source=/dev/null
    host=$(. /etc/os-release && echo "$VERSION_CODENAME")
    [[ -r $KEYRING ]] || die 2 "$KEYRING is missing: install debian-archive-keyring"
    uri=$(mirror_of "$host" "^(old)*stable\$")
    [[ $uri ]] || die 2 "no Debian mirror for $host in /etc/apt/sources.list(.d)"
    # `--print-uris` leaves out packages that are in apt's own archives, so keep the fetched packages in debs/ instead.
    mkdir -p "$dir"/{lists,archives}/partial "$dir"/{parts,debs}
    : >"$dir/status"
    {
        echo "deb [signed-by=$KEYRING] $uri $release main"
        uri=$(mirror_of "$host-security" "^(old)*stable-security\$")
        [[ -z $uri ]] || echo "deb [signed-by=$KEYRING] $uri $release-security main"
    } >"$dir/sources.list"
    # Keep the host's settings, such as a proxy, but not its hooks, and none of its state.
    cat >"$conf" <<END
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Pre-Invoke;
Dir::State "$dir";
Dir::State::lists "$dir/lists";
Dir::State::status "$dir/status";
Dir::Cache "$dir";
Dir::Cache::archives "$dir/archives";
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "$dir/parts";
Dir::Etc::preferencesparts "$dir/parts";
Dir::Etc::preferences "$dir/none";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::AllowUnauthenticated "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
END
    say "fetching the package lists of Debian $release"
    apt-get -c "$conf" -qq update >&2
}

# closure RELEASE PACKAGE...: prints the names of the packages and of all their dependencies.
closure() {
    local release=$1
    shift
    apt-get -c "$CACHE/apt/$release/conf" -qq --print-uris --yes install "$@" |
        sed -E "s/^'[^']*' ([^_ ]+)_.*/\1/"
}

# unpack RELEASE FOLDER PACKAGE...: fetches exactly these packages, and unpacks them into FOLDER.
unpack() {
    local release=$1 folder=$2 conf=$CACHE/apt/$1/conf lock file
    local archives=$CACHE/apt/$1/debs
    shift 2
    mkdir -p "$folder"
    # Several runs may fetch different layers at once; only one of them downloads at a time.
    exec {lock}>"$CACHE/apt/$release/download.lock"
    flock "$lock"
    (
        cd "$archives" || exit
        apt-get -c "$conf" -qq download "$@" >&2 && exit
        say "the package lists of Debian $release may be too old: fetching them again"
        apt-get -c "$conf" -qq update >&2
        apt-get -c "$conf" -qq download "$@" >&2
    )
    exec {lock}>&-
    for file in "$@"; do
        file=$(newest "$archives" "$file")
        # Debian's folders /bin, /lib and so on are symbolic links, which tar must not replace.
        dpkg-deb --fsys-tarfile "$file" |
            tar -x --keep-directory-symlink --no-same-owner -C "$folder"
    done
}

# newest FOLDER PACKAGE: prints the newest downloaded file of a package.
newest() {
    local files
    mapfile -t files < <(find "$1" -maxdepth 1 -name "$2_*.deb" | sort -V)
    ((${#files[@]})) || die 2 "package $2 was not downloaded"
    echo "${files[-1]}"
}
