# apt with an archive of its own in a folder: what is upgraded, held, phased, kept back.
person grace 1000
echo 0123456789abcdef0123456789abcdef >/etc/machine-id # phasing goes by it
archive=/srv/archive/dists/bookworm-updates/main/binary-amd64
mkdir -p "$archive" /srv/archive/pool
package() { # NAME VERSION [FIELD…]: a package without files
    folder=/tmp/build/$1-$2
    mkdir -p "$folder/DEBIAN"
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: an example\n' "$1" "$2" >"$folder/DEBIAN/control"
    dpkg-deb --build --root-owner-group "$folder" "/srv/archive/pool/$1_$2_all.deb" >/dev/null
}
offer() { # NAME VERSION [FIELD…]: list it in the archive, with more fields
    package "$1" "$2"
    file=pool/$1_$2_all.deb
    cat "/tmp/build/$1-$2/DEBIAN/control"
    echo "Filename: $file"
    echo "Size: $(stat -c %s "/srv/archive/$file")"
    echo "SHA256: $(sha256sum <"/srv/archive/$file" | cut -d' ' -f1)"
    shift 2
    for field in "$@"; do echo "$field"; done
    echo
}
for name in plain held phased kept; do
    package "example-$name" 1.0
    dpkg -i "/srv/archive/pool/example-${name}_1.0_all.deb" >/dev/null
done
{
    offer example-plain 1.1
    offer example-held 1.1
    offer example-phased 1.1 "Phased-Update-Percentage: 0"
    offer example-kept 1.1 "Depends: example-of-nobody"
} >"$archive/Packages"
printf 'Origin: Debian\nLabel: Debian\nSuite: stable-updates\nCodename: bookworm-updates\nDate: Mon, 23 Nov 2026 06:00:00 UTC\nSHA256:\n %s %s main/binary-amd64/Packages\n' \
    "$(sha256sum <"$archive/Packages" | cut -d' ' -f1)" "$(stat -c %s "$archive/Packages")" \
    >/srv/archive/dists/bookworm-updates/Release
rm -f /etc/apt/sources.list.d/* /etc/apt/sources.list
echo 'deb [trusted=yes] file:/srv/archive bookworm-updates main' >/etc/apt/sources.list.d/example.list
apt-get update -q -o APT::Get::List-Cleanup=0
apt-mark hold example-held
