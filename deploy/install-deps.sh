#!/usr/bin/env bash
# Installs the Debian 12 packages that building, the demonstration and the tests need; with the word `bench`, also what
# the benchmarks compare with. Run it as root or with sudo at hand, as often as you like: it does nothing when everything
# is there.
#
# Debian starts a service as soon as its package is installed. These are only wanted as programs, on private ports, so
# a policy-rc.d forbids starting while this runs, and newly installed services are not enabled for the next boot.
set -euo pipefail

packages=(
    gcc make pkg-config            # a linker for Rust, and SQLite from source
    iproute2 util-linux tcpdump    # network namespaces, captures
    prosody ejabberd               # the XMPP servers
    python3-slixmpp                # the chat clients
    baresip-core                   # the phones
    sip-tester socat               # SIPp: the trunk, and a phone, whose TLS is socat's
    linphone-cli                   # one more phone
    dnsmasq-base                   # the name server that leads to carriers
    espeak-ng                      # spoken digits
    postgresql redis-server        # the stores of a large installation
)
# JsSIP, a phone of the web, runs on Node. One from elsewhere will do, and Debian's would not go together with it.
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    packages+=(nodejs npm)
fi
services=(prosody ejabberd postgresql redis-server)
case ${1-} in
    '') ;;
    bench)
        packages+=(kamailio)       # the registrar and the proxy beside ours
        services+=(kamailio)
        ;;
    *)
        echo "usage: ${0##*/} [bench]" >&2
        exit 64
        ;;
esac

policy=/usr/sbin/policy-rc.d
saved=$policy.before-cusax
marker='# Put here by cusax deploy/install-deps.sh for as long as it runs.'

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Also undoes what a killed run left behind.
restore_policy() {
    if grep -qsF "$marker" "$policy"; then
        as_root rm -f "$policy"
    fi
    if [ -e "$saved" ]; then
        as_root mv "$saved" "$policy"
    fi
}

forbid_starting() {
    if [ -e "$policy" ]; then
        as_root mv "$policy" "$saved"
    fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$marker" | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}

restore_policy
missing=()
for package in "${packages[@]}"; do
    installed "$package" || missing+=("$package")
done
if [ ${#missing[@]} = 0 ]; then
    echo "install-deps: nothing to install"
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "install-deps: this needs Debian's apt-get; please install yourself: ${missing[*]}" >&2
    exit 69
fi
if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    echo "install-deps: run this as root, or install sudo; missing: ${missing[*]}" >&2
    exit 77
fi

echo "install-deps: installing ${missing[*]}"
new_services=()
for service in "${services[@]}"; do
    installed "$service" || new_services+=("$service")
done
trap restore_policy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
forbid_starting
apt=(env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Use-Pty=0 --no-install-recommends)
as_root "${apt[@]}" install "${missing[@]}" || {
    # A machine whose package lists are old or absent.
    as_root apt-get -q update
    as_root "${apt[@]}" install "${missing[@]}"
}
if [ ${#new_services[@]} != 0 ]; then
    echo "install-deps: not to be started at boot: ${new_services[*]} (systemctl enable brings that back)"
    for service in "${new_services[@]}"; do
        # One of them for either kind of init; what is not there has nothing to be told.
        as_root systemctl disable --quiet "$service" 2>/dev/null || true
        as_root update-rc.d "$service" disable 2>/dev/null || true
    done
fi
echo "install-deps: done"
