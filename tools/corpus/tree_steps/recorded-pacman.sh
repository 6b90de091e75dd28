# pacman, as Debian packages it, with a database of its own; os-release is written by hand.
person heidi 1000
printf 'NAME="Arch Linux"\nPRETTY_NAME="Arch Linux"\nID=arch\nBUILD_ID=rolling\n' >/tmp/os-release
rm -f /etc/os-release /etc/debian_version
cp /tmp/os-release /etc/os-release
mkdir -p /tmp/build /var/lib/pacman/sync /var/lib/pacman/local
describe() { # FOLDER NAME VERSION
    mkdir -p "$1/$2-$3"
    printf '%%NAME%%\n%s\n\n%%VERSION%%\n%s\n\n%%ARCH%%\nany\n\n%%FILENAME%%\n%s-%s-any.pkg.tar.zst\n\n' "$2" "$3" "$2" "$3" >"$1/$2-$3/desc"
}
for name in kept-up ignored newest; do
    describe /var/lib/pacman/local "example-$name" 1.0-1
    printf '%%FILES%%\n' >"/var/lib/pacman/local/example-$name-1.0-1/files"
done
echo 9 >/var/lib/pacman/local/ALPM_DB_VERSION
describe /tmp/build example-kept-up 1.1-1
describe /tmp/build example-ignored 2.0-1
describe /tmp/build example-newest 1.0-1
tar -C /tmp/build -czf /var/lib/pacman/sync/core.db $(ls /tmp/build | grep example-)
printf '[options]\nArchitecture = auto\nSigLevel = Never\nIgnorePkg = example-ignored\n[core]\nServer = https://mirror.example.org/$repo\n' >/etc/pacman.conf
pacman -Qu || true
